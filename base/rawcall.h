/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_RAWCALL_H
#define BASE_RAWCALL_H

#include <sys/syscall.h>

/*
 * System calls for programs without the C library, and for what runs before it is ready: SYS(close, fd)
 * gives the kernel's answer, -errno when it failed. On machines other than x86-64 the C library makes them.
 */
#if defined(__x86_64__)
static inline long rawcall(long nr, long a, long b, long c, long d, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}
#else
#include <errno.h>
#include <unistd.h>

static inline long rawcall(long nr, long a, long b, long c, long d, long f)
{
	long r = syscall(nr, a, b, c, d, f);

	return r < 0 ? -errno : r;
}
#endif

#define SYS(...) RAWCALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define RAWCALL_(nr, a, b, c, d, f, ...) \
	rawcall(SYS_##nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(f))

#endif
