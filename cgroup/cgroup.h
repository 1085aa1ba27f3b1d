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

/*
 * What the host mounts where; filled once from /proc/self/mountinfo.
 *
 * On a host that systemd runs, groups of others belong below a unit with Delegate=yes (systemd's
 * document CGROUP_DELEGATION). `v2_base` is where the parents go, by the first rule that fits:
 *
 *   1. CGROUP_UNIT, when it exists. It is installed beside vpsd: a unit whose only process sleeps
 *      in a group below, so that controllers can be enabled, untouched by a restart of vpsd
 *      (seen with systemd 252, over daemon-reexec as well).
 *   2. The unit "vpsd.service" below /system.slice, when the caller runs in it (v2_self) and it is
 *      delegated (extended attribute trusted.delegate or user.delegate is "1", systemd 247).
 *   3. The root of the mount.
 *
 * They depend on nothing that differs between vpsd, its monitors and their successors; a group that
 * was made at the root before the unit came is found there. The groups
 * in v1 hierarchies have their parents at the root of each, as systemd leaves foreign groups there
 * alone.
 */
#define CGROUP_UNIT "/system.slice/vps-tenants.service"

struct cgroup_host {
	char v2[256];      /* mount point of the v2 tree; "" when there is none */
	char v2_self[256]; /* the group of the calling process below it, from /proc/self/cgroup;
			      "/" is the root, "" when it lies outside what is mounted */
	char v2_base[256]; /* "" is the root */
	struct {
		int version;   /* 0: not on this host, 1 or 2 */
		char path[256];/* mount point of its v1 hierarchy */
	} ctl[CGROUP_CONTROLLER_COUNT];
};

/*
 * ERR_UNSUPPORTED when no v2 tree is mounted. `proc_dirfd` is /proc, or a fixture in tests. The
 * version of devices is 2 wherever there is a v2 tree (BPF programs work there, even when no
 * controller is), that of cpuacct too unless v1 has it (cpu.stat has the times, Linux 4.15).
 */
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
 * A group left by a dead VPS of that name must have been removed first: -EEXIST, ERR_EXISTS.
 *
 * The v1 hierarchies in use are all but devices and cpuacct, whose work the v2 tree does. The
 * tenant may make CGROUP_MAX_DESCENDANTS groups, CGROUP_MAX_DEPTH deep. About 0.4 ms.
 */
#define CGROUP_MAX_DESCENDANTS 10000
#define CGROUP_MAX_DEPTH 64
int cgroup_create(const struct cgroup *c, uid_t uid, gid_t gid, struct err *e);
/* The last of it, for a group that was made for 0:0. */
int cgroup_delegate(const struct cgroup *c, uid_t uid, gid_t gid, struct err *e);

/* An O_PATH|O_DIRECTORY fd of the v2 group for clone3(CLONE_INTO_CGROUP), Linux 5.7. */
int cgroup_open(const struct cgroup *c, struct err *e);

/*
 * The groups of the v1 hierarchies (clone3 does v2's), entered by the process itself: open before
 * clone3, enter in the child while it has one thread. A thread that moves itself alone (0 written to
 * `tasks`) needs no lock against forks (Linux 5.12), so that this takes some 15 us a hierarchy, where
 * the first move of another process after a quiet while waits 20 ms for an RCU grace period. Entering calls only write(2), checks no
 * privilege of the child's own (those of the opener count) and may be called between clone and
 * exec. Fds are close-on-exec; closed entries are -EBADF, all of them on unified hosts.
 */
struct cgroup_entry {
	int fd[CGROUP_CONTROLLER_COUNT];
};
int cgroup_entry_open(const struct cgroup *c, struct cgroup_entry *ret, struct err *e);
int cgroup_entry_enter(const struct cgroup_entry *en, struct err *e);
void cgroup_entry_close(struct cgroup_entry *en);

/* Freeze and thaw (cgroup.freeze, Linux 5.2). Freeze returns when cgroup.events says frozen, or
 * thaws again and fails with ERR_TIMEOUT after `timeout_us`. */
int cgroup_freeze(const struct cgroup *c, uint64_t timeout_us, struct err *e);
int cgroup_thaw(const struct cgroup *c, struct err *e);
/* 1 frozen, 0 not. */
int cgroup_is_frozen(const struct cgroup *c, struct err *e);
/* Whether it was told to freeze, whatever is in it: false too when there is no such group. */
bool cgroup_is_to_freeze(const struct cgroup *c);

/* SIGKILL to every process in the group and below, also against fork bombs and in frozen groups
 * (cgroup.kill, Linux 5.14). Does not wait. 0 also when the group is gone. One whose first thread has ended
 * before the others is spared: the kernel sends the signal to that thread (6.18). */
int cgroup_kill(const struct cgroup *c, struct err *e);
/* Waits until no process is left in it, as cgroup.events tells it; ERR_TIMEOUT after timeout_us. 0
 * also when the group is gone. */
int cgroup_wait_empty(const struct cgroup *c, uint64_t timeout_us, struct err *e);

/* Removes the group and all groups that the tenant made below it, however many and deep, in every
 * hierarchy, and the parent when it has become empty. 0 when there is none. It must hold no
 * process: -EBUSY, ERR_STATE; what could be removed is then gone. */
int cgroup_remove(const struct cgroup *c, struct err *e);

#endif
