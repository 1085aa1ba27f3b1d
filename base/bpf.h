/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_BPF_H
#define BASE_BPF_H

#include <linux/bpf.h>

/* Programs that the kernel runs: bpf(2). */

/* An instruction: what it does, registers that it writes to and reads, offset, constant. */
#define BPF_INSN(c, d, s, o, i) \
	{ .code = (c), .dst_reg = (d) & 15, .src_reg = (s) & 15, .off = (o), .imm = (int32_t)(i) }

/* What bpf(2) returns, or -errno. */
int bpf_call(int cmd, union bpf_attr *attr);
/* Loads a program: its fd, which is close-on-exec as all of bpf(2), or -errno. */
int bpf_load(union bpf_attr *attr);

#endif
