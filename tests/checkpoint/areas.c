/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What memory is besides its pages: advice, names, locks, guards, a stack that grows, large reservations. The
 * kernel's own words about each are compared, and what it does. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#define SIZE (64 * 4096)
#define KEPT 3
#define HUGE (320 << 20) /* more than is looked through at the stop */
#define GUARD_INSTALL 102
#define DROPPABLE 0x08
#define MSEAL 462

static const struct {
	const char *name, *flag;
	int advice;
} advices[] = {
	{ "dontfork", " dc", MADV_DONTFORK }, { "wipe", " wf", MADV_WIPEONFORK },
	{ "merge", " mg", MADV_MERGEABLE },   { "huge", " hg", MADV_HUGEPAGE },
	{ "nohuge", " nh", MADV_NOHUGEPAGE }, { "nodump", " dd", MADV_DONTDUMP },
	{ "random", " rr", MADV_RANDOM },     { "sequential", " sr", MADV_SEQUENTIAL },
};
#define COUNT (sizeof(advices) / sizeof(advices[0]))

static char *map(size_t size, int flags)
{
	/* A hole before each: no two are one. */
	char *p = mmap(NULL, size + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	munmap(p, size + 8192);
	p = mmap(p + 4096, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | flags, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	p[5] = 55;
	return p;
}

static void drop_word(char *text, const char *word)
{
	char *at = strstr(text, word);

	if (at)
		memmove(at, at + strlen(word), strlen(at + strlen(word)) + 1);
}

/* The line of flags of the area that begins there, and the line of its place. */
static void look(const char *p, char place[256], char flags[256])
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[256], start[32];
	int in = 0;

	place[0] = flags[0] = '\0';
	snprintf(start, sizeof(start), "%lx-", (unsigned long)p);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, start, strlen(start)) == 0) {
			in = 1;
			strcpy(place, line);
		} else if (in && strncmp(line, "VmFlags:", 8) == 0) {
			/* Which accounting it is under may be another. */
			strcpy(flags, line);
			drop_word(flags, " nr");
			drop_word(flags, " ac");
			break;
		}
	}
	fclose(f);
}

static int is_readable(const char *p)
{
	int fds[2], r;

	CHECK(pipe(fds) == 0);
	r = write(fds[1], p, 1) == 1;
	close(fds[0]);
	close(fds[1]);
	return r;
}

static int in_memory(char *p)
{
	unsigned char v = 0;

	CHECK(mincore(p, 4096, &v) == 0);
	return v & 1;
}

static long locked(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");
	long kib = -1;

	while (fgets(line, sizeof(line), f))
		sscanf(line, "VmLck: %ld", &kib);
	fclose(f);
	return kib;
}

/* Files, a nameless one and a memfd that were opened for writing, and for reading: what comes of the mapping goes by that. */
static char *writable[KEPT], *readable[KEPT];

static void map_read_only(void)
{
	int fd[KEPT] = { open("/root/kept", O_RDWR | O_CREAT, 0600), open("/root/gone", O_RDWR | O_CREAT, 0600),
			 memfd_create("kept", 0) };

	for (size_t i = 0; i < KEPT; i++) {
		char path[64];
		int again;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd[i]);
		again = open(path, O_RDONLY);
		CHECK(ftruncate(fd[i], SIZE) == 0);
		writable[i] = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd[i], 0);
		readable[i] = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, again, 0);
		CHECK(writable[i] != MAP_FAILED && readable[i] != MAP_FAILED);
		close(fd[i]);
		close(again);
	}
	CHECK(unlink("/root/gone") == 0);
}

static void check_read_only(void)
{
	for (size_t i = 0; i < KEPT; i++) {
		CHECK(mprotect(writable[i], SIZE, PROT_READ | PROT_WRITE) == 0);
		CHECK(mprotect(readable[i], SIZE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
		writable[i][3] = 3;
		CHECK(readable[i][3] == 3);
	}
}

int main(void)
{
	char *area[COUNT], before[COUNT][256], now[256], place[256], none[256], *guarded, *large, *stack, *lock, *lazy;
	char *drop = map(SIZE, DROPPABLE), *named = map(SIZE, MAP_PRIVATE), *grown, *sealed, *code;
	char *shared = map(SIZE, MAP_SHARED), *huge = map(HUGE, MAP_SHARED), *file;
	int has_guards, has_shared, has_name, has_lock, has_seal, status;
	pid_t pid;

	for (size_t i = 0; i < COUNT; i++) {
		area[i] = map(SIZE, MAP_PRIVATE);
		CHECK(madvise(area[i], SIZE, advices[i].advice) == 0);
		look(area[i], place, before[i]);
		CHECK(strstr(before[i], advices[i].flag));
	}
	guarded = map(SIZE, MAP_PRIVATE);
	has_guards =
		madvise(guarded + 8192, 8192, GUARD_INSTALL) == 0 && madvise(guarded + 40960, 4096, GUARD_INSTALL) == 0;
	file = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, open("/test", O_RDONLY), 0);
	CHECK(file != MAP_FAILED);
	map_read_only();
	/* Of those (Linux 6.15) each mapping has its own. */
	has_shared = madvise(shared + 4096, 8192, GUARD_INSTALL) == 0 && madvise(file + 8192, 4096, GUARD_INSTALL) == 0 &&
		     madvise(huge + HUGE / 2, 8192, GUARD_INSTALL) == 0;
	has_name = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, SIZE, "the name") == 0;
	sealed = map(SIZE, MAP_PRIVATE);
	code = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, open("/test", O_RDONLY), 0);
	CHECK(code != MAP_FAILED && mprotect(sealed, 4096, PROT_NONE) == 0);
	has_seal = syscall(MSEAL, sealed, SIZE, 0) == 0 && syscall(MSEAL, code, 4096, 0) == 0;
	lock = map(SIZE, MAP_PRIVATE);
	lazy = map(SIZE, MAP_PRIVATE);
	has_lock = mlock(lock, SIZE) == 0 && mlock2(lazy, SIZE, MLOCK_ONFAULT) == 0;
	large = mmap(NULL, (size_t)256 << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(large != MAP_FAILED && mprotect(large + ((size_t)100 << 30), 4096, PROT_READ | PROT_WRITE) == 0);
	large[((size_t)100 << 30) + 7] = 77;
	stack = map(1 << 20, MAP_PRIVATE);
	munmap(stack, 1 << 20);
	stack = mmap(stack + (1 << 19), 4096, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(stack != MAP_FAILED);
	stack[0] = 3;
	wait_for_restore();
	for (size_t i = 0; i < COUNT; i++) {
		look(area[i], place, now);
		CHECK(strcmp(before[i], now) == 0 && area[i][5] == 55);
	}
	check_read_only();
	look(guarded, place, none);
	if (has_guards)
		CHECK(is_readable(guarded) && !is_readable(guarded + 8192) && !is_readable(guarded + 12288) &&
		      is_readable(guarded + 16384) && !is_readable(guarded + 40960) && guarded[5] == 55);
	CHECK(shared[5] == 55 && is_readable(shared + 12288) && is_readable(file) && is_readable(file + 12288));
	if (has_shared)
		CHECK(!is_readable(shared + 4096) && !is_readable(shared + 8192) && !is_readable(file + 8192) &&
		      !is_readable(huge + HUGE / 2) && !is_readable(huge + HUGE / 2 + 4096));
	CHECK(huge[5] == 55 && is_readable(huge + HUGE / 2 - 4096) && is_readable(huge + HUGE / 2 + 8192));
	/* What is sealed is as it is for good; what lies beside it is not. */
	CHECK(sealed[4096] == 0 && code[0] == 0x7f && !is_readable(sealed));
	if (has_seal)
		CHECK(munmap(sealed, 4096) < 0 && errno == EPERM && mprotect(sealed + 4096, 4096, PROT_READ) < 0 &&
		      munmap(code, 4096) < 0);
	sealed[8192] = 5;
	CHECK(mprotect(code + 4096, 4096, PROT_READ) == 0 && munmap(code + 4096, 4096) == 0);
	look(named, place, none);
	CHECK(named[5] == 55 && (!has_name || strstr(place, "[anon:the name]")));
	look(lock, place, now);
	CHECK(!has_lock || (strstr(now, " lo") && locked() == 2 * SIZE / 1024));
	look(lazy, place, none);
	CHECK(!has_lock || (strstr(none, " lo") && !in_memory(lazy + 8192)));
	if (drop) {
		look(drop, place, now);
		CHECK(strstr(now, " dp"));
	}
	CHECK(large[((size_t)100 << 30) + 7] == 77 && !is_readable(large) && !is_readable(large + ((size_t)200 << 30)));
	CHECK(stack[0] == 3);
	grown = stack - 4096;
	grown[4] = 4; /* it grows */
	pid = fork();
	if (pid == 0)
		_exit(is_readable(area[0]) || !is_readable(area[1]) || area[1][5] != 0 || area[2][5] != 55);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return done();
}
