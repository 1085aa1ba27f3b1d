/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Walks a table of { nr, args[6], ret }, tells the engine, and goes back to the saved registers.
 * The engine stops the task before it gets that far; the way back is for tasks whose engine has
 * died. It uses moves and a jump instead of rt_sigreturn(2), because that makes every
 * interrupted call with a timeout end with EINTR (it sets restart_block.fn to
 * do_no_restart_syscall), and because it needs no place on the task's stack, which may be two
 * kilobytes long and all used. The stack pointer is the task's own all the time, so a signal handler
 * may run at any instruction. The flags that user code can change are put together without a stack;
 * AC and ID are not touched by anything here.
 */
#include "checkpoint/stub.h"

#include <stddef.h>

#define REG(name, off) "mov ckpt_stub_data+" #off "(%rip), %" #name "\n"

__asm__(
	".pushsection .rodata, \"a\", @progbits\n"
	".balign 16\n"
	".globl ckpt_stub_start, ckpt_stub_stop, ckpt_stub_loop, ckpt_stub_called\n"
	".globl ckpt_stub_signalled, ckpt_stub_one, ckpt_stub_one_called, ckpt_stub_restore\n"
	".globl ckpt_stub_counted, ckpt_stub_listed, ckpt_stub_unmapped, ckpt_stub_data\n"
	".globl ckpt_stub_compat, ckpt_stub_compat_called, ckpt_stub_leave\n"
	"ckpt_stub_start:\n"
	"ckpt_stub_loop:\n"
	"	test %rbp, %rbp\n"
	"	jz 1f\n"
	"	mov 0(%rbx), %rax\n"
	"	mov 8(%rbx), %rdi\n"
	"	mov 16(%rbx), %rsi\n"
	"	mov 24(%rbx), %rdx\n"
	"	mov 32(%rbx), %r10\n"
	"	mov 40(%rbx), %r8\n"
	"	mov 48(%rbx), %r9\n"
	"	syscall\n"
	"ckpt_stub_called:\n"
	"	mov %rax, 56(%rbx)\n"
	"	add $64, %rbx\n"
	"	dec %rbp\n"
	"ckpt_stub_counted:\n"
	"	jmp ckpt_stub_loop\n"
	"ckpt_stub_listed:\n"
	"1:	test %r15, %r15\n"
	"	jz ckpt_stub_restore\n"
	"	mov $234, %eax\n" /* tgkill */
	"	mov %r13, %rdi\n"
	"	mov %r14, %rsi\n"
	"	mov %r15, %rdx\n"
	"	syscall\n"
	"ckpt_stub_signalled:\n"
	"	jmp ckpt_stub_restore\n"
	"ckpt_stub_one:\n"
	"	syscall\n"
	"ckpt_stub_one_called:\n"
	"	mov %rax, %rbx\n"
	"	jmp ckpt_stub_listed\n"
	"ckpt_stub_compat:\n"
	"	int $0x80\n"
	"ckpt_stub_compat_called:\n"
	"	jmp ckpt_stub_one_called\n"
	"ckpt_stub_restore:\n"
	"	mov ckpt_stub_data+0(%rip), %rdi\n"
	"	test %rdi, %rdi\n"
	"	jz 2f\n"
	"	mov ckpt_stub_data+8(%rip), %rsi\n"
	"	mov $11, %eax\n" /* munmap */
	"	syscall\n"
	"ckpt_stub_unmapped:\n"
	"2:	cld\n"
	"	mov ckpt_stub_data+24(%rip), %rcx\n"
	"	jrcxz 4f\n"
	"	std\n"
	"4:	mov ckpt_stub_data+17(%rip), %al\n"
	"	add $127, %al\n" /* overflows for 1 */
	"	mov ckpt_stub_data+16(%rip), %ah\n"
	"	sahf\n"
	REG(r15, 32) REG(r14, 40) REG(r13, 48) REG(r12, 56) REG(rbp, 64) REG(rbx, 72)
	REG(r11, 80) REG(r10, 88) REG(r9, 96) REG(r8, 104) REG(rax, 112) REG(rcx, 120)
	REG(rdx, 128) REG(rsi, 136) REG(rdi, 144)
	".balign 16, 0x90\n"
	"ckpt_stub_leave:\n" /* a far jump in its place, of the same length, for 32-bit code */
	"	jmp *ckpt_stub_data+152(%rip)\n"
	".balign 16, 0x90\n"
	"ckpt_stub_data:\n"
	"	.zero 160\n"
	"ckpt_stub_stop:\n"
	".popsection\n");

_Static_assert(sizeof(struct ckpt_stub_data) == 160, "as in the code above");
_Static_assert(offsetof(struct ckpt_stub_data, low_flags) == 16, "as in the code above");
_Static_assert(offsetof(struct ckpt_stub_data, direction) == 24, "as in the code above");
_Static_assert(offsetof(struct ckpt_stub_data, r15) == 32, "as in the code above");
_Static_assert(offsetof(struct ckpt_stub_data, rip) == 152, "as in the code above");
