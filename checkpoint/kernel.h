/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_KERNEL_H
#define CHECKPOINT_KERNEL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the kernel knows and tells nobody: its own memory, read by a program of a few instructions that runs when
 * it is asked to (BPF_PROG_TYPE_SYSCALL, Linux 5.14), so that nothing is hooked into anything and nothing stays.
 * Where things are its own description of its types says (/sys/kernel/btf/vmlinux). For what must be known before
 * something may be saved, and can be known in no other way.
 */
struct ckpt_kernel;

/* ERR_UNSUPPORTED where that may not be had: without CAP_BPF and CAP_PERFMON, or when the kernel is locked down. */
int ckpt_kernel_open(struct ckpt_kernel **ret, struct err *e);
void ckpt_kernel_close(struct ckpt_kernel *k);

/* A member of a structure that begins at `at`, or "member.member": `size` bytes of it, up to 8, unsigned. Names are
 * constants: where they are is remembered. */
int ckpt_kernel_member(struct ckpt_kernel *k, uint64_t at, const char *type, const char *member, unsigned size,
		       uint64_t *ret, struct err *e);
/* Members that lie in the 256 bytes from here on are from now on as they are at this moment; 0: as they are when they
 * are asked for. What cannot be read at once is read when it is asked for. For many members of one thing. */
void ckpt_kernel_look(struct ckpt_kernel *k, uint64_t at);
/* True when there is such a member; kernels differ. */
bool ckpt_kernel_has(struct ckpt_kernel *k, const char *type, const char *member);
/* Eight bytes of it. */
int ckpt_kernel_read(struct ckpt_kernel *k, uint64_t at, uint64_t *ret, struct err *e);
/* As many as are wanted. */
#define CKPT_KERNEL_BLOCK 256 /* read at once; a page holds whole ones */
int ckpt_kernel_bytes(struct ckpt_kernel *k, uint64_t at, void *buf, size_t len, struct err *e);
/* Where that member is. */
int ckpt_kernel_place(struct ckpt_kernel *k, uint64_t at, const char *type, const char *member, uint64_t *ret,
		      struct err *e);
/* Where a member begins in its structure, which may be in the middle of a byte, and how long it is: in bits. 0: it is a
 * list. */
int ckpt_kernel_bits(const struct ckpt_kernel *k, const char *type, const char *member, uint32_t *ret_first,
		     uint32_t *ret_count, struct err *e);
/* The number by which a program calls a function of the kernel (BPF_PSEUDO_KFUNC_CALL). ERR_UNSUPPORTED: there is none.
 * No memory is read. */
int ckpt_kernel_function(const char *name, uint32_t *ret, struct err *e);
/* How large such a structure is. */
int ckpt_kernel_size(struct ckpt_kernel *k, const char *type, uint32_t *ret, struct err *e);
/* The task_struct that an open file of ours in /proc/TID speaks of. */
int ckpt_kernel_task(struct ckpt_kernel *k, int fd, uint64_t *ret, struct err *e);
/* The struct file of an open file of ours, and its private_data. */
int ckpt_kernel_open_file(struct ckpt_kernel *k, int fd, uint64_t *ret, struct err *e);
int ckpt_kernel_file(struct ckpt_kernel *k, int fd, uint64_t *ret, struct err *e);
/* The sum over all processors of a 32-bit member of what lies at `at` in the memory of each; with no type (NULL), of
 * 32 bits there. */
int ckpt_kernel_sum(struct ckpt_kernel *k, uint64_t at, const char *type, const char *member, uint64_t *ret,
		    struct err *e);
/*
 * Where a page is that the kernel knows by its struct page, at `page`. The kernel tells nobody how the two belong
 * together; `near` is where something is in the memory that it has mapped as a whole. A page of ours, whose contents
 * nobody else's are, is looked for around that. (kernel_pages.c)
 */
int ckpt_kernel_page(struct ckpt_kernel *k, uint64_t near, uint64_t page, uint64_t *ret, struct err *e);
/* What ckpt_kernel_page() has found, with `k`: 0 before. */
uint64_t *ckpt_kernel_map(struct ckpt_kernel *k);

#endif
