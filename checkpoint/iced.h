/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_ICED_H
#define CHECKPOINT_ICED_H

#include "base/err.h"
#include "cgroup/cgroup.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Control groups that the tenant has frozen itself. A frozen task runs no list of calls, so they are thawed while
 * all that is in them is stopped, and frozen again before that is let go: it does not run. A guard does it when the
 * engine dies: some microseconds after the stopped tasks have begun to run, as nothing else is told of that end.
 */
struct ckpt_iced {
	int *fds; /* cgroup.freeze of each */
	size_t count;
	struct ckpt_guard *guard; /* NULL: they are as the tenant left them */
};

/* One more group, by its directory, when it is frozen. Negative errno value. */
int ckpt_iced_look(struct ckpt_iced *f, int dirfd);
int ckpt_iced_thaw(struct ckpt_iced *f, struct err *e);
/* Freezes them again. Idempotent. */
void ckpt_iced_freeze(struct ckpt_iced *f);
/* They are left as they are. */
void ckpt_iced_done(struct ckpt_iced *f);
/* Whether this cgroup.freeze is that of one of them. */
struct stat;
bool ckpt_iced_has(const struct ckpt_iced *f, const struct stat *st);
/* That the process, while nothing is stopped, is in a group that has been frozen. */
bool ckpt_is_iced(const struct cgroup *c, pid_t pid);

#endif
