/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A 64-bit program with descriptors of its own: threads that use them, a child that has them from its parent. */
#include "guest.h"

#include <asm/ldt.h>
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LAST 8191
#define SELECTOR(n) ((n) << 3 | 7)

static uint32_t *data; /* where the base of a descriptor reaches */
static volatile int go;

static int set(unsigned n, uint32_t base, uint32_t limit, unsigned contents, unsigned wide)
{
	struct user_desc u = { .entry_number = n, .base_addr = base, .limit = limit, .seg_32bit = wide, .contents = contents,
			       .useable = n & 1 };

	return (int)syscall(SYS_modify_ldt, 0x11, &u, sizeof(u));
}

/* fs is libc's; gs is free, and its base that of the descriptor. */
static void *use(void *arg)
{
	uint16_t now;
	uint32_t v;

	__asm__ volatile("mov %w0, %%gs" : : "r"(SELECTOR(0)));
	while (!go)
		;
	__asm__ volatile("mov %%gs, %0" : "=r"(now));
	__asm__ volatile("mov %%gs:8, %0" : "=r"(v));
	CHECK(now == SELECTOR(0));
	CHECK(v == 0x5678);
	return arg;
}

static void look(const char *before)
{
	static char now[LAST * 8 + 8];

	CHECK(syscall(SYS_modify_ldt, 0, now, sizeof(now)) == sizeof(now));
	CHECK(memcmp(now, before, sizeof(now)) == 0);
}

/* Some hypervisors take descriptors of programs and have none of them used. */
static bool can_use(void)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		__asm__ volatile("mov %w0, %%gs" : : "r"(SELECTOR(0)));
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	return status == 0;
}

int main(void)
{
	static char before[LAST * 8 + 8];
	int status = 1, to[2];
	pthread_t t;
	pid_t child;

	data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(data != MAP_FAILED);
	data[2] = 0x5678;
	if (set(0, (uint32_t)(uintptr_t)data, 4095, MODIFY_LDT_CONTENTS_DATA, 1) < 0 ? errno == ENOSYS || errno == EPERM :
										       !can_use()) {
		wait_for_restore(); /* there are none here */
		return done();
	}
	/* Not every kernel has segments of 16 bits (CONFIG_X86_16BIT). */
	if (set(7, 0x12345678, 0xabcde, MODIFY_LDT_CONTENTS_STACK, 0) != 0)
		CHECK(set(7, 0x12345678, 0xabcde, MODIFY_LDT_CONTENTS_STACK, 1) == 0);
	CHECK(set(LAST, 0xfedcba98, 77, MODIFY_LDT_CONTENTS_CODE, 1) == 0);
	CHECK(syscall(SYS_modify_ldt, 0, before, sizeof(before)) == sizeof(before));
	CHECK(pthread_create(&t, NULL, use, NULL) == 0);
	CHECK(pipe(to) == 0);
	child = fork();
	if (child == 0) {
		char c;

		close(to[1]);
		CHECK(read(to[0], &c, 1) == 0);
		look(before);
		_exit(guest_failed);
	}
	close(to[0]);
	wait_for_restore();
	look(before);
	go = 1;
	CHECK(pthread_join(t, NULL) == 0);
	close(to[1]);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	return done();
}
