/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SOCKETS_H
#define CHECKPOINT_SOCKETS_H

#include "base/err.h"
#include "checkpoint/kinds.h"

#include <stdint.h>

/*
 * Sockets. A kind says which open file is one (kinds/); what it is bound and connected to, its options
 * and what is queued in it are collected when all open files are known, and made again before any
 * other file is opened: sockets depend on each other.
 */

#define CKPT_SOCKET_PIECE MIB(1) /* of a queue, in one record */

/* While it is saved. */
struct ckpt_sock {
	struct ckpt_dump *d;
	int fd; /* ours */
	uint32_t id; /* of the file */
	Ckpt__File *file;
	Ckpt__Socket *s;
	pid_t pid; /* of one that has it, and its number there */
	int number;
};

/* dump() of the kinds of sockets: the inode, and what socket(2) was told. */
int ckpt_socket_dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);
/* open(): they are there already. */
int ckpt_socket_open(struct ckpt_opening *o, const Ckpt__File *f, struct err *e);
/* Its domain, or -1 for what is no socket. */
int ckpt_socket_family(const struct ckpt_fd *f);
/* enum ckpt_file_kind of a socket, by its domain. */
uint32_t ckpt_socket_kind(const struct ckpt_fd *f);
bool ckpt_socket_is_tcp(const Ckpt__Socket *s);
/* And which of these is for multipath TCP (RFC 8684). */
bool ckpt_socket_is_multipath(const Ckpt__Socket *s);

/*
 * All sockets of d->tree.files, which grows by what is under way in them. -EAGAIN with ERR_UNSUPPORTED
 * when a connection waits to be accepted: a moment later it may be saved.
 */
int ckpt_sockets_collect(struct ckpt_dump *d, struct err *e);
/* What arrives comes to its sockets again. */
void ckpt_sockets_unlock(struct ckpt_dump *d);
/* The VPS's network namespace, a new fd; -EXDEV: it has the host's. */
int ckpt_dump_netns(const struct ckpt_dump *d, struct err *e);
/* The connections will end without a word to their peers, as the VPS goes on elsewhere; or not. */
int ckpt_sockets_silence(struct ckpt_dump *d, bool silent, struct err *e);
/* Names of both ends, backlog and state come from the kinds; these are for all. */
int ckpt_sock_names(const struct ckpt_sock *k, struct err *e);
/* Adds to what is queued; the data is copied. NULL: out of memory. */
Ckpt__SocketData *ckpt_sock_queue(const struct ckpt_sock *k, uint32_t queue, const void *data,
				  size_t len);
int ckpt_sock_refuse(const struct ckpt_sock *k, const char *why, struct err *e);
int ckpt_sock_busy(const struct ckpt_sock *k, const char *why, struct err *e);

/* How each family does it: the dump, and what follows socket(2) and the early options. */
int ckpt_tcp_collect(const struct ckpt_sock *k, struct err *e);
int ckpt_tcp_silence(const struct ckpt_sock *k, bool silent);
int ckpt_tcp_make(int fd, const Ckpt__File *f, uint32_t id, struct err *e);
/* Connections that wait to be accepted: `count` of them by this listener. -EAGAIN, as above, when one cannot be saved or, where
 * the VPS goes on, not be made again. What an image says of them. (tcp_waiting.c, tcp_waiting_restore.c) */
#define CKPT_WAITING_MAX 16384 /* of a listener */
int ckpt_waiting_collect(const struct ckpt_sock *k, uint32_t count, struct err *e);
bool ckpt_waiting_is_good(const Ckpt__Socket *s);
int ckpt_inet_collect(const struct ckpt_sock *k, struct err *e);
/* -EAGAIN, as above, when the kernel has to tell it of memory that it has sent. (zerocopy.c) */
int ckpt_zerocopy_check(const struct ckpt_sock *k, struct err *e);
/* What it does no more, as Socket.shutdown has it; *ret is left alone when the kernel tells of nothing. The kernel is asked once
 * for all of a namespace: d->shuts, which is freed with the stop that it is of. (inet_shut.c) */
int ckpt_inet_shut(const struct ckpt_sock *k, uint32_t *ret, struct err *e);
struct ckpt_shuts;
void ckpt_shuts_free(struct ckpt_shuts *t);
int ckpt_inet_make(int fd, const Ckpt__File *f, struct err *e);
/* Binds it to its name, wherever that is by now. A negative errno value. */
int ckpt_inet_bind(int fd, const Ckpt__Socket *s);
/* What of a datagram socket waits for all others to be bound. */
int ckpt_inet_settle(int fd, const Ckpt__Socket *s, struct err *e);
bool ckpt_inet_is_good(const Ckpt__Socket *s);
/* One's own copy of the open file that file `id` was seen as. Negative errno value; ret names it all the same. */
int ckpt_sock_reopen(struct ckpt_dump *d, uint32_t id, struct ckpt_sock *ret);
/* Keys of all TCP sockets; what an image says of them; set on a new one. (tcp_md5.c) */
int ckpt_md5_collect(struct ckpt_dump *d, struct err *e);
bool ckpt_md5_is_good(const Ckpt__Socket *s);
int ckpt_md5_set(int fd, const Ckpt__Socket *s, struct err *e);
/* What chooses among all of its port. (reuseport.c) */
int ckpt_reuseport_collect(const struct ckpt_sock *k, struct err *e);
int ckpt_netlink_collect(const struct ckpt_sock *k, struct err *e);
int ckpt_netlink_make(int fd, const Ckpt__File *f, struct err *e);
bool ckpt_netlink_is_good(const Ckpt__Socket *s);
int ckpt_packet_collect(const struct ckpt_sock *k, struct err *e);
int ckpt_packet_make(int fd, const Ckpt__File *f, struct err *e);
/* When all are there: some send packets on the way (packet_ring.c), which others are not to see. */
int ckpt_packet_bind(int fd, const Ckpt__Socket *s, struct err *e);
bool ckpt_packet_is_good(const Ckpt__Socket *s);
/* Rings of a packet socket: one that sock_diag(7) tells of; what is in them, when all are known. (packet_ring.c) */
struct packet_diag_ring;
int ckpt_ring_add(const struct ckpt_sock *k, bool tx, const struct packet_diag_ring *g, struct err *e);
int ckpt_rings_collect(const struct ckpt_sock *k, struct err *e);
bool ckpt_rings_are_good(const Ckpt__Socket *s);
/* After the options, before others join the socket. */
int ckpt_rings_make(const struct ckpt_opening *o, int fd, uint32_t id, struct err *e);
/* Memory areas that are such, by now of the socket with the inode that is their offset. */
#define CKPT_AREA_SOCKET UINT32_MAX /* as Area.memfd_file */
int ckpt_ring_areas_resolve(struct ckpt_dump *d, struct err *e);

/* What an image says of them holds together; what they have in common is given to each. */
int ckpt_sockets_check(struct ckpt_tree *t, struct err *e);

/* dup3(2) to the place of file i + 1, and its owner. */
int ckpt_socket_place(struct ckpt_opening *o, size_t i, int fd, struct err *e);
/* In the first process of the restored VPS. All sockets are made, into o->fds. */
int ckpt_sockets_make(struct ckpt_opening *o, struct err *e);
/* What is queued in them, once all files are open. */
int ckpt_sockets_fill(struct ckpt_opening *o, struct err *e);
/* True when something is on its way in one that is only opened when all processes are there. */
bool ckpt_sockets_fill_late(const struct ckpt_tree *t);
/* Of file `id`: the first of its queued pieces, and how many. */
Ckpt__SocketData **ckpt_socket_queue(const struct ckpt_tree *t, uint32_t id, size_t *ret_count);

/* By the engine, which holds the network still meanwhile: the contents of TCP connections. */
struct restore;
int restore_sockets_take(struct restore *r, struct err *e);
/* The same of those that wait to be accepted; before that, whether there are some that this host cannot make. */
int restore_waiting_check(struct restore *r, struct err *e);
int restore_waiting_take(struct restore *r, struct err *e);
/* It is of an address that is another VPS's now, or nobody's. */
struct ProtobufCBinaryData;
bool restore_is_orphan(const struct restore *r, const struct ProtobufCBinaryData *name);
/* Frames reach them from now on, so it comes before the links are let go: what is dropped after a switch has
 * learned where the VPS is, is lost. Nothing has been said to a peer when it fails. */
int restore_sockets_unseal(struct restore *r, struct err *e);
/* They go on. */
void restore_sockets_commit(struct restore *r);
void restore_sockets_done(struct restore *r);

#endif
