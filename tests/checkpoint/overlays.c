/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Overlays that a tenant has mounted: with a layer to write to and without, of directories whose names have in them what
 * parts options, and by the way that names one layer after another (fsconfig(2)). */
#include "tests/checkpoint/guest.h"

#include <sys/mount.h>
#include <sys/stat.h>

static const char *const layers[] = { "blank 1", "colon:2", "comma,3", "back\\4", "plain5", "plain6" };

static void lay(const char *on, const char *options)
{
	CHECK(mkdir(on, 0755) == 0 && mount("over", on, "overlay", 0, options) == 0);
}

/* Older kernels do not know it: nothing is mounted then. */
static void lay_one_by_one(const char *on)
{
	int fs = fsopen("overlay", FSOPEN_CLOEXEC), fd = -1;

	CHECK(fs >= 0 && mkdir(on, 0755) == 0);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", "/mnt/colon:2", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", "/mnt/plain6", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (fd >= 0)
		CHECK(move_mount(fd, "", AT_FDCWD, on, MOVE_MOUNT_F_EMPTY_PATH) == 0);
	else
		CHECK(mount("over", on, "overlay", 0, "lowerdir=/mnt/colon\\:2:/mnt/plain6") == 0);
	close(fd);
	close(fs);
}

int main(void)
{
	char path[64], text[2] = "1";
	int fd;

	mkdir("/mnt", 0755);
	CHECK(mount("layers", "/mnt", "tmpfs", 0, NULL) == 0);
	for (size_t i = 0; i < sizeof(layers) / sizeof(*layers); i++) {
		snprintf(path, sizeof(path), "/mnt/%s", layers[i]);
		CHECK(mkdir(path, 0755) == 0);
		text[0] = (char)('1' + i);
		snprintf(path, sizeof(path), "/mnt/%s/file%s", layers[i], text);
		put_text(path, text);
	}
	CHECK(mkdir("/mnt/upper", 0755) == 0 && mkdir("/mnt/work", 0755) == 0);
	lay("/mnt/a", "lowerdir=/mnt/blank 1:/mnt/colon\\:2,upperdir=/mnt/upper,workdir=/mnt/work,userxattr");
	lay("/mnt/b", "lowerdir=/mnt/comma\\,3:/mnt/back\\\\4");
	lay_one_by_one("/mnt/c");
	put_text("/mnt/a/new", "new");
	fd = open("/mnt/a/new", O_RDWR);
	wait_for_restore();
	CHECK(has_text("/mnt/a/file1", "1") && has_text("/mnt/a/file2", "2"));
	CHECK(has_text("/mnt/b/file3", "3") && has_text("/mnt/b/file4", "4"));
	CHECK(has_text("/mnt/c/file2", "2") && has_text("/mnt/c/file6", "6"));
	CHECK(pwrite(fd, "NEW", 3, 0) == 3 && has_text("/mnt/a/new", "NEW") && has_text("/mnt/upper/new", "NEW"));
	CHECK(open("/mnt/b/file3", O_RDWR) < 0 && errno == EROFS);
	return done();
}
