/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CGROUP_CGROUP_H
#define CGROUP_CGROUP_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The control groups of a VPS. On every host there is a v2 tree (cgroup-v2, kernel document
 * admin-guide/cgroup-v2.rst): the VPS's group there is `<parent>/<name>`, the payload. On hybrid
 * hosts the controllers that v1 hierarchies hold get a group of the same name in each of those.
 * Freezing, killing and membership are always the v2 group's. The payload is delegated: its
 * cgroup.procs, cgroup.threads and cgroup.subtree_control belong to the tenant's root, the limits
 * in it stay the host's.
 */

enum cgroup_controller {
	CGROUP_CPU, CGROUP_CPUACCT, CGROUP_CPUSET, CGROUP_MEMORY, CGROUP_IO, CGROUP_PIDS,
	CGROUP_HUGETLB, CGROUP_DEVICES, CGROUP_CONTROLLER_COUNT,
};

/* What the host mounts where; filled once from /proc/self/mountinfo. */
struct cgroup_host {
	char v2[256];      /* mount point of the v2 tree; "" when there is none */
	char v2_self[256]; /* the group of the calling process in it, from /proc/self/cgroup */
	struct {
		int version;   /* 0: not on this host, 1 or 2 */
		char path[256];/* mount point of its v1 hierarchy */
	} ctl[CGROUP_CONTROLLER_COUNT];
};

/* ERR_UNSUPPORTED when no v2 tree is mounted. `proc_dirfd` is /proc, or a fixture in tests. */
int cgroup_host_read(struct cgroup_host *h, int proc_dirfd, struct err *e);

/* "cpu", "memory", … as the kernel spells it on v2. */
const char *cgroup_controller_name(enum cgroup_controller c);

/* The group of one VPS. */
struct cgroup {
	const struct cgroup_host *host;
	char parent[128]; /* below the mount points: the state root's tag, e.g. "vps" */
	char name[64];
};

/*
 * Makes the group in the v2 tree and in the v1 hierarchies in use, enables on v2 the controllers
 * that the host offers, and delegates the payload to uid:gid (host ids). Undone when it fails.
 * A group left by a dead VPS of that name must have been removed first: -EEXIST.
 */
int cgroup_create(const struct cgroup *c, uid_t uid, gid_t gid, struct err *e);

/* An O_PATH|O_DIRECTORY fd of the v2 group for clone3(CLONE_INTO_CGROUP), Linux 5.7. */
int cgroup_open(const struct cgroup *c, struct err *e);

/* Moves a process (0: the caller) into the groups of the v1 hierarchies (clone3 does v2's). No-op on unified hosts.
 * Call it while the process is stopped or waits, before it has children. */
int cgroup_attach_v1(const struct cgroup *c, pid_t pid, struct err *e);

/* Freeze and thaw (cgroup.freeze, Linux 5.2). Freeze returns when cgroup.events says frozen, or
 * thaws again and fails with ERR_TIMEOUT after `timeout_us`. */
int cgroup_freeze(const struct cgroup *c, uint64_t timeout_us, struct err *e);
int cgroup_thaw(const struct cgroup *c, struct err *e);
/* 1 frozen, 0 not. */
int cgroup_is_frozen(const struct cgroup *c, struct err *e);

/* SIGKILL to every process in the group and below, also against fork bombs and in frozen groups
 * (cgroup.kill, Linux 5.14). Does not wait. 0 also when the group is gone. */
int cgroup_kill(const struct cgroup *c, struct err *e);
/* Waits until no process is left in it, as cgroup.events tells it; ERR_TIMEOUT after timeout_us. */
int cgroup_wait_empty(const struct cgroup *c, uint64_t timeout_us, struct err *e);

/* Removes the group and all groups that the tenant made below it, in every hierarchy, and the
 * parent when it has become empty. 0 when there is none. It must hold no process. */
int cgroup_remove(const struct cgroup *c, struct err *e);

#endif
