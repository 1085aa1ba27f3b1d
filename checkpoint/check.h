/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_CHECK_H
#define CHECKPOINT_CHECK_H

#include "base/err.h"
#include "checkpoint/dump.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Something that a dump would refuse. */
struct ckpt_obstacle {
	char *what;      /* as the refusal says it */
	char *advice;    /* what to do; "" when nobody knows */
	pid_t pid;       /* the host's, 0: not of one process */
	pid_t guest_pid; /* the same inside */
	int fd;          /* -1: no open file */
};

#define CKPT_HUGE_SIZES 31 /* up to 1 GiB; by the logarithm */

struct ckpt_check {
	struct ckpt_obstacle *list;
	size_t count;
	bool partial; /* something could not be looked at to its end: there may be more */
	uint64_t huge[CKPT_HUGE_SIZES]; /* bytes that it takes in huge pages of each size, at the least */
};

#define CKPT_OBSTACLES_MAX 1000

/* Bytes that this host has left in huge pages of a size (hugetlb.h). */
uint64_t ckpt_huge_free(uint32_t huge);

/*
 * Looks at all that a dump would save and gathers what it would refuse: all of it, not the first only.
 * The VPS stands still meanwhile; nothing is written. Arguments as for ckpt_dump_prepare(). Fails only
 * when it could not look. *ret needs ckpt_check_done() in any case.
 */
int ckpt_check(const struct cgroup *c, pid_t init, const struct ckpt_dump_options *o,
	       struct ckpt_check *ret, struct err *e);
void ckpt_check_done(struct ckpt_check *c);

#endif
