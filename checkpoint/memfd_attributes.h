/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_MEMFD_ATTRIBUTES_H
#define CHECKPOINT_MEMFD_ATTRIBUTES_H

#include "checkpoint/internal.h"

/*
 * Extended attributes of a memfd (xattr(7)): user.* (tmpfs has those since Linux 6.6), access lists and file
 * capabilities, by the VPS's own root, so that ids in them are as inside. What only the host can give it
 * (trusted.*) is none of the VPS's.
 */
struct restore;

/* `fd`: an open file of ours of it. */
int ckpt_memfd_attributes(struct ckpt_dump *d, int fd, Ckpt__Shmem *s, struct err *e);
int ckpt_memfd_attributes_check(const Ckpt__Shmem *s, uint64_t id, struct err *e);
/* When all memory is filled, which would take capabilities away; and before it is sealed. */
int restore_memfd_attributes(struct restore *r, struct err *e);

#endif
