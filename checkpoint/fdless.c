/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/fdless.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NOTE "trusted.vps.fdless"

/* Where the kernel has its own memory, which no mount of a VPS is. */
static dev_t own_device(void)
{
	static _Atomic dev_t known;
	cleanup_close int fd = known ? -EBADF : memfd_create("device", MFD_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0)
		known = st.st_dev;
	return known;
}

bool ckpt_is_fdless(int fd)
{
	char path[64], name[64] = "", note;
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_dev != own_device())
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return (readlink(path, name, sizeof(name) - 1) > 0 && STREQ(name, "/dev/zero (deleted)")) ||
	       fgetxattr(fd, NOTE, &note, sizeof(note)) > 0;
}

bool ckpt_is_memfd(int fd)
{
	char path[64], name[8] = "";
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_dev != own_device())
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, name, sizeof(name) - 1) > 0 && STREQ(name, "/memfd:");
}

void ckpt_fdless_note(int fd)
{
	if (fsetxattr(fd, NOTE, "1", 1, 0) < 0)
		return; /* tmpfs has no attributes in this kernel: it is read whole in rounds */
}
