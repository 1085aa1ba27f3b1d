/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_IPC_H
#define CHECKPOINT_IPC_H

#include "checkpoint/tree.h"

/*
 * System V shared memory, semaphores and message queues (sysvipc(7)) of ipc namespaces, with their numbers.
 */
struct ckpt_batch;
struct ckpt_dump;
struct list;
struct restore;
struct restoring;

enum ckpt_ipc_kind { CKPT_IPC_SHM = 1, CKPT_IPC_SEM, CKPT_IPC_MSG };

/* Those of all namespaces that were collected. */
int ckpt_ipc_collect(struct ckpt_dump *d, struct err *e);
/* What the semaphores of its namespace get back when the process ends (SEM_UNDO): asked for by lists of
 * calls. Its threads are collected. */
int ckpt_undo_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, struct err *e);
int ckpt_ipc_check(const struct ckpt_tree *t, struct err *e);
int ckpt_undo_check(const struct ckpt_tree *t, const struct ckpt_task *k, struct err *e);

/* Bytes of the file behind a shared memory: whole huge pages, where it is of such. */
uint64_t ckpt_shm_size(const struct ckpt_tree *t, const Ckpt__IpcObject *o);
/* In its namespace: the file behind a shared memory. */
int ckpt_shm_open(int id, int mode, struct err *e);

/* In a process of the VPS with all rights in namespace `space`, which is new: makes the objects. `proc` is
 * the host's /proc: the VPS's may be read-only. */
int ckpt_ipc_make(const struct ckpt_tree *t, uint32_t space, int proc, struct err *e);
/* The open file, ours, of a shared memory that was made. */
int restore_shm_take(const struct restore *r, const Ckpt__IpcObject *o, struct err *e);
/* Attaches shared memory where a process had it. */
int restore_shm(struct restore *r, struct restoring *p, struct list *l, struct err *e);
/* What processes left in semaphores; and what was to go as soon as nobody has it any more. */
int restore_sem(struct restore *r, struct list *l, struct err *e);
int restore_shm_removed(const struct restore *r, struct err *e);

#endif
