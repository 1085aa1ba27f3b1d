/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/internal.h"
#include "cgroup/resources.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* The disk of a partition; a disk is its own. sysfs lists a partition below its disk. */
static int whole_disk(dev_t dev, unsigned *maj, unsigned *min)
{
	cleanup_free char *text = NULL;
	char path[96];
	int r;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(dev), minor(dev));
	if (access(path, F_OK) == 0) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", major(dev), minor(dev));
		r = fd_read_file_at(AT_FDCWD, path, 64, &text, NULL);
		if (r < 0)
			return r;
		return sscanf(text, "%u:%u", maj, min) == 2 ? 0 : -EPROTO;
	}
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	if (access(path, F_OK) < 0)
		return -ENODEV;
	*maj = major(dev);
	*min = minor(dev);
	return 0;
}

/* The mount that the path lies on (STATX_MNT_ID, Linux 5.8): btrfs and overlay have device numbers
 * of no device, so that only the mount's source says where they lie. */
static int find_mount(const char *path, char **ret_text, struct cgroup_mnt *ret)
{
	cleanup_free char *text = NULL;
	char *save = NULL;
	struct statx stx;
	int r;

	if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_MNT_ID, &stx) < 0)
		return -errno;
	if (!(stx.stx_mask & STATX_MNT_ID))
		return -ENODEV;
	r = fd_read_file_at(AT_FDCWD, "/proc/self/mountinfo", MIB(16), &text, NULL);
	if (r < 0)
		return r;
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (cgroup_mnt_parse(l, ret) && ret->id == stx.stx_mnt_id) {
			*ret_text = TAKE_PTR(text);
			return 0;
		}
	return -ENODEV;
}

static int find_disk(const char *path, unsigned *maj, unsigned *min, char type[32], bool nested)
{
	cleanup_free char *text = NULL;
	struct cgroup_mnt m;
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return -errno;
	r = whole_disk(st.st_dev, maj, min);
	if (r != -ENODEV)
		return r;
	r = find_mount(path, &text, &m);
	if (r < 0)
		return r;
	snprintf(type, 32, "%s", m.type);
	if (STREQ(m.type, "overlay") && !nested) {
		char *upper = strstr(m.super, "upperdir=");

		if (!upper)
			return -ENODEV;
		upper += strlen("upperdir=");
		upper[strcspn(upper, ",")] = '\0';
		return find_disk(upper, maj, min, type, true);
	}
	if (stat(m.source, &st) < 0 || !S_ISBLK(st.st_mode))
		return -ENODEV;
	return whole_disk(st.st_rdev, maj, min);
}

int cgroup_disk_find(const char *path, unsigned *maj, unsigned *min, struct err *e)
{
	char type[32] = "no device";
	int r = find_disk(path, maj, min, type, false);

	if (r == -ENODEV) {
		err_set(e, ERR_UNSUPPORTED, "%s lies on no disk (%s)", path, type);
		return err_hint(e, "io limits need a root on a disk of this host");
	}
	return r < 0 ? err_code(e, r, "find the disk of %s", path) : 0;
}
