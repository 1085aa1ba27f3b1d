/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_DATAGRAMS_H
#define CHECKPOINT_DATAGRAMS_H

#include "base/err.h"
#include "checkpoint/kinds.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Datagrams that wait in UDP sockets. They are looked at by a child of the engine's (peek.h), which puts the socket's options
 * back whatever happens, and come again as packets within the VPS's network: to the socket alone, while it has a port that
 * nobody knows, before it is bound to its own. As on any way some may be lost: those to groups and to all, which would be
 * heard by others, too; those to addresses that are not the VPS's any more; what its own rules drop; what does not fit.
 */
#define CKPT_DATAGRAM_MAX 65507

struct ckpt_datagram {
	union ckpt_inet {
		struct sockaddr_in v4;
		struct sockaddr_in6 v6; /* with a mapped address for one that came by IPv4 */
	} from, to;
	uint32_t tos, ttl;
	uint32_t segment; /* several of this size each, and a shorter one, that came together (UDP_GRO); 0: one */
};

/* In the child: what it takes to be told all of it. */
enum { CKPT_DATAGRAM_OPTIONS = 6 };
struct ckpt_datagram_options {
	int was[CKPT_DATAGRAM_OPTIONS];
};
void ckpt_datagrams_prepare(int fd, struct ckpt_datagram_options *o);
void ckpt_datagrams_restore(int fd, const struct ckpt_datagram_options *o);
/* What recvmsg(2) said besides. False: not all that is needed. */
struct msghdr;
bool ckpt_datagram_read(const struct msghdr *m, struct ckpt_datagram *ret);

/* In the engine, of a socket that is being collected. */
struct ckpt_sock;
int ckpt_datagrams_collect(const struct ckpt_sock *k, struct err *e);
/* What an image says. (tree.c) */
bool ckpt_datagram_is_good(const Ckpt__Socket *s, const Ckpt__SocketData *q);
/* Into file i's socket, which is fresh and bound to nothing, and is again afterwards. */
int ckpt_datagrams_fill(struct ckpt_opening *o, size_t i, int fd, struct err *e);
/* One that is half written: as above. (corked.c) */
int ckpt_corked_collect(const struct ckpt_sock *k, struct err *e);
void ckpt_corked_say(const struct ckpt_tree *t, size_t i, int fd);

#endif
