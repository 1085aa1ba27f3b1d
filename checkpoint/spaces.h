/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SPACES_H
#define CHECKPOINT_SPACES_H

#include "base/err.h"
#include "checkpoint/kinds.h"
#include "checkpoint/tree.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * The namespaces of a VPS. Those of process 1 are made by the runtime and only adjusted; all
 * others are made again, once each, by the restored VPS's own root: nothing that an image asks
 * for is done with more than the tenant has itself. The numbers are in images, and a thread's
 * list is in their order.
 */
enum ckpt_space_kind {
	CKPT_SPACE_USER,
	CKPT_SPACE_MNT,
	CKPT_SPACE_NET,
	CKPT_SPACE_UTS,
	CKPT_SPACE_IPC,
	CKPT_SPACE_CGROUP,
	CKPT_SPACE_TIME,
	CKPT_SPACE_PID, /* pidspaces.h */
	CKPT_SPACE_COUNT,
};
#define CKPT_SPACES_MAX 4096

struct ckpt_space_type {
	const char *name; /* below /proc/PID/ns */
	int flag; /* CLONE_NEW* */
	bool of_thread; /* one thread of several can enter one alone */
};
extern const struct ckpt_space_type ckpt_space_types[CKPT_SPACE_COUNT];

/* Dump: a namespace that was seen; item n stands for the record n + 1. */
struct ckpt_seen_space {
	enum ckpt_space_kind kind;
	ino_t ino;
	int fd;
	int root; /* of a mount namespace: its "/", O_PATH; else -EBADF */
	int diag; /* of a network namespace, once it has been asked for; else -EBADF */
	pid_t pid; /* who was seen in it; 0: nobody */
	dev_t queues; /* of an ipc namespace: the file system of its message queues */
};
/* Dump: a mount as the kernel numbers it now. */
struct ckpt_seen_mount {
	uint64_t id;
	uint32_t record;
};
struct ckpt_spaces {
	struct ckpt_seen_space *space;
	size_t count;
	struct ckpt_seen_mount *mount;
	size_t mount_count, last; /* and which was asked for last */
	struct ckpt_seen_super {
		dev_t dev;
	} * super; /* as tree.supers */
	uint32_t main[CKPT_SPACE_COUNT]; /* process 1's */
	struct ckpt_seen_thread {
		pid_t tid;
		uint32_t space[CKPT_SPACE_COUNT], time_children;
	} *thread; /* in the order in which they are asked for again */
	size_t thread_count, thread_room, thread_last;
};

struct ckpt_dump;
struct ckpt_record;

/* Finds all namespaces that threads are in, with their owners and what is in them, before anything
 * else is collected. */
int ckpt_spaces_collect(struct ckpt_dump *d, struct err *e);
/* The record of the namespace behind an fd, added if need be. Negative: *e is filled. */
int ckpt_spaces_add(struct ckpt_dump *d, enum ckpt_space_kind kind, int fd, pid_t pid,
		    struct err *e);
/* Fills in what it is by itself. (spaces_look.c) */
int ckpt_space_look(struct ckpt_dump *d, struct ckpt_seen_space *seen, Ckpt__Space *out,
		    struct err *e);
/* Its number in such a link of /proc/PID/ns; 0: there is none. */
ino_t ckpt_space_number(const char *link);
/* Which namespaces a thread is in. */
int ckpt_spaces_of_thread(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t, struct err *e);
void ckpt_spaces_done(struct ckpt_dump *d);
/* Process 1's namespace of a kind: the first that there is. 0: the kernel has none. */
uint32_t ckpt_space_main(const struct ckpt_tree *t, enum ckpt_space_kind kind);
/* What the runtime itself keeps in that file system: a path, or NULL. */
const char *ckpt_super_keep(const struct ckpt_tree *t, uint32_t super);

/* The sysctls of an ipc namespace, and of a user namespace (namespaces(7)), below /proc/sys; NULL is the last. */
#define CKPT_USER_SYSCTLS 12
extern const char *const ckpt_ipc_sysctls[], *const ckpt_user_sysctls[];
bool ckpt_is_space_sysctl(enum ckpt_space_kind kind, const char *name);
/* True for a control file that holds a setting, which is saved. */
bool ckpt_group_is_setting(const char *name);

/* A mount namespace's contents. (mounts.c) */
int ckpt_mounts_collect(struct ckpt_dump *d, uint32_t space, struct err *e);
/*
 * The mount that the file lies in that a link of /proc leads to, `path` for the message: its
 * number, and its namespace as images have it (0 is process 1's). ERR_UNSUPPORTED when it is in
 * none. (mounts.c)
 */
int ckpt_mount_space(struct ckpt_dump *d, const char *proc, const char *path, uint64_t *ret_id,
		     uint32_t *ret, struct err *e);
/* The same by the mount's number; false: in none. */
bool ckpt_mount_find(struct ckpt_dump *d, uint64_t id, uint32_t *ret);
/* The record of the file system with this device. One that is mounted nowhere any more gets one. (mounts_super.c) */
int ckpt_super_of(struct ckpt_dump *d, dev_t dev, const char *type, uint32_t *ret, struct err *e);
/* Where a mount is, from the root of its namespace; "" is that. */
int ckpt_mount_path(const struct ckpt_tree *t, uint32_t id, char *ret, size_t size);
/* A detached copy of a mount, alone, with all that other mounts cover. -EXDEV, and *e is as it was, when no way
 * leads to it. (mounts_take.c) */
int ckpt_mount_take(struct ckpt_dump *d, uint32_t id, struct err *e);
/* When all mounts are known: what those show whose directory or file was deleted. (mounts_take.c) */
#define CKPT_MOUNT_DELETED UINT32_MAX /* Mount.ghost, until then */
int ckpt_mounts_deleted(struct ckpt_dump *d, struct err *e);
/* "/" of that namespace. */
int ckpt_space_root(const struct ckpt_dump *d, uint32_t space);
/* The mount namespace of a process, as images have it. */
uint32_t ckpt_process_space(struct ckpt_dump *d, pid_t pid);
/* The network namespace of a socket, likewise. */
int ckpt_socket_space(struct ckpt_dump *d, int fd, uint32_t *ret, struct err *e);

/* The VPS's own group, and the host's /proc, which all here look at. (groups.c) */
int ckpt_group_open(struct ckpt_dump *d, struct err *e);
/* The control groups below the VPS's own, and which one a thread is in. (groups.c) */
int ckpt_groups_collect(struct ckpt_dump *d, struct err *e);
int ckpt_group_of_thread(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t, struct err *e);

/* Reading: takes a record of one of these types; checks that all holds together.
 * (spaces_check.c) */
int ckpt_spaces_take(struct ckpt_tree *t, const struct ckpt_record *rec, void *message,
		     struct err *e);
/* True for 0, process 1's, too. */
bool ckpt_space_is_mnt(const struct ckpt_tree *t, uint32_t id);
int ckpt_spaces_check(const struct ckpt_tree *t, struct err *e);

#endif
