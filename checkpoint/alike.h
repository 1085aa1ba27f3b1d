/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_ALIKE_H
#define CHECKPOINT_ALIKE_H

#include "base/err.h"
#include "checkpoint/sockopt.h"

/*
 * Options that many connections have in common: an image has them once (tree.options), and a connection its own, and the
 * number of those (Socket.options). In memory s->option is all of them, its own first. A restore looks at what a new
 * connection has otherwise once for all that are alike.
 */
struct ckpt_alike; /* of a dump: lists that were seen */
struct ckpt_alike_list {
	Ckpt__SocketOption **option;
	size_t count;
	uint64_t hash;
	uint32_t number; /* in the tree; 0: not there yet */
};

/* The list with these contents, a copy in the tree's memory. NULL: there are very many, or no memory is left. */
struct ckpt_alike_list *ckpt_alike_find(struct ckpt_tree *t, struct ckpt_alike **a, Ckpt__SocketOption *const *option,
					size_t count);
/* A connection's own options are in s->option: those of the list follow. */
int ckpt_alike_take(struct ckpt_tree *t, Ckpt__Socket *s, struct ckpt_alike_list *l, struct err *e);
/* All of its options, of which the first `own` are its own. */
int ckpt_alike_share(struct ckpt_tree *t, struct ckpt_alike **a, Ckpt__Socket *s, size_t own, struct err *e);
void ckpt_alike_free(struct ckpt_alike *a);

/* What an image says of them is good; all connections get theirs. */
int ckpt_alike_check(struct ckpt_tree *t, struct err *e);

/* While they are set, of all sockets one after the other in the same phases. NULL: out of memory. */
struct ckpt_alike_logs;
struct ckpt_alike_logs *ckpt_alike_logs_new(const struct ckpt_tree *t);
void ckpt_alike_logs_free(struct ckpt_alike_logs *l);
int ckpt_alike_set(struct ckpt_alike_logs *l, int fd, const Ckpt__File *f, enum ckpt_sockopt_phase phase, struct err *e);

#endif
