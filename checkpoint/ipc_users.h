/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_IPC_USERS_H
#define CHECKPOINT_IPC_USERS_H

#include "checkpoint/ipc.h"

/*
 * Which processes the kernel notes down for System V objects: who made a shared memory and who attached or left it last, who
 * sent to a message queue and received from it last, who changed a semaphore last. It does so when they make the call, so
 * that a process of that number has to make it again: those of the VPS, or, for who has ended, one that ends at once (as.h).
 */
#define CKPT_IPC_USERS 2 /* of memory, of a queue */

/* Of the objects from number `first` on, in whose namespace the caller is: as its pid namespace numbers them. */
int ckpt_ipc_users(struct ckpt_dump *d, size_t first, struct err *e);
/* From the host's numbers to the VPS's. How many of them have ended. */
int ckpt_ipc_users_number(struct ckpt_dump *d, size_t first);
/* In the VPS's pid namespace, too: those that have ended. */
int ckpt_ipc_users_inside(struct ckpt_dump *d, size_t first, struct err *e);

/* Runs it as a process of that number, or as we are when it is 0 or there is one already. Not before ckpt_ipc_make(). */
int ckpt_ipc_as(uint32_t pid, int (*fn)(void *arg, struct err *e), void *arg, struct err *e);
/* Of semaphores that have just been set. Fills queues, too: who sent a message last sends it. */
int ckpt_ipc_users_make(const struct ckpt_tree *t, const Ckpt__IpcObject *o, struct err *e);
/* By the processes themselves, once nobody else does anything to it. */
int restore_ipc_users(struct restore *r, struct list *l, struct err *e);

#endif
