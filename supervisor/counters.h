/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_COUNTERS_H
#define SUPERVISOR_COUNTERS_H

#include "cgroup/stats.h"

/*
 * The beancounters of a VPS over its restarts: lib/vps/NAME/counters, text of cgroup/stats.h. The
 * monitor writes it: when its VPS starts, when the VPS was refused something, and at the end; for a
 * monitor that was killed the worker that cleans up after it does. vpsd only reads. The file is
 * replaced by rename without fsync: it is old or new, and what a host that crashes loses is what was
 * counted since the last of these moments.
 */

/* Zero when there is none, or when it is damaged (said in the log). `dir` is lib/vps/NAME. */
void counters_load(const char *dir, struct cgroup_counters *b);
/* -EXXX; nothing depends on it. */
int counters_save(const char *dir, const struct cgroup_counters *b);

/* A start: the groups are new. Loads, begins anew, and saves. */
void counters_begin(const char *dir, const struct cgroup *c, struct cgroup_counters *b);
/* Takes in what the kernel says now, and saves. Silent when there are no groups. */
void counters_take(const char *dir, const struct cgroup *c, struct cgroup_counters *b);

#endif
