/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_FLAGS_H
#define CHECKPOINT_FLAGS_H

#include "checkpoint/maps.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * What only /proc/PID/smaps tells of memory: advice, locks, and kinds that cannot be saved. Reading it
 * counts every page (9 ms a GiB), so it is read before the stop. At the stop an area is taken to be as it was
 * when it is where it was; what was mapped meanwhile is read then. Not seen: advice given between the two to
 * all of an area, which the map does not show.
 */
enum {
	CKPT_ADVICE_DONTFORK = 1, CKPT_ADVICE_WIPEONFORK = 2, CKPT_ADVICE_MERGEABLE = 4,
	CKPT_ADVICE_HUGEPAGE = 8, CKPT_ADVICE_NOHUGEPAGE = 16, CKPT_ADVICE_DONTDUMP = 32,
	CKPT_ADVICE_RANDOM = 64, CKPT_ADVICE_SEQUENTIAL = 128,
	CKPT_ADVICE_ALL = 255,
};
enum { CKPT_LOCKED = 1, CKPT_LOCKED_ONFAULT = 2 };

struct ckpt_flag {
	pid_t pid;
	uint64_t start, end;
	uint32_t advice, locked;
	bool stack, droppable;   /* it grows down; MAP_DROPPABLE (Linux 6.11) */
	uint32_t huge;           /* as in Area */
	bool no_reserve;         /* MAP_NORESERVE */
	bool sealed;             /* mseal(2), Linux 6.10 */
	bool for_reading;        /* it can never be written to */
	const char *refused;     /* why it cannot be saved, or NULL */
};

struct ckpt_flags {
	struct ckpt_flag *flags; /* by process, then by address */
	size_t count, room;
	bool sorted;
};

/* All of a process; what was known of it is forgotten. A process that has ended has none. -ENOMEM. */
int ckpt_flags_read(struct ckpt_flags *f, pid_t pid);
/* Appends what a file of this form (proc_pid_smaps(5)) says. -ENOMEM. */
int ckpt_flags_parse(struct ckpt_flags *f, pid_t pid, FILE *in);
/* That of an area, if it is where it was, or a part of what it was; NULL. */
const struct ckpt_flag *ckpt_flags_find(struct ckpt_flags *f, pid_t pid, const struct ckpt_map *m);
void ckpt_flags_done(struct ckpt_flags *f);

#endif
