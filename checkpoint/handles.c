/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The path of a file that only its handle is known of, as fdinfo shows what an inotify watches. A handle
 * is opened on the mount of its file system that the VPS has. One of overlay (the root) cannot be, but
 * holds that of the file in the upper or lower layer, whose path there is its path in the VPS. Whatever
 * path is found must lead to the same handle again.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/handles.h"
#include "storage/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define OVERLAY_TYPE 0xf8     /* OVL_FILEID_V1 */
#define OVERLAY_FID 24        /* where the layer's handle begins: struct ovl_fh */
#define OVERLAY_FLAGS 6
#define OVERLAY_FID_TYPE 7
#define OVERLAY_IS_UPPER 4    /* OVL_FH_FLAG_PATH_UPPER */
#define HANDLE_FID 0x200      /* AT_HANDLE_FID: one to compare will do (Linux 6.5) */

union room {
	struct file_handle h;
	uint8_t bytes[sizeof(struct file_handle) + CKPT_HANDLE_MAX];
};

int ckpt_handle_parse(const char *text, struct ckpt_handle *ret)
{
	const char *hex = strstr(text, "f_handle:");
	unsigned type, size;

	*ret = (struct ckpt_handle){ 0 };
	if (sscanf(text, "ino:%" SCNx64 " sdev:%x", &ret->ino, &ret->sdev) != 2)
		return -EPROTO;
	text = strstr(text, "fhandle-bytes:");
	if (!text || !hex || sscanf(text, "fhandle-bytes:%x fhandle-type:%x", &size, &type) != 2)
		return 0; /* a file system without handles */
	if (size > CKPT_HANDLE_MAX)
		return -EPROTO;
	for (size_t i = 0; i < size; i++) {
		unsigned byte;

		if (sscanf(hex + 9 + 2 * i, "%2x", &byte) != 1)
			return -EPROTO;
		ret->data[i] = (uint8_t)byte;
	}
	ret->type = type;
	ret->size = size;
	return 0;
}

static bool leads_to(int root, const char *path, const struct ckpt_handle *h)
{
	cleanup_close int fd = path_open_in_root(root, path, O_PATH | O_NOFOLLOW, 0);
	union room got = { .h.handle_bytes = CKPT_HANDLE_MAX };
	int mount;

	return fd >= 0 && name_to_handle_at(fd, "", &got.h, &mount, AT_EMPTY_PATH | HANDLE_FID) == 0 &&
	       got.h.handle_bytes == h->size && got.h.handle_type == (int)h->type &&
	       memcmp(got.h.f_handle, h->data, h->size) == 0;
}

/* Opens a handle on the mount of `on`; its path there. */
static int open_path(int on, unsigned type, const uint8_t *data, size_t size, char *path, size_t room)
{
	union room h = { .h = { .handle_bytes = (unsigned)size, .handle_type = (int)type } };
	cleanup_close int fd = -EBADF;
	char link[64];
	ssize_t n;

	memcpy(h.h.f_handle, data, size);
	fd = open_by_handle_at(on, &h.h, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, room - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	return 0;
}

static int layer_path(const struct storage_root *r, const struct ckpt_handle *h, char *path, size_t room)
{
	cleanup_close int base = -EBADF;
	char dir[1024], link[64], found[8192];
	bool upper = h->size > OVERLAY_FID && (h->data[OVERLAY_FLAGS] & OVERLAY_IS_UPPER);
	ssize_t n;
	int e;

	if (h->size <= OVERLAY_FID)
		return -EPROTO;
	if (upper)
		snprintf(dir, sizeof(dir), "%s/upper", r->dir);
	else
		snprintf(dir, sizeof(dir), "%s", r->lower);
	base = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (base < 0)
		return -errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", base);
	n = readlink(link, dir, sizeof(dir) - 1);
	if (n < 0)
		return -errno;
	dir[n] = '\0';
	e = open_path(base, h->data[OVERLAY_FID_TYPE], h->data + OVERLAY_FID, h->size - OVERLAY_FID, found,
		      sizeof(found));
	if (e < 0)
		return e;
	if (strncmp(found, dir, (size_t)n) != 0 || (found[n] != '/' && found[n]) ||
	    (size_t)snprintf(path, room, "%s", found[n] ? found + n : "/") >= room)
		return -ENOENT;
	return 0;
}

bool ckpt_handle_is_lower(const char *proc)
{
	cleanup_close int fd = open(proc, O_PATH | O_CLOEXEC);
	union room got = { .h.handle_bytes = CKPT_HANDLE_MAX };
	int mount;

	return fd >= 0 && name_to_handle_at(fd, "", &got.h, &mount, AT_EMPTY_PATH | HANDLE_FID) == 0 &&
	       got.h.handle_type == OVERLAY_TYPE && got.h.handle_bytes > OVERLAY_FID &&
	       !(got.h.f_handle[OVERLAY_FLAGS] & OVERLAY_IS_UPPER);
}

int ckpt_handle_upper(int dirfd, const char *path, uint64_t *ret)
{
	union room got = { .h.handle_bytes = CKPT_HANDLE_MAX };
	const unsigned char *data = got.h.f_handle;
	int mount;

	if (name_to_handle_at(dirfd, path, &got.h, &mount, AT_SYMLINK_FOLLOW | HANDLE_FID) < 0)
		return errno == EINVAL ? -EOPNOTSUPP : errno == EOPNOTSUPP ? 0 : -errno;
	if (got.h.handle_type != OVERLAY_TYPE || got.h.handle_bytes <= OVERLAY_FID ||
	    !(data[OVERLAY_FLAGS] & OVERLAY_IS_UPPER))
		return 0;
	return storage_handle_ino(data[OVERLAY_FID_TYPE], data + OVERLAY_FID, got.h.handle_bytes - OVERLAY_FID, ret)
		       ? 1 : -EOPNOTSUPP;
}

/* Any mount of the file system that the VPS's first process has. */
static int open_mount(int root, pid_t init, unsigned sdev)
{
	char path[64], line[8192], at[4096];
	cleanup_fclose FILE *f = NULL;
	unsigned major, minor;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)init);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		cleanup_close int fd = -EBADF;
		struct stat st;

		if (sscanf(line, "%*s %*s %u:%u %*s %4095s", &major, &minor, at) != 3 || major != sdev >> 20 ||
		    minor != (sdev & 0xfffff))
			continue;
		fd = path_open_in_root(root, at, O_RDONLY | O_DIRECTORY, 0);
		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == makedev(major, minor))
			return TAKE_FD(fd);
	}
	return -ENOENT;
}

int ckpt_handle_path(struct ckpt_handle_places *p, const struct ckpt_handle *h, char *path, size_t room)
{
	int r;

	if (!h->size)
		return -ENOENT;
	if (h->type == OVERLAY_TYPE) {
		r = layer_path(p->layers, h, path, room);
	} else {
		if (p->mount < 0 || p->sdev != h->sdev) {
			fd_close(&p->mount);
			p->mount = open_mount(p->root, p->init, h->sdev);
			p->sdev = h->sdev;
		}
		r = p->mount < 0 ? p->mount : open_path(p->mount, h->type, h->data, h->size, path, room);
	}
	return r < 0 ? r : leads_to(p->root, path, h) ? 0 : -ENOENT;
}
