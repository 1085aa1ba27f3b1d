/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The program that reads the kernel's memory: what it is asked for is in its context, and so is what it says. */
#include "checkpoint/kernel_internal.h"

#include "base/bpf.h"
#include "base/macro.h"

#include <errno.h>

#define ANSWER offsetof(struct ckpt_question_answer, answer)
#define WORDS (CKPT_KERNEL_BLOCK / 8) /* of a block, which two instructions each hand over */
#define PROGRAM_LEN (31 + 2 * WORDS)

/* Its context, in register 1 and then 6, is a struct ckpt_question_answer; it returns 0, or what a helper did. */
static int load(int map)
{
	struct bpf_insn insns[] = {
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),
		BPF_INSN(BPF_LDX | BPF_MEM | BPF_DW, 2, 6, offsetof(struct ckpt_question_answer, what), 0),
		BPF_INSN(BPF_LDX | BPF_MEM | BPF_DW, 3, 6, offsetof(struct ckpt_question_answer, arg), 0),
		BPF_INSN(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 9, CKPT_ASK_TASK),
		BPF_INSN(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 11, CKPT_ASK_PER_CPU),
		BPF_INSN(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 20, CKPT_ASK_BLOCK),
		/* bpf_probe_read_kernel(stack, 8, arg) */
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, -8),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 8),
		BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel),
		BPF_INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 10, -8, 0),
		BPF_INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 1, ANSWER, 0),
		BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		/* bpf_get_current_task() */
		BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_current_task),
		BPF_INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 0, ANSWER, 0),
		BPF_INSN(BPF_JMP | BPF_JA, 0, 0, 8, 0),
		/* bpf_map_lookup_percpu_elem(map, &0, arg) */
		BPF_INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 0),
		BPF_INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map),
		BPF_INSN(0, 0, 0, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -8),
		BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, 195 /* BPF_FUNC_map_lookup_percpu_elem, Linux 5.19 */),
		BPF_INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1, 0),
		BPF_INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 0, ANSWER, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		/* bpf_probe_read_kernel(stack, CKPT_KERNEL_BLOCK, arg) */
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, -CKPT_KERNEL_BLOCK),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, CKPT_KERNEL_BLOCK),
		BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel),
		[PROGRAM_LEN - 1] = BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SYSCALL,
		.prog_flags = BPF_F_SLEEPABLE,
		.insn_cnt = PROGRAM_LEN,
		.insns = (uintptr_t)insns,
		.license = (uintptr_t)"GPL",
		.prog_name = "vpskernel",
	};

	/* No helper writes to the context itself. */
	for (int16_t i = 0, at = PROGRAM_LEN - 1 - 2 * WORDS; i < WORDS; i++, at += 2) {
		int16_t from = (int16_t)(8 * i - CKPT_KERNEL_BLOCK);
		int16_t to = (int16_t)(offsetof(struct ckpt_question_answer, block) + 8 * i);

		insns[at] = (struct bpf_insn)BPF_INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 10, from, 0);
		insns[at + 1] = (struct bpf_insn)BPF_INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 1, to, 0);
	}
	return bpf_load(&attr);
}

int ckpt_kernel_program_open(struct ckpt_kernel_program *p)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_PERCPU_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1,
		.map_name = "vpskernel",
	};

	p->map = bpf_call(BPF_MAP_CREATE, &attr);
	if (p->map < 0)
		return p->map;
	p->fd = load(p->map);
	return p->fd < 0 ? p->fd : 0;
}

void ckpt_kernel_program_done(struct ckpt_kernel_program *p)
{
	fd_close(&p->fd);
	fd_close(&p->map);
}

int ckpt_kernel_program_run(const struct ckpt_kernel_program *p, struct ckpt_question_answer *q, struct err *e)
{
	union bpf_attr attr = { .test = {
		.prog_fd = (uint32_t)p->fd, .ctx_in = (uintptr_t)q, .ctx_size_in = sizeof(*q),
	} };
	int r = bpf_call(BPF_PROG_TEST_RUN, &attr);

	if (r == 0 && attr.test.retval)
		r = -EFAULT;
	return r < 0 ? err_code(e, r, "read what the kernel knows") : 0;
}
