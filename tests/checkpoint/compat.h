/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_COMPAT_H
#define TESTS_CHECKPOINT_COMPAT_H

/* For 32-bit programs without a C library, which begin in run(), with what is on the stack then. Otherwise as guest.h. */
#include <stdbool.h>
#include <stdint.h>

enum { EXIT = 1, READ = 3, WRITE = 4 };

static int failed;

static int sys(int nr, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e)
{
	int r;

	__asm__ volatile("int $0x80" : "=a"(r) : "0"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
	return r;
}

#define P(x) ((uint32_t)(uintptr_t)(x))
#define CHECK(cond) check(cond, #cond "\n")

static void say(const char *s)
{
	uint32_t n = 0;

	while (s[n])
		n++;
	sys(WRITE, 1, P(s), n, 0, 0);
}

static void check(bool good, const char *what)
{
	if (good)
		return;
	failed = 1;
	say("failed: ");
	say(what);
}

__asm__(".globl _start\n_start: mov %esp, %eax; and $-16, %esp; sub $12, %esp; push %eax; call run\n");

#endif
