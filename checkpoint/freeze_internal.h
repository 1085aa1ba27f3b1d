/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_FREEZE_INTERNAL_H
#define CHECKPOINT_FREEZE_INTERNAL_H

#include "checkpoint/freeze.h"

/* Numbers of processes or threads; `id` is the caller's to free. */
struct freeze_list {
	pid_t *id;
	size_t count, room;
	struct ckpt_iced *iced; /* notes which groups the tenant has frozen; or NULL */
};

/* Negative errno values; -E2BIG. (freeze_list.c) */
int freeze_list_add(struct freeze_list *l, pid_t id);
/* All that `file`, cgroup.procs or cgroup.threads, names in a group and those below. */
int freeze_list_group(struct freeze_list *l, int dirfd, const char *file, int depth);
/* The threads of a process. */
int freeze_list_threads(struct freeze_list *l, pid_t pid);

#endif
