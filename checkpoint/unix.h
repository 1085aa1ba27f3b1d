/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_UNIX_H
#define CHECKPOINT_UNIX_H

#include "checkpoint/sockets.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* How a socket came to its name. In images. */
enum ckpt_unix_bound {
	CKPT_UNIX_UNBOUND, /* it has none, or its listener's */
	CKPT_UNIX_ABSTRACT,
	CKPT_UNIX_LIVE, /* its path leads to it */
	CKPT_UNIX_GONE, /* its path was deleted, or is another's by now */
	CKPT_UNIX_BOUND_COUNT,
};

/* What is at its other end. In images. */
enum ckpt_unix_link {
	CKPT_UNIX_FREE, /* nothing */
	CKPT_UNIX_PAIR, /* the socket `peer`, each other's */
	CKPT_UNIX_TO, /* datagrams: it sends to the socket `peer` */
	CKPT_UNIX_OUTSIDE, /* datagrams: to what is at that path, the runtime's */
	CKPT_UNIX_ALONE, /* one that was closed */
	CKPT_UNIX_RESET, /* likewise, with something unread in it: an error waits */
	CKPT_UNIX_WAITING, /* a listener that has not accepted it yet, `peer` */
	CKPT_UNIX_LINK_COUNT,
};

/* What the kernel says of one (sock_diag(7)). */
struct ckpt_unix_diag {
	uint64_t ino, peer, vfs_ino;
	uint32_t rqueue, wqueue, state, shutdown;
	bool has_peer, has_vfs;
	uint32_t pending_count, *pending; /* clients' inodes, of a listener, in the dump's arena; 0: closed */
};
struct ckpt_dump;
struct ckpt_unix_table;
/* By a socket of that network namespace (File.space). (unix_diag.c) */
int ckpt_unix_ask(struct ckpt_dump *d, uint32_t space, int diag, uint64_t ino, struct ckpt_unix_diag *ret);
void ckpt_unix_tables_free(struct ckpt_unix_table *t);

/* In two steps: each, then how they belong together. */
int ckpt_unix_collect(const struct ckpt_sock *k, struct err *e);
int ckpt_unix_relate(struct ckpt_dump *d, struct err *e);
/* What is queued; new files join d->tree.files. */
int ckpt_unix_queue(const struct ckpt_sock *k, struct err *e);
/* Of one whose other end is no file: whether it waits to be accepted; when it is shut down both ways the kernel tells, else nothing
 * else it can be. Of one that does: who connected, and what it has `said` meanwhile. (unix_waiting.c) */
bool ckpt_unix_is_waiting(const struct ckpt_sock *k, bool shut);
int ckpt_unix_waiting_collect(const struct ckpt_sock *k, bool said, struct err *e);
/* Of a listener: those that wait for it and were closed meanwhile become files of nobody's; what they have said, when it is
 * their turn to be collected. */
int ckpt_unix_leaving_collect(const struct ckpt_sock *k, const struct ckpt_unix_diag *g, struct err *e);
int ckpt_unix_leaving_queue(struct ckpt_dump *d, uint32_t id, struct err *e);
/* Ids as the VPS has them; NULL when out of memory. */
Ckpt__Credentials *ckpt_unix_credentials(struct ckpt_dump *d, const struct ucred *u);
bool ckpt_unix_is_good(const struct ckpt_tree *t, const Ckpt__File *f);

#define CKPT_PEERS_MAX 256
/* Sockets whose other ends will be asked for together (unix_peers.c). */
struct ckpt_peers {
	uint32_t file[CKPT_PEERS_MAX]; /* numbers in d->tree.files, counted from 1 */
	int fd[CKPT_PEERS_MAX];
	struct ucred cred[CKPT_PEERS_MAX];
	size_t count;
};
/* The fd is taken. When there is room for no more all are asked for. */
int ckpt_peers_add(struct ckpt_dump *d, struct ckpt_peers *p, uint32_t file, int fd, struct err *e);
/* Those that have not been asked for. None is left, whatever comes of it. */
int ckpt_peers_collect(struct ckpt_dump *d, struct ckpt_peers *p, struct err *e);
void ckpt_peers_done(struct ckpt_peers *p);

/* In the first process of the restored VPS. */
int ckpt_unix_make(struct ckpt_opening *o, struct err *e);
int ckpt_unix_fill(struct ckpt_opening *o, struct err *e);
/* Whom datagrams go to, once they are filled: nobody else may send to a socket that sends to another. */
int ckpt_unix_link(struct ckpt_opening *o, struct err *e);

#endif
