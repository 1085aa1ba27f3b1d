/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_RESTORE_MOUNTS_H
#define CHECKPOINT_RESTORE_MOUNTS_H

#include "checkpoint/ghosts.h"
#include "checkpoint/mountinfo.h"
#include "checkpoint/restore_spaces.h"

#include <stdbool.h>
#include <sys/mount.h>

/* A restore's mounts in the making. */
struct mounting {
	struct restore *r;
	const struct ckpt_tree *tree;
	uint32_t main; /* record of process 1's namespace */
	int own, shop; /* that, and the workshop */
	int proc, stage;
	char *text;
	struct ckpt_mountinfo *now; /* what the runtime has mounted */
	size_t now_count;
	bool *used; /* as `now`: the image has it too */
	ssize_t *found; /* as tree->mounts: which of these it is, or -1 */
	int *anchor; /* as tree->supers: in the workshop, or -1 */
	const char **top; /* likewise: what of it the anchor shows */
	int *fd; /* as tree->mounts: in its place, or -1 */
	bool *later; /* likewise: not to be mounted now */
	struct ckpt_ghost_name *made; /* as tree->ghosts: those that mounts show, by now; NULL: none */
};

#define WORKSHOP_STAGE "/dev/shm" /* the runtime always mounts it */
#define RESTORE_ATTRIBUTES                                                              \
	(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | \
	 MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME | 0x00200000 /* NOSYMFOLLOW */)

/* Where mounts go. */
struct mount_target {
	int space; /* the mount namespace */
	int user; /* the nested user namespace that owns it; -EBADF: it is process 1's */
	int root; /* its root mount, once it is there; else -EBADF */
};

static inline const Ckpt__Mount *restore_mount_of(const struct mounting *m, uint32_t id)
{
	return m->tree->mounts[id - 1];
}

int restore_hop(int space, struct err *e);

/* A new instance of a file system, as a detached mount. (restore_workshop.c) */
struct superblock {
	const Ckpt__Super *s;
	int fd, root; /* where its paths begin; -EBADF: nowhere else */
	bool nested; /* it belongs to a nested user namespace */
};
int workshop_super(struct superblock *b, struct err *e);
/* Of a devpts that is there already: what goes to the workshop, and what becomes this mount. An fd of the caller's;
 * -EBADF: there is no such. (restore_devpts.c) */
int restore_devpts_anchor(const struct mounting *m, uint32_t super);
int restore_devpts_home(const struct mounting *m, uint32_t id);

/* Of a tmpfs that has been filled in part already, which gets the options that it had: likewise. (early_mounts.c) */
int early_mount_anchor(const struct mounting *m, uint32_t super);
/* (restore_workshop.c) */
int workshop_configure(int fs, const Ckpt__Super *s, bool ids, struct err *e);

/* Makes the workshop from the caller's mounts, with the file systems that are there, and enters
 * it. Then adds one more, for mounts of `to`. (restore_workshop.c) */
int workshop_open(struct mounting *m, struct err *e);
int workshop_add(struct mounting *m, uint32_t super, const struct mount_target *to, struct err *e);
/* The record of the runtime's mount that shows most of the file system, or -1. */
ssize_t workshop_widest(const struct mounting *m, uint32_t super);
/* A detached copy of what a mount of the image shows, with its attributes. The caller is in the
 * workshop. */
int workshop_copy(struct mounting *m, uint32_t id, struct err *e);

/* What others are to cover, as soon as the mount is there; and what lies in no mount any more. (restore_hidden.c) */
int restore_hidden(const struct mounting *m, uint32_t mount, struct err *e);
int restore_hidden_unmounted(const struct mounting *m, struct err *e);
/* When all is mounted: what has lost its name loses it again. */
int workshop_unname(struct mounting *m, struct err *e);

/* The records of the mounts of a namespace, [first, end), and all of them that are not there
 * yet put into their places; those that wait for others, and what is mounted in them, last.
 * (restore_place.c) */
void restore_mount_range_of(const struct mounting *m, uint32_t space, uint32_t *first,
			    uint32_t *end);
int restore_mount_range(struct mounting *m, uint32_t first, uint32_t end, struct mount_target *to,
			struct err *e);
/* A whole mount namespace that is not process 1's. */
int restore_nested_mounts(struct mounting *m, uint32_t id, struct err *e);

/* What propagates to whom, once all mounts are there. (restore_propagation.c) */
int restore_propagation(struct mounting *m, struct err *e);

#endif
