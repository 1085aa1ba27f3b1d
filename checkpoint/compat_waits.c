/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Calls of 32-bit programs that go on as restart_syscall(2): see restarted.c. */
#include "base/macro.h"
#include "checkpoint/batch.h"
#include "checkpoint/compat.h"

#include <linux/futex.h>

#define RESTART_BLOCK (-516) /* ERESTART_RESTARTBLOCK */

/* i386 numbers; the second of two is that with a time of 64 bits. */
enum { NANOSLEEP = 162, POLL = 168, FUTEX = 240, FUTEX_64 = 422, CLOCK_NANOSLEEP = 267, CLOCK_NANOSLEEP_64 = 407 };

static bool restarts(uint32_t nr)
{
	return nr == NANOSLEEP || nr == POLL || nr == FUTEX || nr == FUTEX_64 || nr == CLOCK_NANOSLEEP ||
	       nr == CLOCK_NANOSLEEP_64;
}

/* The last `mov $number, %eax` in the bytes before an address; 0: there is none. */
static uint32_t loaded_before(pid_t tid, uint32_t at)
{
	uint8_t code[48];
	uint32_t nr;

	if (ckpt_mem_read(tid, at - sizeof(code), code, sizeof(code)) < 0)
		return 0;
	for (size_t i = sizeof(code) - 5; i > 0; i--) {
		memcpy(&nr, code + i + 1, sizeof(nr));
		if (code[i] == 0xb8 && restarts(nr))
			return nr;
	}
	return 0;
}

/* A program calls the vdso, which has kept three registers before it enters the kernel. */
static uint32_t in_code(pid_t tid, const struct user_regs_struct *r)
{
	static const uint8_t vdso_end[] = { 0x5d, 0x5a, 0x59, 0xc3 }; /* pop %ebp, %edx, %ecx; ret */
	uint8_t code[sizeof(vdso_end)];
	uint32_t from;

	if (ckpt_mem_read(tid, r->rip, code, sizeof(code)) == 0 && memcmp(code, vdso_end, sizeof(code)) == 0)
		return ckpt_mem_read(tid, r->rsp + 12, &from, sizeof(from)) == 0 ? loaded_before(tid, from) : 0;
	return loaded_before(tid, (uint32_t)r->rip);
}

static bool is_wide_time(pid_t tid, uint64_t at)
{
	uint32_t t[3];

	return ckpt_mem_read(tid, at, t, sizeof(t)) == 0 && t[1] == 0 && t[2] < 1000000000;
}

/* A wait for a word that is as expected, with a time, or a private one. */
static bool is_futex(pid_t tid, const struct user_regs_struct *r)
{
	uint64_t op = r->rcx & ~(uint64_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
	uint32_t word, t[2];

	if (op != FUTEX_WAIT && op != FUTEX_WAIT_BITSET)
		return false;
	return (r->rcx & FUTEX_PRIVATE_FLAG) ||
	       (ckpt_mem_read(tid, r->rbx, &word, sizeof(word)) == 0 && word == (uint32_t)r->rdx &&
		ckpt_mem_read(tid, r->rsi, t, sizeof(t)) == 0 && t[1] < 1000000000);
}

/* What fits the arguments, for programs that have the number from elsewhere, as by syscall(3). */
static uint32_t by_arguments(pid_t tid, const struct user_regs_struct *r)
{

	if (r->rbx < 16 && r->rcx == 0 && r->rdx > 65535)
		return is_wide_time(tid, r->rdx) ? CLOCK_NANOSLEEP_64 : CLOCK_NANOSLEEP;
	if (is_futex(tid, r))
		return is_wide_time(tid, r->rsi) ? FUTEX_64 : FUTEX;
	return r->rcx == 0 || r->rcx > 1 << 20 ? NANOSLEEP : POLL;
}

void ckpt_compat_restarted(pid_t tid, struct user_regs_struct *r)
{
	if (r->orig_rax != CKPT_COMPAT_RESTART || (int64_t)r->rax != RESTART_BLOCK)
		return;
	r->orig_rax = in_code(tid, r);
	if (!r->orig_rax)
		r->orig_rax = by_arguments(tid, r);
}
