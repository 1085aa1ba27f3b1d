/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_AIO_H
#define CHECKPOINT_AIO_H

#include "checkpoint/tree.h"

#include <stdbool.h>

/*
 * Asynchronous I/O (io_setup(2)). A context's name is the address of its ring, a piece of memory that the kernel
 * maps: there is a number of slots, where completed requests are (from the head on) and where the next goes (the
 * tail). The head is read from memory, the tail the kernel keeps for itself as well.
 */
struct ckpt_batch;
struct ckpt_dump;
struct ckpt_thread;
struct list;
struct restoring;

/* Its area, whose contents are asked for later. */
int ckpt_aio_area(struct ckpt_dump *d, Ckpt__Area *a, struct err *e);
/* The rings of a process, by lists; requests that were under way have ended (drain.h). A ring that a fork left in the
 * child, where it is nobody's, becomes memory like any other. */
int ckpt_aio_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, struct ckpt_thread *th,
		     struct err *e);
bool ckpt_aio_fits(const Ckpt__Area *a);
/* Makes them again, when all other memory has its place. */
int restore_aio(struct restoring *p, struct list *l, struct err *e);

#endif
