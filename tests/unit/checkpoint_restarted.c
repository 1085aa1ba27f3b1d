/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A task that is stopped again before it has gone on with the call that the stop before had interrupted. */
#include "checkpoint/internal.h"
#include "tests/unit/tap.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define USER_CS64 0x33
#define RESTART_BLOCK (-516)

/* nop; mov $202 (futex), %eax; syscall; ret */
static const uint8_t code[] = { 0x90, 0x90, 0xb8, 0xca, 0, 0, 0, 0x0f, 0x05, 0xc3 };
#define AT 7

static struct user_regs_struct stopped(uint64_t rax, uint64_t orig_rax, size_t at)
{
	return (struct user_regs_struct){ .cs = USER_CS64, .rax = rax, .orig_rax = orig_rax,
					  .rip = (uint64_t)(uintptr_t)(code + at) };
}

TEST(before_the_instruction)
{
	struct user_regs_struct r = stopped(SYS_restart_syscall, UINT64_MAX, AT);

	ckpt_restarted_call(getpid(), &r);
	eq_int(r.rip, (uint64_t)(uintptr_t)(code + AT + 2), "it is behind the instruction, as if it had been in the call");
	eq_int((int64_t)r.rax, RESTART_BLOCK, "which was interrupted");
	eq_int(r.orig_rax, SYS_futex, "and is the one of the program");
}

TEST(in_the_call)
{
	struct user_regs_struct r = stopped((uint64_t)RESTART_BLOCK, SYS_restart_syscall, AT + 2);

	ckpt_restarted_call(getpid(), &r);
	eq_int(r.rip, (uint64_t)(uintptr_t)(code + AT + 2), "it stays");
	eq_int(r.orig_rax, SYS_futex, "and its call is the one of the program");
}

TEST(elsewhere)
{
	struct user_regs_struct r = stopped(SYS_restart_syscall, UINT64_MAX, 0), was = r;

	ckpt_restarted_call(getpid(), &r);
	ok(memcmp(&r, &was, sizeof(r)) == 0, "a number that is no call's changes nothing");
	r = was = stopped(SYS_futex, UINT64_MAX, AT);
	ckpt_restarted_call(getpid(), &r);
	ok(memcmp(&r, &was, sizeof(r)) == 0, "nor does one that begins a call");
}
