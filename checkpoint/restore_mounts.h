/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_RESTORE_MOUNTS_H
#define CHECKPOINT_RESTORE_MOUNTS_H

#include "checkpoint/mountinfo.h"
#include "checkpoint/restore_spaces.h"

/* A restore's mounts in the making. */
struct mounting {
	struct restore *r;
	const struct ckpt_tree *tree;
	uint32_t main;                /* record of process 1's namespace */
	int own, shop;                /* that, and the workshop */
	int proc, stage;
	char *text;
	struct ckpt_mountinfo *now;   /* what the runtime has mounted */
	size_t now_count;
	bool *used;                   /* as `now`: the image has it too */
	ssize_t *found;               /* as tree->mounts: which of these it is, or -1 */
	int *anchor;                  /* as tree->supers: in the workshop, or -1 */
	const char **top;             /* likewise: what of it the anchor shows */
	int *fd;                      /* as tree->mounts: in its place */
};

/* What propagates to whom, once all mounts are there. (restore_propagation.c) */
int restore_propagation(struct mounting *m, struct err *e);

#endif
