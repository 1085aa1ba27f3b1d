/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_MAPS_H
#define CHECKPOINT_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Memory of a VPS lies below: the top with page tables of four levels (x86-64). */
#define CKPT_ADDRESS_MAX 0x7ffffffff000ull

/* One line of /proc/PID/maps (proc(5)). */
struct ckpt_map {
	uint64_t start, end, offset;
	char perms[8];     /* "rw-p" */
	unsigned major, minor; /* of the file's device, as the kernel has it, which stat(2) need not */
	uint64_t ino;
	char name[4300];   /* "" for anonymous memory; escaped as the kernel does */
};

/* fclose(3)d by the caller; NULL with errno set. */
FILE *ckpt_maps_open(pid_t pid);
/* 1, 0 at the end, or -EPROTO. */
int ckpt_maps_next(FILE *f, struct ckpt_map *ret);

/* The kernel's own: [vvar], [vvar_vclock] (Linux 6.13), [vdso]. */
bool ckpt_map_is_vdso(const struct ckpt_map *m);
/* Private memory that is the process's: not what the kernel put there. */
bool ckpt_map_is_private(const struct ckpt_map *m);
/* Of a file that never had a name: a memfd, shared memory without one, of System V; memory of huge pages (MAP_HUGETLB),
 * private or shared. A tenant's own file may be called so. */
bool ckpt_map_is_unnamed(const struct ckpt_map *m);
bool ckpt_map_is_sysv(const struct ckpt_map *m);
bool ckpt_map_is_huge(const struct ckpt_map *m);
/* Backed by no file; its pages are all the process's own. */
bool ckpt_map_is_anonymous(const struct ckpt_map *m);

#endif
