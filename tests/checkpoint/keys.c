/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Protection keys: allocated with gaps, on memory and on none, given up while memory still has one, the kernel's own of
 * memory that may only be executed; with other rights in each thread, and in a child. Where the processor has none, that
 * there are none afterwards.
 */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096

static char *plain, *quiet, *shared, *stale, *code;
static int through[2]; /* a pipe: the kernel reads and writes memory as the thread may */
static volatile int go;
static volatile int *child_go;

static bool reads(const char *at)
{
	char c;

	return write(through[1], at, 1) == 1 && read(through[0], &c, 1) == 1;
}

static bool writes(char *at)
{
	char c;

	if (write(through[1], "w", 1) != 1)
		return false;
	if (read(through[0], at, 1) == 1)
		return true;
	CHECK(errno == EFAULT && read(through[0], &c, 1) == 1);
	return false;
}

/* As smaps tells. */
static int key_of(const void *at)
{
	unsigned long start, end;
	bool here = false;
	char line[512];
	int key = -1;
	FILE *f = fopen("/proc/self/smaps", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (unsigned long)at && (unsigned long)at < end;
		else if (here)
			sscanf(line, "ProtectionKey: %d", &key);
	fclose(f);
	return key;
}

static char *map(int flags)
{
	char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	CHECK(at != MAP_FAILED);
	at[0] = 'x';
	return at;
}

static void *other(void *ready)
{
	CHECK(pkey_set(1, PKEY_DISABLE_ACCESS) == 0 && pkey_set(3, 0) == 0);
	*(volatile int *)ready = 1;
	while (!go)
		usleep(1000);
	CHECK(pkey_get(1) == PKEY_DISABLE_ACCESS && pkey_get(3) == 0 && pkey_get(5) == PKEY_DISABLE_ACCESS);
	CHECK(quiet[0] == 'x' && !((volatile int *)ready)[1]);
	return NULL;
}

static _Noreturn void child(void)
{
	CHECK(pkey_free(5) == 0 && pkey_set(1, 0) == 0);
	plain[0] = 'c';
	child_go[1] = 1;
	while (!child_go[0])
		usleep(1000);
	CHECK(plain[0] == 'c' && pkey_get(1) == 0 && pkey_get(3) == PKEY_DISABLE_ACCESS && shared[0] == 's');
	CHECK(key_of(plain) == 1 && pkey_alloc(0, 0) == 4 && pkey_alloc(0, 0) == 5);
	_exit(guest_failed);
}

static void set_up(void)
{
	static const unsigned char back = 0xc3; /* ret */

	for (int key = 1; key <= 5; key++)
		CHECK(pkey_alloc(0, key == 5 ? PKEY_DISABLE_WRITE : 0) == key);
	plain = map(MAP_PRIVATE);
	quiet = map(MAP_PRIVATE);
	shared = map(MAP_SHARED);
	stale = map(MAP_PRIVATE);
	code = map(MAP_PRIVATE);
	code[0] = (char)back;
	shared[0] = 's';
	CHECK(pkey_mprotect(plain, PAGE, PROT_READ | PROT_WRITE, 1) == 0);
	CHECK(pkey_mprotect(quiet, PAGE, PROT_READ, 3) == 0);
	CHECK(pkey_mprotect(shared, PAGE, PROT_READ | PROT_WRITE, 1) == 0);
	CHECK(pkey_mprotect(stale, PAGE, PROT_READ | PROT_WRITE, 4) == 0);
	CHECK(pkey_free(2) == 0 && mprotect(code, PAGE, PROT_EXEC) == 0 && pkey_free(4) == 0);
	CHECK(pkey_set(1, PKEY_DISABLE_WRITE) == 0 && pkey_set(3, PKEY_DISABLE_ACCESS) == 0);
}

static void check(void)
{
	CHECK(pkey_get(1) == PKEY_DISABLE_WRITE && pkey_get(3) == PKEY_DISABLE_ACCESS && pkey_get(5) == PKEY_DISABLE_WRITE);
	CHECK(key_of(plain) == 1 && key_of(quiet) == 3 && key_of(shared) == 1 && key_of(stale) == 4 && key_of(code) == 2);
	CHECK(reads(plain) && !writes(plain) && plain[0] == 'x' && reads(shared) && !writes(shared));
	CHECK(!reads(quiet) && reads(stale) && writes(stale) && !reads(code));
	((void (*)(void))(uintptr_t)code)();
	CHECK(pkey_free(2) < 0 && pkey_set(3, 0) == 0 && reads(quiet) && quiet[0] == 'x' && !writes(quiet));
}

int main(void)
{
	int ready[2] = { 0 }, status;
	pthread_t t;
	pid_t pid;

	CHECK(pipe(through) == 0);
	if (pkey_alloc(0, 0) != 1) {
		wait_for_restore();
		CHECK(pkey_alloc(0, 0) < 0);
		return done();
	}
	CHECK(pkey_free(1) == 0);
	child_go = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	set_up();
	pid = fork();
	if (pid == 0)
		child();
	pkey_set(5, PKEY_DISABLE_ACCESS); /* as the thread has it from here */
	CHECK(pthread_create(&t, NULL, other, ready) == 0);
	pkey_set(5, PKEY_DISABLE_WRITE);
	while (!*(volatile int *)ready || !child_go[1])
		usleep(1000);
	wait_for_restore();
	check();
	go = child_go[0] = 1;
	CHECK(pthread_join(t, NULL) == 0 && waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(pkey_alloc(0, 0) == 4 && pkey_alloc(0, 0) == 6 && pkey_free(1) == 0 && pkey_free(3) == 0);
	return done();
}
