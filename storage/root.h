/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_ROOT_H
#define STORAGE_ROOT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The root file system of a VPS. Back ends are rows of one table; `overlay` is the default: the
 * template is the shared lower layer, `<dir>/upper` and `<dir>/work` belong to the VPS.
 *
 * Owners on disk. Templates hold ids 0-65535 as the distribution has them and are shown to each
 * tenant through an idmapped mount (mount_setattr(2), MOUNT_ATTR_IDMAP, Linux 5.12; overlay over
 * idmapped layers, Linux 5.19). The upper holds the tenant's host ids: an overlay whose upper is
 * idmapped too comes up read-only. What leaves the host must translate them.
 */
struct storage_root {
	char backend[16]; /* "overlay" */
	char dir[512];    /* what the back end keeps for this VPS: lib/vps/NAME/root */
	char lower[512];  /* the template's tree; "" where the back end has no lower */
	uint32_t id_base; /* host id of the tenant's id 0 */
	uint32_t id_count;/* 65536 */
	bool ephemeral;   /* nothing in it has to outlive the run: no data is flushed to the disk */
};

struct storage_backend {
	const char *name;
	const char *help;
	/* Makes <dir> and what belongs in it. Undone on failure. */
	int (*create)(const struct storage_root *r, struct err *e);
	/* Removes <dir> and all in it. 0 when it is not there. May take long. */
	int (*destroy)(const struct storage_root *r, struct err *e);
	/* Returns a detached mount of the root (fsmount(2) or open_tree(2)), close-on-exec, to be
	 * attached with move_mount(2) in the tenant's mount namespace; closing it unmounts. Nothing
	 * appears in the caller's mount namespace. `userns_fd` carries the tenant's id mapping.
	 * *ret_late (may be NULL) is an fd of no use, or -EBADF: to close it takes a grace period of the
	 * kernel's, which the caller can have when nobody waits. */
	int (*mount)(const struct storage_root *r, int userns_fd, int *ret_late, struct err *e);
	/* Bytes on disk that are the VPS's own. May take long. */
	int (*usage)(const struct storage_root *r, uint64_t *ret_bytes, struct err *e);
};

/* Looks a back end up by name; NULL and ERR_USAGE with the names there are. */
const struct storage_backend *storage_backend_find(const char *name, struct err *e);

/*
 * The upper layer has changed below the mount whose root is behind `fd`, while nobody used it: what has been looked
 * up through it, and what was found not to be there, is looked up anew from now on. Directories in use keep what they
 * were found to be: the root, and those that something is mounted on.
 */
int storage_root_reread(int fd, struct err *e);

/*
 * A user namespace with the mapping id_base/id_count for uses outside a running VPS (reading the
 * files of a stopped one): an fd; the helper process that made it has ended.
 */
int storage_userns(uint32_t id_base, uint32_t id_count, struct err *e);

#endif
