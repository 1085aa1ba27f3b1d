/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SOCKOPT_INTERNAL_H
#define CHECKPOINT_SOCKOPT_INTERNAL_H

#include "checkpoint/image.pb-c.h"
#include "checkpoint/sockopt.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The table of all options (sockopt.c), by which they are read (sockopt_collect.c) and set (sockopt_set.c). */

#define SOCKOPT_HEADER_MAX 2048

enum { SO_BUF_LOCK_ = 72 }; /* newer than some headers */

enum {
	SOCKOPT_EARLY = 1,      /* set before the socket is bound */
	SOCKOPT_LAST = 2,       /* set when all else is there */
	SOCKOPT_IDLE = 4,       /* of sockets that are closed or listen; of others it is something else, or refused */
	SOCKOPT_PACKETS = 32,   /* none of streams, which inherit something there all the same */
	SOCKOPT_MAY_FAIL = 8,   /* what the host must grant, or have: it goes on without */
	SOCKOPT_BUFFER = 16,    /* kept as twice what it is told (socket(7)); set when the owner did, or it is less */
	SOCKOPT_HEADER = 128,   /* of IPv6: up to SOCKOPT_HEADER_MAX bytes */
	SOCKOPT_NAMELESS = 256, /* an interface that is gone: only its number says that nothing may come from others */
	SOCKOPT_LESS = 64,      /* of sockets that are not idle the kernel chooses it, unless it is less than that */
	SOCKOPT_OWN = 512,      /* of connections the kernel or the way to the peer changes it: no two need have the same */
	SOCKOPT_ROUTED = 1024,  /* which one a new connection has the way to the peer decides */
	SOCKOPT_HEARD = 2048,   /* of connections it is set anew by each segment that comes */
	SOCKOPT_HANDED = 4096,  /* of a unix listener: whoever it accepts has it as it is when the client connects */
};

struct sockopt_row {
	int level, name;
	unsigned flags;
};
extern const struct sockopt_row sockopt_rows[];
extern const size_t sockopt_row_count; /* up to CKPT_SOCKOPTS_MAX */

/* NULL: there is none. Looked for from a row on, as lists are mostly in the table's order. */
const struct sockopt_row *sockopt_find_from(size_t from, uint32_t level, uint32_t name);
const struct sockopt_row *sockopt_find(uint32_t level, uint32_t name);
/* NULL: it was not saved. */
const Ckpt__SocketOption *sockopt_saved(const Ckpt__Socket *s, int level, int name);
/* Its value is a classic filter. */
bool sockopt_is_program(const struct sockopt_row *r);
/* Closed, or it listens. */
bool sockopt_is_idle(const Ckpt__Socket *s);

#endif
