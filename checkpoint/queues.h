/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_QUEUES_H
#define CHECKPOINT_QUEUES_H

#include "checkpoint/kinds.h"
#include "checkpoint/tree.h"

/*
 * POSIX message queues (mq_overview(7)) of all ipc namespaces, with what is in them. Reading takes a message
 * out of its queue: a process of the VPS takes all and puts them back, in one list of calls that runs to its
 * end whatever becomes of the engine, while nothing else runs that could see it.
 */
struct ckpt_batch;
struct ckpt_dump;

/* All of the ipc namespace that the caller is in, as a mount of its own; a negative errno value. */
int ckpt_mqueues_mount(void);
/* All queues that have a name. Once the namespaces are known. */
int ckpt_mqueues_collect(struct ckpt_dump *d, struct err *e);
/* The record of the queue that is open; one is added when its name is gone. */
int ckpt_mqueue_find(struct ckpt_dump *d, const struct ckpt_fd *f, uint32_t *ret, struct err *e);
/* The messages of those that the process may open. Its threads and files are collected. */
int ckpt_mqueues_read(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, struct err *e);
/* ERR_UNSUPPORTED when nobody could read one. */
int ckpt_mqueues_complete(const struct ckpt_dump *d, struct err *e);
int ckpt_mqueues_check(const struct ckpt_tree *t, struct err *e);

/* Who is to be notified of messages (mq_notify.c): of a queue of which all else is known, by an fd of ours; whether it
 * is there. */
int ckpt_notify_collect(struct ckpt_dump *d, int fd, Ckpt__Mqueue *q, struct err *e);
int ckpt_notify_resolve(const struct ckpt_dump *d, uint32_t queue, struct err *e);
struct Ckpt__MqNotify;
bool ckpt_notify_is_good(const struct Ckpt__MqNotify *n);
/* The process asks for it itself, when it has its open files. */
struct restore;
struct restoring;
struct list;
int restore_notify(const struct restore *r, struct restoring *p, struct list *l, struct err *e);

/* In a process of the VPS in that ipc namespace: makes those with a name. */
int ckpt_mqueues_make(const struct ckpt_tree *t, uint32_t space, struct err *e);
/* Makes one; its fd. */
int ckpt_mqueue_make(const Ckpt__Mqueue *q, const char *name, struct err *e);

#endif
