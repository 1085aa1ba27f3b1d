/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A call with a time-out that was interrupted goes on as restart_syscall(2), which has what is left of it in
 * the kernel: after a freeze, or when memory was sent in rounds before. Only the task itself can do that; one
 * that is restored issues the call anew, whose number is no longer in its registers, but mostly in the
 * program: `mov $number, %eax` right before the instruction.
 */
#include "base/macro.h"
#include "checkpoint/batch_internal.h"
#include "checkpoint/compat.h"
#include "checkpoint/internal.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#define RESTART_BLOCK (-516) /* ERESTART_RESTARTBLOCK */

static bool restarts(uint64_t nr)
{
	return nr == SYS_nanosleep || nr == SYS_clock_nanosleep || nr == SYS_futex || nr == SYS_poll;
}

/* 0: it is not there. */
static uint64_t in_code(pid_t tid, uint64_t rip)
{
	uint8_t code[9];
	uint32_t nr;

	if (ckpt_mem_read(tid, rip - sizeof(code), code, sizeof(code)) < 0 || code[7] != 0x0f || code[8] != 0x05)
		return 0;
	memcpy(&nr, code + 3, sizeof(nr));
	if (code[2] != 0xb8 && (code[0] != 0x48 || code[1] != 0xc7 || code[2] != 0xc0))
		return 0;
	return restarts(nr) ? nr : 0;
}

/* A wait for a word that is as expected, with a time: its operation is 0, as nanosleep's second argument may be, or 9, as many
 * files may be waited for. */
static bool is_shared_futex(pid_t tid, const struct user_regs_struct *r)
{
	uint64_t op = r->rsi & ~(uint64_t)FUTEX_CLOCK_REALTIME;
	int64_t ts[2];
	uint32_t word;

	return (op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET) && ckpt_mem_read(tid, r->rdi, &word, sizeof(word)) == 0 &&
	       word == (uint32_t)r->rdx && ckpt_mem_read(tid, r->r10, ts, sizeof(ts)) == 0 && ts[0] >= 0 &&
	       ts[1] >= 0 && ts[1] < 1000000000;
}

/* What fits the arguments, for programs that have the number from elsewhere (Go, musl). */
static uint64_t by_arguments(pid_t tid, const struct user_regs_struct *r)
{
	uint64_t op = r->rsi & ~(uint64_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);

	if (r->rdi < 16 && r->rsi == 0 && r->rdx > 65535)
		return SYS_clock_nanosleep;
	if ((r->rsi & FUTEX_PRIVATE_FLAG) && (op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET))
		return SYS_futex;
	if (is_shared_futex(tid, r))
		return SYS_futex;
	if (r->rsi == 0 || r->rsi > 1 << 20)
		return SYS_nanosleep;
	return SYS_poll;
}

/* It was let go on from a stop, and had no processor until the next: right before the instruction, where only the task
 * itself could begin again. */
static void step_over(pid_t tid, struct user_regs_struct *r)
{
	uint8_t code[2];

	if ((int64_t)r->orig_rax >= 0 || r->rax != SYS_restart_syscall ||
	    ckpt_mem_read(tid, r->rip, code, sizeof(code)) < 0 || code[0] != 0x0f || code[1] != 0x05)
		return;
	r->rip += sizeof(code);
	r->orig_rax = SYS_restart_syscall;
	r->rax = (uint64_t)RESTART_BLOCK;
}

void ckpt_restarted_call(pid_t tid, struct user_regs_struct *regs)
{
	if (regs->cs == USER_CS64)
		step_over(tid, regs);
	if (regs->cs != USER_CS64)
		ckpt_compat_restarted(tid, regs);
	if (regs->cs != USER_CS64 || regs->orig_rax != SYS_restart_syscall || (int64_t)regs->rax != RESTART_BLOCK)
		return;
	regs->orig_rax = in_code(tid, regs->rip);
	if (!regs->orig_rax)
		regs->orig_rax = by_arguments(tid, regs);
}
