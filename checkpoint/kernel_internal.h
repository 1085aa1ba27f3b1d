/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_KERNEL_INTERNAL_H
#define CHECKPOINT_KERNEL_INTERNAL_H

#include "base/err.h"
#include "checkpoint/kernel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the kernel's memory (kernel.c) is read by: where things are (kernel_types.c), and the program that reads
 * (kernel_program.c). */

/* The kernel's own description of its types. Begins zeroed; done() after an open() that failed, too. */
struct ckpt_types {
	char *text;         /* BTF */
	size_t size;
	bool mapped;
	uint32_t *type;     /* by number: where it begins */
	uint32_t *next;     /* by number, of a structure: the next in its bucket; 0: none */
#define CKPT_TYPES_BUCKETS 8192u /* of structures by their names, of which there are ten thousand */
	uint32_t bucket[CKPT_TYPES_BUCKETS];
	uint32_t count;
#define CKPT_TYPES_KNOWN 256u /* members that were asked for, and from where */
	struct {
		const char *type, *member;
		uint32_t offset;
	} known[CKPT_TYPES_KNOWN]; /* constants of our callers */
	size_t known_count;
};
/* Negative errno value. */
int ckpt_types_open(struct ckpt_types *d);
void ckpt_types_done(struct ckpt_types *d);

/* Where a member is, and how many bits it has; 0: it is a list. */
struct ckpt_bits {
	uint32_t first, count;
};
int ckpt_types_bits(const struct ckpt_types *d, const char *type, const char *member, struct ckpt_bits *ret,
		    struct err *e);
/* Where a member is in a structure, in bytes. */
int ckpt_types_offset(struct ckpt_types *d, const char *type, const char *member, uint32_t *ret, struct err *e);
int ckpt_types_size(const struct ckpt_types *d, const char *type, uint32_t *ret, struct err *e);

/* What the program is asked for, and answers. */
enum ckpt_question { CKPT_ASK_READ, CKPT_ASK_TASK, CKPT_ASK_PER_CPU, CKPT_ASK_BLOCK };
struct ckpt_question_answer {
	uint64_t what, arg, answer;
	uint8_t block[CKPT_KERNEL_BLOCK];
};
struct ckpt_kernel_program {
	int fd, map; /* -EBADF before */
};
/* Negative errno value; done() after a failure, too. */
int ckpt_kernel_program_open(struct ckpt_kernel_program *p);
void ckpt_kernel_program_done(struct ckpt_kernel_program *p);
int ckpt_kernel_program_run(const struct ckpt_kernel_program *p, struct ckpt_question_answer *q, struct err *e);

#endif
