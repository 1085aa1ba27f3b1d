/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SOCKOPT_H
#define CHECKPOINT_SOCKOPT_H

#include "base/err.h"
#include "checkpoint/tree.h"

#include <stdbool.h>

/*
 * Options of sockets, all families from one table (sockopt.c): what getsockopt(2) tells of a socket is
 * saved, and of that what a new one has otherwise is set.
 */
enum ckpt_sockopt_phase {
	CKPT_SOCKOPT_EARLY, /* what decides on bind(2) and connect(2) */
	CKPT_SOCKOPT_BOUND, /* once it is bound and connected */
	CKPT_SOCKOPT_LAST, /* once its queues are full: the filter and what would change the queueing */
};

#define CKPT_SOCKOPTS_MAX 256 /* so many the table has at most */

typedef struct Ckpt__SocketOption Ckpt__SocketOption;

/* Into s->option; s->state must be known. ERR_UNSUPPORTED for a filter that cannot be read. */
int ckpt_sockopts_collect(struct ckpt_arena *a, int fd, Ckpt__Socket *s, struct err *e);
/* In two parts: first what no two connections need have in common, as the kernel changes it; then all else. */
int ckpt_sockopts_collect_own(struct ckpt_arena *a, int fd, Ckpt__Socket *s, struct err *e);
int ckpt_sockopts_collect_rest(struct ckpt_arena *a, int fd, Ckpt__Socket *s, struct err *e);
int ckpt_sockopts_set(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase, struct err *e);

/*
 * Of many connections that were made in the same way and are to have the same but for what is their own: of the first it
 * is noted what a new one has otherwise, and of the next ones only that is set, and what is their own.
 */
struct ckpt_sockopt_log {
	uint8_t is_set[CKPT_SOCKOPTS_MAX / 8]; /* by row of the table */
};
int ckpt_sockopts_set_first(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase, struct ckpt_sockopt_log *log,
			    struct err *e);
int ckpt_sockopts_set_again(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase,
			    const struct ckpt_sockopt_log *log, struct err *e);

/* Only one of them; no error when it was not saved. */
int ckpt_sockopt_set(int fd, const Ckpt__Socket *s, int level, int name, struct err *e);
/* Those of a unix listener that whoever it accepts has as they are when the client connects (Linux 6.16). */
int ckpt_sockopts_hand_on(int fd, const Ckpt__Socket *s, struct err *e);
/* Its saved value as a number, 0 when it was not saved. */
int ckpt_sockopt_number(const Ckpt__Socket *s, int level, int name);
/* One that getsockopt(2) does not tell. -ENOMEM. */
int ckpt_sockopt_keep(struct ckpt_arena *a, Ckpt__Socket *s, int level, int name, const void *value, size_t len,
		      struct err *e);
/* Every one is in the table, with a length that may be. */
bool ckpt_sockopts_are_good(Ckpt__SocketOption *const *list, size_t count);

#endif
