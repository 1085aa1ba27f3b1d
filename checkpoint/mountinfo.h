/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_MOUNTINFO_H
#define CHECKPOINT_MOUNTINFO_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CKPT_MOUNTINFO_MAX (16 << 20) /* bytes */

/* One line of mountinfo (proc_pid_mountinfo(5)). The strings lie in the text that was parsed. */
struct ckpt_mountinfo {
	uint64_t id, parent;
	dev_t dev;
	char *root, *at, *type, *source, *options; /* of the file system, "a=b,c", each as the kernel escapes it */
	uint64_t attributes; /* MOUNT_ATTR_* */
	uint32_t peers, master;
	bool unbindable, idmapped;
};

/* All lines; `text` is taken apart and must live as long. The array is the caller's to free. */
int ckpt_mountinfo_parse(char *text, struct ckpt_mountinfo **ret, size_t *ret_count, struct err *e);

/* "\040" and the like become what they stand for, in place. */
void ckpt_mountinfo_unescape(char *s);

/* The index of the mount with this number, -1. */
ssize_t ckpt_mountinfo_find(const struct ckpt_mountinfo *m, size_t count, uint64_t id);

/* `path` below `top`: "" for itself; NULL when it is not below. */
const char *ckpt_path_below(const char *path, const char *top);

#endif
