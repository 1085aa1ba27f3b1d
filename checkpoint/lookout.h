/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_LOOKOUT_H
#define CHECKPOINT_LOOKOUT_H

#include "checkpoint/internal.h"

/*
 * What /proc tells of threads that stand still is read by a thread of its own, while the engine's has them run lists
 * (ptrace(2) is bound to that one). It goes before the engine and takes nothing that the engine has begun with: lists
 * change what some files say. What it has not read the engine reads itself, which waits for nothing.
 */
enum ckpt_look {
	CKPT_LOOK_STATUS, /* of each thread; the others of each process */
	CKPT_LOOK_AUXV,
	CKPT_LOOK_MAPS,
	CKPT_LOOK_OOM_SCORE,
	CKPT_LOOK_CORE_FILTER,
	CKPT_LOOK_AUTOGROUP,
	CKPT_LOOK_LOGIN,
	CKPT_LOOK_TIMERS,
	CKPT_LOOK_FDS, /* the numbers of its open files, each on a line; for any thread when it is asked for */
	CKPT_LOOK_CHILDREN, /* of its first thread, and of any other when it is asked for */
	CKPT_LOOK_COUNT
};

/* Of all that is frozen; few threads have no use for it. It is ended before what it has read is forgotten. */
int ckpt_lookout_start(struct ckpt_dump *d, struct err *e);
void ckpt_lookout_done(struct ckpt_dump *d);

/*
 * A file of a thread that is stopped, with a NUL behind it, for as long as the dump lasts. A negative errno value:
 * -EFBIG for one that is longer than may be. Each is asked for once, before a list changes it.
 */
int ckpt_look(struct ckpt_dump *d, pid_t tid, enum ckpt_look what, const char **ret, size_t *ret_len);

/* Where a link of a process leads; NULL when it has not been looked at yet. */
struct ckpt_looked_place {
	char *link;
	dev_t dev;
	ino_t ino;
	uint64_t mount;
};
enum ckpt_look_place { CKPT_LOOK_CWD, CKPT_LOOK_ROOT, CKPT_LOOK_EXE, CKPT_LOOK_PLACES };
const struct ckpt_looked_place *ckpt_look_place(struct ckpt_dump *d, pid_t pid, enum ckpt_look_place which);

/* The number of the namespace that /proc/TID/ns/NAME stands for; 0 when there is no such file. */
int ckpt_look_space(struct ckpt_dump *d, pid_t tid, const char *name, ino_t *ret);

#endif
