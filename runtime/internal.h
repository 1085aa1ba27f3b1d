/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_INTERNAL_H
#define RUNTIME_INTERNAL_H

#include "base/err.h"
#include "base/fd.h"
#include "base/macro.h"
#include "cgroup/cgroup.h"
#include "runtime/network.h"
#include "runtime/spec.h"
#include "runtime/vps.h"

#include <linux/sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Between the holder of a VPS and the child that becomes its init, on a SOCK_SEQPACKET pair:
 *
 *   holder                                child
 *   RT_MSG_MAPPED                         makes the network namespace
 *                                         RT_MSG_SPACES, then makes the others, becomes root of its
 *                                         ids, makes file systems of its own
 *   RT_MSG_ROOT      + the root mount, the mount of /dev
 *   RT_MSG_VOLUME    + one mount each
 *   RT_MSG_SET_UP                         sets the tenant up, but for what needs names in sysfs
 *   RT_MSG_GO, when the network is up     that, too
 *                                         RT_MSG_READY + console master, notify socket
 *                                         RT_MSG_LEFT + what rt_leave() was given
 *                                         execve: the socket closes
 *
 * At any time the child may answer RT_MSG_ERROR with a struct err, and exit.
 */
enum rt_msg_type {
	RT_MSG_MAPPED = 1,
	RT_MSG_SPACES,
	RT_MSG_ROOT,
	RT_MSG_VOLUME,
	RT_MSG_SET_UP,
	RT_MSG_READY,
	RT_MSG_GO,
	RT_MSG_LEFT,
	RT_MSG_ERROR,
};

struct rt_msg {
	uint32_t type;
	uint32_t value; /* VOLUME: index in spec->mounts; READY: which fds came, RT_READY_*; ERROR:
			 * the errno of execve, 0 when it was something else */
	struct err err; /* ERROR only */
};

enum { RT_READY_CONSOLE = 1, RT_READY_NOTIFY = 2 };

/* See rt_birth_begin(). */
struct rt_birth {
	struct cgroup_entry entry; /* of the v1 hierarchies */
	int ours, theirs;
};

struct rt_vps {
	const struct rt_spec *spec;
	struct rt_stdio stdio;
	struct cgroup_host cgroup_host;
	struct cgroup cgroup;
	int cgroup_fd; /* -EBADF: the groups are not there */
	struct rt_birth birth; /* init's, begun when the groups are there; `ours` is -EBADF else */
	int sync;      /* our end of the pair; -EBADF once init runs */
	pid_t pid;
	int pidfd;
	bool reaped;
	int userns_fd;
	int root_fd;
	int dev_fd;
	int late_fd;   /* storage_backend.mount */
	int console;
	int notify;
	const struct rt_restore *restore; /* NULL: init is executed */
	int kept;          /* epoll over what rt_keep() took */
	int *kept_fds;
	size_t kept_count;
	pid_t *parents;    /* of processes restored from outside */
	size_t parent_count;
	bool pidns_joined; /* children of ours are born in the VPS's pid namespace */
	struct rt_network network;
	char *resolv_conf; /* what /etc/resolv.conf is to say */
};

/* The file systems that a tenant gets new instances of, in the order they are attached in. */
enum rt_fs { RT_FS_SYS, RT_FS_PROC, RT_FS_CGROUP, RT_FS_SHM, RT_FS_MQUEUE, RT_FS_RUN, RT_FS_PTS, RT_FS_COUNT };

/* What the child works with; it lives in the child's copy of the holder's memory. */
struct rt_child {
	const struct rt_spec *spec;
	const struct rt_stdio *stdio;
	const char *resolv_conf;
	const struct rt_restore *restore;
	const struct cgroup_entry *entry; /* of the v1 hierarchies */
	bool host_network;
	int sync;
	int run_dir;    /* the host's directory that the root is attached on, as long as the host's is / */
	int root_fd;    /* the root mount, attached in this mount namespace */
	int dev_fd;     /* detached mount for /dev */
	int fs[RT_FS_COUNT]; /* of fsopen(2), until they are mounted; -EBADF: /sys of the host's network */
	int *volumes;   /* detached mounts, as spec->mounts */
	int empty;      /* an empty directory that masks are clones of, once there is one */
	bool sys_done;  /* rt_mounts_in_sys() */
	int init_mount; /* detached mount of vps-init; -EBADF when booting */
	int console;    /* pty master */
	int console_slave;
	int notify;
};

int rt_msg_send(int sock, enum rt_msg_type type, uint32_t value, const struct err *err,
		const int *fds, size_t nfds);
/* 0, or -EPIPE at the end of the stream. */
int rt_msg_recv(int sock, struct rt_msg *m, int *fds, size_t max_fds, size_t *nfds);
/* What the child reports, or why it is gone; its fds are at most two. What it leaves is closed on the way. */
int rt_hear(struct rt_vps *v, uint32_t want, struct rt_msg *m, int *fds, size_t *nfds, struct err *e);
/* A step failed with r, which is returned: when that is because the child has given up, its own words are the
 * better ones. */
int rt_blame(struct rt_vps *v, int r, struct err *e);

/* What the holder gives a child that is born in the VPS: a way to enter the groups that clone3(2) does not
 * choose, and one end of a socket for messages. (birth.c) */
int rt_birth_begin(const struct rt_vps *v, struct rt_birth *b, struct err *e);
/* clone3(2): 0 in the child, where our end is closed; in the holder its pid, or a negative errno. */
pid_t rt_birth_clone(struct rt_birth *b, const struct clone_args *args);
/* In the holder: lets go of what is the child's, and returns our end. */
int rt_birth_end(struct rt_birth *b);

/* Where the groups of a VPS are. (prepare.c) */
int rt_cgroup_of(struct cgroup_host *host, struct cgroup *c, const char *name, const char *parent, struct err *e);
/* One of which nothing is there yet; NULL with *e filled. */
struct rt_vps *rt_vps_new(const char *name, const char *cgroup_parent, struct err *e);
/* Its groups, open for its first process; nobody's but root's. */
int rt_groups_up(struct rt_vps *v, struct err *e);
int rt_groups_down(struct rt_vps *v, struct err *e);

/* The child's life, from clone3 to execve. Never returns. */
_Noreturn void rt_child_main(struct rt_vps *v, const struct cgroup_entry *entry, int sync);

/* attach.c. Opens a mount's target below rootfd, making it when it is missing; ERR_FAIL: a link is in the way. */
int rt_open_target(int rootfd, const char *path, bool dir, struct err *e);
/* The detached mount goes there; the fd stays the caller's. */
int rt_attach(int mount_fd, int rootfd, const char *path, bool dir, struct err *e);

/* clocks.c: a step of the child's. Its time namespace, with the offsets that it is to have, which it enters. */
int rt_clocks_step(void *ctx, struct err *e);

/* Makes the tenant's own file systems before there is a root. (mounts.c) */
int rt_mounts_make(struct rt_child *c, struct err *e);
/* Mounts them and the others on c->root_fd, which is attached already. */
int rt_mounts_up(struct rt_child *c, struct err *e);
/* What has to look up names in sysfs, where the network's links get theirs: best when they are there. */
int rt_mounts_in_sys(struct rt_child *c, struct err *e);
/*
 * Makes the root mount the root of the process and lets go of the host's tree: no path leads there any more. The
 * kernel may go on to wait for who looks one up at this moment: until rt_alone() a process beside it does so. (pivot.c)
 */
int rt_pivot(struct rt_child *c, struct err *e);

/* /etc/hostname, hosts, resolv.conf, from inside (cwd and root are the tenant's). (files.c) */
int rt_files_write(const struct rt_spec *s, const char *resolv_conf, struct err *e);
/* The host's name servers, or the spec's, as text for resolv.conf; NULL when out of memory. */
char *rt_resolv_conf(const struct rt_spec *s);

/* /dev as a detached mount with the tenant's device nodes; the devices that it may open, by its
 * group's device program. (devices.c) */
int rt_devices_mount(const struct rt_spec *s, struct err *e);
int rt_devices_allow(const struct rt_vps *v, struct err *e);

/* The spec's limits, written into the VPS's groups. (limits.c) */
int rt_limits_up(struct rt_vps *v, struct err *e);

/* The network's step of a start; ctx is the struct rt_vps. (network_up.c) */
int rt_network_up(void *ctx, struct err *e);
void rt_network_down(void *ctx);

/* Live network settings, if `keys` has any; `all` as for rt_set(). (network.c) */
int rt_network_set(struct rt_vps *v, const struct strv *keys, const struct config *all,
		   struct err *e);

/* Bounding set, ambient set, securebits as a tenant has them. (caps.c) */
int rt_caps_limit(struct err *e);
/* Soft and hard limits of process `pid` (0: the caller); a hard limit that cannot be raised stays
 * where it is. */
int rt_rlimits_apply(const struct strv *rlimits, pid_t pid, struct err *e);
/* Default dispositions, empty mask, umask 022. */
void rt_signals_reset(void);

/* A user of the tenant, looked up in the /etc/passwd and /etc/group that the caller's root has.
 * (user.c) Bounded: files of more than 1 MiB are not read. */
struct rt_user {
	uid_t uid;
	gid_t gid;
	gid_t groups[64];
	size_t group_count;
	char name[64];
	char home[256];
	char shell[256];
};
/* `who` is "", a name, "uid" or "uid:gid" or "name:group". Numbers need no entry. */
int rt_user_find(const char *who, struct rt_user *u, struct err *e);
int rt_user_become(const struct rt_user *u, struct err *e);

/* A pty of a devpts instance: master and slave, close-on-exec, not the controlling terminal.
 * `ptmx` is opened below dirfd and must be what it says (the tenant may have put anything there). */
int rt_pty_open(int dirfd, const char *ptmx, int *ret_master, int *ret_slave, struct err *e);
/* The slave becomes fds 0-2 (and the controlling terminal when `control`). */
int rt_stdio_tty(int slave, bool control, struct err *e);
/* The three fds become 0-2, /dev/null where one is -EBADF. */
int rt_stdio_take(const struct rt_stdio *stdio, struct err *e);

/* execve with the PATH of env (default of execvp) when argv[0] has no slash. Returns only on
 * failure, ERR_NOCMD or ERR_NOEXEC. */
int rt_execve(const struct strv *argv, const struct strv *env, struct err *e);

/* Children of the holder are born in the VPS's pid namespace, to which a pidfd leads (exec.c). */
int rt_join_pidns(struct rt_vps *v, int pidfd, struct err *e);
/* The group that init is in: systemd moves itself below the payload, which can then hold no process
 * of its own (the no-internal-process rule, cgroup-v2.rst). (exec.c) */
int rt_init_cgroup_open(const struct rt_vps *v, struct err *e);
/* In a child that was born in the VPS's pid namespace and cgroup: enters its other namespaces, to
 * which a pidfd leads, and becomes its root. (outside.c) */
int rt_enter(int pidfd, struct err *e);
/* Lets go of what rt_keep() took, and waits for the parents of processes that rt_outside() made, which have
 * ended. (outside.c) */
void rt_outside_done(struct rt_vps *v);

/* Children of the holder are born in the holder's own pid namespace again (exec.c). */
void rt_leave_pidns(struct rt_vps *v);

/* "K=V" of a list; NULL. */
const char *rt_env_get(const struct strv *env, const char *key);
/* Replaces or adds. */
int rt_env_set(struct strv *env, const char *kv);

#endif
