/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Much shared memory, of which a page is written in another way before each stop (drive -L), when it has been marked and
 * read: each way leaves no trace in the page tables of those who have it then. What is counted as written by these alone
 * would be lost.
 */
#include "tests/checkpoint/busy.h"

#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGE 4096
#define PAGES 4096
#define SIZE ((size_t)PAGES * PAGE)
#define COMPANIONS 4
#define HEADLESS 3 /* the first thread of this one has ended */
#define GONE 50         /* of the pipe by which they say that they have done it */

static volatile char *memory; /* of this process, and of all */
static pid_t companions[COMPANIONS];
static int go[COMPANIONS][2], gone[2];

/* Has the memory until it is asked, and then writes before it has not. */
static void be_companion(int number)
{
	int n;

	if (read(go[number][0], &n, sizeof(n)) != sizeof(n))
		_exit(1);
	memory[n * PAGE] = 'w';
	if (number == 0 || number == HEADLESS)
		_exit(0);
	if (number == 1) {
		execl("/test", "/test", "stay", (char *)NULL);
		_exit(1);
	}
	CHECK(munmap((void *)(uintptr_t)memory, SIZE) == 0 && write(GONE, &n, sizeof(n)) == sizeof(n));
	pause();
}

static void *be_headless(void *arg)
{
	(void)arg;
	be_companion(HEADLESS);
	return NULL;
}

static void behead(void)
{
	pthread_t rest;

	CHECK(pthread_create(&rest, NULL, be_headless, NULL) == 0);
	syscall(SYS_exit, 0);
}

static void in_child(int n)
{
	pid_t pid = fork();

	if (pid == 0) {
		memory[n * PAGE] = 'w';
		_exit(0);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
}

static void in_copy(int n)
{
	char *copy = mremap((void *)(uintptr_t)memory, 0, SIZE, MREMAP_MAYMOVE);

	CHECK(copy != MAP_FAILED);
	copy[n * PAGE] = 'w';
	CHECK(munmap(copy, SIZE) == 0);
}

static void in_elsewhere(int n)
{
	char *to = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *from = (char *)(uintptr_t)memory;

	memory[n * PAGE] = 'w';
	CHECK(mremap(from, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CHECK(mremap(to, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, from) == from);
}

static void in_another_place(int n)
{
	char *other = (char *)(uintptr_t)memory + (size_t)(n + 9) * PAGE;

	CHECK(remap_file_pages(other, PAGE, 0, (size_t)n, 0) == 0);
	*(volatile char *)other = 'w';
	CHECK(remap_file_pages(other, PAGE, 0, (size_t)n + 9, 0) == 0);
}

/* A hole, which is filled with zeros when it is looked at. */
static void in_hole(int n)
{
	CHECK(madvise((char *)(uintptr_t)memory + (size_t)n * PAGE, PAGE, MADV_REMOVE) == 0 && memory[n * PAGE] == 0);
	CHECK(madvise((char *)(uintptr_t)memory + (size_t)(n + 1) * PAGE, PAGE, MADV_REMOVE) == 0);
}

static void in_companion_that_ends(int n)
{
	CHECK(write(go[0][1], &n, sizeof(n)) == sizeof(n));
	CHECK(waitpid(companions[0], NULL, 0) == companions[0]);
}

/* The other ways come after it: with it the memory is not counted so. */
static void in_headless_companion_that_ends(int n)
{
	CHECK(write(go[HEADLESS][1], &n, sizeof(n)) == sizeof(n));
	CHECK(waitpid(companions[HEADLESS], NULL, 0) == companions[HEADLESS]);
}

static void in_companion_that_executes(int n)
{
	CHECK(write(go[1][1], &n, sizeof(n)) == sizeof(n) && read(gone[0], &n, sizeof(n)) == sizeof(n));
}

static void in_companion_that_unmaps(int n)
{
	CHECK(write(go[2][1], &n, sizeof(n)) == sizeof(n) && read(gone[0], &n, sizeof(n)) == sizeof(n));
}

static void (*const ways[])(int n) = {
	in_headless_companion_that_ends, in_companion_that_ends, in_companion_that_executes, in_companion_that_unmaps,
	in_child, in_copy, in_elsewhere, in_hole, in_another_place,
};
#define WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

static void set_up(void)
{
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED && pipe(gone) == 0 && dup2(gone[1], GONE) == GONE);
	for (size_t i = 0; i < PAGES; i++)
		memory[i * PAGE] = 'a';
	for (int i = 0; i < COMPANIONS; i++) {
		CHECK(pipe(go[i]) == 0);
		companions[i] = fork();
		if (companions[i] == 0 && i == HEADLESS)
			behead();
		if (companions[i] == 0)
			be_companion(i);
	}
}

/* The other program. */
static int stay(void)
{
	int n = 0;

	CHECK(write(GONE, &n, sizeof(n)) == sizeof(n));
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	int turns = 0;
	bool bad = false;

	if (argc > 1 && strcmp(argv[1], "stay") == 0)
		return stay();
	set_up();
	be_busy(FULL, 20000);
	wait_for_restore();
	for (; strcmp(guest_line, "late") == 0; turns++) {
		CHECK(turns < WAYS);
		if (turns < WAYS)
			ways[turns](turns * 100);
		dprintf(1, "changed\n");
		wait_for_line();
	}
	CHECK(turns == WAYS);
	for (int i = 0; i < PAGES; i++) {
		bool hole = i / 100 < WAYS && ways[i / 100] == in_hole;
		char is = i % 100 > hole || i / 100 >= WAYS ? 'a' : hole ? 0 : 'w';

		if (memory[i * PAGE] != is)
			bad = dprintf(1, "failed: page %d is %d, not %d\n", i, memory[i * PAGE], is) > 0;
	}
	CHECK(!bad);
	return done();
}
