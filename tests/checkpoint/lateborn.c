/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Children, and one's child, that are born when all has been looked at for the last time and nothing stands still yet (drive
 * -l). They share their parent's memory copy-on-write, but for what they write to, and so they do afterwards: together
 * they take no more than before.
 */
#include "tests/checkpoint/busy.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define PAGES 4096
#define WORDS 512
#define MOST 48
#define OWN 64 /* one page in so many is the child's own */

static uint64_t *mem;
static struct family {
	pid_t pid[MOST];
	unsigned count;
} *family;
static int up[2], down[2], over[2];

static void tell(int fd, char c)
{
	if (write(fd, &c, 1) != 1)
		_exit(1);
}

static char hear(int fd)
{
	char c;

	if (read(fd, &c, 1) != 1)
		_exit(2);
	return c;
}

/* `whose`: bits of those whose writes it has. */
static bool is_right(uint64_t whose)
{
	for (unsigned i = 0; i < PAGES; i++) {
		if (mem[i * WORDS] != i + 1)
			return false;
		for (unsigned who = 1; who <= MOST; who++)
			if (mem[i * WORDS + who] != (i % OWN == who && (whose >> who & 1) ? who : 0))
				return false;
	}
	return true;
}

/* A child, with a child of its own, and so on. */
static void bear(unsigned generations, uint64_t whose)
{
	unsigned who = ++family->count;
	int born[2];
	pid_t pid;

	CHECK(pipe(born) == 0);
	pid = fork();
	if (pid != 0) {
		CHECK(pid > 0 && hear(born[0]) == 'b' && close(born[0]) == 0 && close(born[1]) == 0);
		return;
	}
	family->pid[who - 1] = getpid();
	whose |= 1ull << who;
	for (unsigned i = who; i < PAGES; i += OWN)
		mem[i * WORDS + who] = who;
	if (generations > 1)
		bear(generations - 1, whose);
	tell(born[1], 'b');
	hear(down[0]);
	tell(up[1], is_right(whose) ? 'g' : 'f');
	hear(over[0]);
	_exit(0);
}

static void say_all(int fd)
{
	for (unsigned i = 0; i < family->count; i++)
		tell(fd, 'g');
}

static long all_pss(void)
{
	long sum = pss(getpid());

	for (unsigned i = 0; i < family->count; i++)
		sum += pss(family->pid[i]);
	return sum;
}

int main(void)
{
	long before = 0, after, allowed;
	unsigned sooner = 0;

	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	family = mmap(NULL, sizeof(*family), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	mem = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(pipe(up) == 0 && pipe(down) == 0 && pipe(over) == 0);
	for (unsigned i = 0; i < PAGES; i++)
		mem[i * WORDS] = i + 1;
	be_busy(BUSY, 1000);
	wait_for_restore();
	while (strcmp(guest_line, "late") == 0) {
		sooner = family->count;
		bear(1, 0);
		bear(2, 0);
		before = all_pss();
		dprintf(1, "changed\n");
		wait_for_line();
	}
	after = all_pss();
	/* Those of the rounds before may have been met by the last one, which sends what they have as theirs. */
	allowed = before + before / 10 + (long)sooner * (PAGES * 4);
	if (!before || after > allowed) {
		dprintf(1, "failed: %ld KiB have become %ld\n", before, after);
		guest_failed = 1;
	}
	say_all(down[1]);
	for (unsigned i = 0; i < family->count; i++)
		CHECK(hear(up[0]) == 'g');
	CHECK(is_right(0));
	say_all(over[1]);
	while (wait(NULL) > 0)
		;
	return done();
}
