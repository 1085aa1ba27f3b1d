/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_STUB_H
#define CHECKPOINT_STUB_H

#include <stdint.h>

/*
 * The code that runs in a task, position independent, and the data that it reads by its own
 * address. It lies in the unused end of the vdso's last page. See stub.c.
 */

/* From the start of the code to the end of the data. */
extern const uint8_t ckpt_stub_start[], ckpt_stub_stop[];
/* Entry: %rbx calls, %rbp their number, %r13 process, %r14 thread, %r15 signal or 0. */
extern const uint8_t ckpt_stub_loop[];
/* Just behind the call in the loop; where syscall stops of calls are seen. */
extern const uint8_t ckpt_stub_called[];
/* %rbp is what is left from here on; and: nothing is. */
extern const uint8_t ckpt_stub_counted[], ckpt_stub_listed[];
/* Just behind the call that sends the signal. */
extern const uint8_t ckpt_stub_signalled[];
/* Entry: one call with the registers as they are, which must not need %rbx: its result is there when the signal
 * comes. %r13 to %r15 as above. */
extern const uint8_t ckpt_stub_one[];
extern const uint8_t ckpt_stub_one_called[];
/* Entry: likewise one 32-bit call, by the interrupt that 64-bit code may make them by, too. */
extern const uint8_t ckpt_stub_compat[];
extern const uint8_t ckpt_stub_compat_called[];
/* Entry: back to the saved registers. */
extern const uint8_t ckpt_stub_restore[];
/* The scratch memory is gone: from here on only registers are set. */
extern const uint8_t ckpt_stub_unmapped[];
/* The jump out of the stub, 16 bytes before the data. With CKPT_STUB_FAR as its second byte it goes to other than
 * 64-bit code, whose selector is in the upper half of the data's `rip`. */
extern const uint8_t ckpt_stub_leave[];
#define CKPT_STUB_LEAVE 16
#define CKPT_STUB_NEAR 0x25 /* jmp *m64 */
#define CKPT_STUB_FAR 0x2d  /* ljmp *m16:32 */
/* The data. */
extern const uint8_t ckpt_stub_data[];

struct ckpt_stub_data {
	uint64_t scratch;     /* not 0: unmap it */
	uint64_t scratch_size;
	uint8_t low_flags;    /* SF ZF AF PF CF, as sahf takes them */
	uint8_t overflow;     /* OF: 1 or 0 */
	uint8_t pad[2];
	uint32_t turn;        /* which of the stubs in one vdso is the oldest */
	uint64_t direction;   /* DF */
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, rip;
};

#endif
