/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Memory that is shared copy-on-write: children, a grandchild and an orphan that have all of it, wrote to some of
 * it, unmapped some; the parent wrote, too, and its heap has grown since. Afterwards all is as it was, writes of
 * one are seen by no other, and together they take no more memory than before.
 */
#include "tests/checkpoint/guest.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define PAGES 4096
#define WORDS 512
#define COUNT 5

static uint64_t *mem, *heap;
static int up[2], down[COUNT][2];
static volatile int *ready;

static uint64_t value(unsigned page, unsigned who)
{
	return page * 0x9e3779b97f4a7c15ull + who + 1;
}

/* Every 16th page, another one each. */
static void write_own(unsigned who, unsigned from)
{
	for (unsigned i = who; i < PAGES; i += 16)
		if (i >= from)
			mem[i * WORDS + who] = value(i, who);
}

/* `whose`: bits of those whose writes it inherited or made. */
static int is_right(unsigned whose, unsigned from)
{
	for (unsigned i = from; i < PAGES; i++) {
		unsigned who = i % 16;
		int mine = who && who <= COUNT && (whose >> who & 1);

		if (mem[i * WORDS + 511] != value(i, 0) || mem[i * WORDS + who] != (mine ? value(i, who) : 0))
			return 0;
	}
	for (unsigned i = 0; i < 256; i++)
		if (heap[i * WORDS] != value(i, 99))
			return 0;
	return 1;
}

static bool begin(pid_t *pid)
{
	pid_t made = fork();

	if (made > 0)
		*pid = made;
	return made == 0;
}

static void child(unsigned who, unsigned whose, unsigned from)
{
	char c;

	write_own(who, from);
	__sync_fetch_and_add(ready, 1);
	if (read(down[who - 1][0], &c, 1) != 1 || !is_right(whose | 1u << who, from))
		guest_failed = 1;
	/* Nobody else's changes. */
	memset(mem + from * WORDS, (int)who, (size_t)(PAGES - from) * 4096);
	c = (char)('0' + guest_failed);
	if (write(up[1], &c, 1) != 1)
		_exit(1);
	if (read(down[who - 1][0], &c, 1) != 1)
		_exit(1);
	_exit(guest_failed);
}

static long all_pss(const pid_t *pids)
{
	long sum = pss(getpid());

	for (int i = 0; i < COUNT; i++)
		sum += pss(pids[i]);
	return sum;
}

int main(void)
{
	pid_t *pids = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), first = -1;
	long before, after;
	int failed = 0;
	char c;

	ready = (volatile int *)(pids + 100);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	mem = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	heap = sbrk(256 * 4096);
	heap = (uint64_t *)(((uintptr_t)heap + 4095) & ~(uintptr_t)4095);
	CHECK(sbrk(8192) != (void *)-1);
	for (unsigned i = 0; i < PAGES; i++)
		mem[i * WORDS + 511] = value(i, 0);
	for (unsigned i = 0; i < 256; i++)
		heap[i * WORDS] = value(i, 99);
	CHECK(pipe(up) == 0);
	for (int i = 0; i < COUNT; i++)
		CHECK(pipe(down[i]) == 0);
	for (unsigned i = 1; i <= 2; i++)
		if (begin(&pids[i - 1]))
			child(i, 0, 0);
	/* One that has a child, and one that gave some back. */
	if (begin(&pids[2])) {
		write_own(3, 0);
		if (begin(&pids[3])) {
			munmap(mem, 100 * 4096);
			child(4, 1u << 3, 100);
		}
		child(3, 0, 0);
	}
	/* One whose parent has ended. */
	if (begin(&first)) {
		if (begin(&pids[4]))
			child(5, 0, 0);
		_exit(0);
	}
	CHECK(waitpid(first, NULL, 0) == first);
	CHECK(sbrk(1 << 20) != (void *)-1);
	while (*ready < COUNT)
		usleep(1000);
	before = all_pss(pids);
	wait_for_restore();
	after = all_pss(pids);
	if (after > before + before / 10) {
		dprintf(1, "failed: %ld KiB have become %ld\n", before, after);
		guest_failed = 1;
	}
	for (int i = 0; i < COUNT; i++)
		CHECK(write(down[i][1], "g", 1) == 1);
	for (int i = 0; i < COUNT; i++) {
		CHECK(read(up[0], &c, 1) == 1);
		failed |= c != '0';
	}
	CHECK(!failed && is_right(0, 0));
	for (int i = 0; i < COUNT; i++)
		CHECK(write(down[i][1], "g", 1) == 1);
	while (wait(NULL) > 0)
		;
	return done();
}
