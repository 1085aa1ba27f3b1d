/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The tenant's mounts, made by the child that becomes init, inside its own mount namespace and with
 * the tenant's privileges. No process of the tenant runs yet. Targets are opened below the root
 * without following any symbolic link, and mounts go onto fds, never onto paths, so that a tree
 * with `/dev -> /` or `/proc -> elsewhere` is refused and nothing can be swapped in between.
 */
#include "base/path.h"
#include "runtime/internal.h"
#include "runtime/value.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

#define NOSUID MOUNT_ATTR_NOSUID
#define NODEV MOUNT_ATTR_NODEV
#define NOEXEC MOUNT_ATTR_NOEXEC
#define RDONLY MOUNT_ATTR_RDONLY

/* A new file system instance, to be mounted with fsmount(2). options: "key=value,key". */
static int new_fs(const char *type, const char *options, struct err *e)
{
	cleanup_close int fs = fsopen(type, FSOPEN_CLOEXEC);
	char text[128];
	char *next = text, *item;

	if (fs < 0)
		return err_sys(e, "open file system %s", type);
	snprintf(text, sizeof(text), "%s", options);
	while ((item = strsep(&next, ","))) {
		char *value = strchr(item, '=');

		if (!*item)
			continue;
		if (value)
			*value++ = '\0';
		if (fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, item, value, 0) <
		    0)
			return err_sys(e, "mount %s: set %s", type, item);
	}
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(e, "mount %s", type);
	return TAKE_FD(fs);
}

/* The same as a detached mount. */
static int new_mount(const char *type, const char *options, unsigned attrs, struct err *e)
{
	cleanup_close int fs = new_fs(type, options, e);
	int fd;

	if (fs < 0)
		return fs;
	fd = fsmount(fs, FSMOUNT_CLOEXEC, attrs);
	return fd < 0 ? err_sys(e, "mount %s", type) : fd;
}

/* /sys read-only, or systemd believes that it has devices to manage (ConditionPathIsReadWrite=/sys in
 * its udev units). */
static const struct fs_row {
	const char *type, *path, *options;
	unsigned attrs;
} fs_rows[RT_FS_COUNT] = {
	[RT_FS_SYS] = { "sysfs", "sys", "", NOSUID | NODEV | NOEXEC | RDONLY },
	[RT_FS_PROC] = { "proc", "proc", "", NOSUID | NODEV | NOEXEC },
	[RT_FS_CGROUP] = { "cgroup2", "sys/fs/cgroup", "", NOSUID | NODEV | NOEXEC },
	[RT_FS_SHM] = { "tmpfs", "dev/shm", "mode=1777", NOSUID | NODEV },
	[RT_FS_MQUEUE] = { "mqueue", "dev/mqueue", "", NOSUID | NODEV | NOEXEC },
	[RT_FS_RUN] = { "tmpfs", "run", "mode=755", NOSUID | NODEV },
	[RT_FS_PTS] = { "devpts", "dev/pts", "mode=620,ptmxmode=666,gid=5", NOSUID | NOEXEC },
};

/*
 * Entries that say things about the host or reach into it. The user namespace denies already what
 * they could be used for (their owner is the host's root); this is the second lock. Directories
 * get an empty read-only tmpfs, files the null device.
 */
static const char *const masked[] = {
	"proc/kcore",          "proc/keys",        "proc/key-users",    "proc/timer_list",
	"proc/latency_stats",  "proc/sched_debug", "proc/sysrq-trigger", "proc/kpagecount",
	"proc/kpageflags",     "proc/kpagecgroup", "proc/acpi",         "proc/scsi",
	"proc/asound",         "proc/bus",         "proc/irq",          "sys/firmware",
	"sys/devices/virtual/powercap",
};

static int clone_tree(int dirfd, const char *path, unsigned attrs)
{
	struct mount_attr attr = { .attr_set = attrs };
	int fd = open_tree(dirfd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	if (fd < 0)
		return -errno;
	if (attrs && mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

/* An empty directory as a detached mount. The first is a file system, and attached from then on; the
 * others are clones of it: a file system takes some 10 KiB of the kernel's memory. */
static int empty_dir(int *first, struct err *e)
{
	int fd = *first < 0 ? new_mount("tmpfs", "mode=555,nr_inodes=1",
					NOSUID | NODEV | NOEXEC | RDONLY, e)
			    : clone_tree(*first, "", 0);

	if (fd < 0)
		return *first < 0 ? fd : err_code(e, fd, "clone an empty directory");
	if (*first < 0)
		*first = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd;
}

static int mask_one(int rootfd, const char *path, int *first, struct err *e)
{
	cleanup_close int target = path_open_no_links(rootfd, path, O_PATH, 0, false);
	cleanup_close int mnt = -EBADF;
	struct stat st;

	if (target < 0)
		return 0; /* not on this kernel */
	if (fstat(target, &st) < 0)
		return err_sys(e, "mask /%s", path);
	mnt = S_ISDIR(st.st_mode) ? empty_dir(first, e)
				  : clone_tree(AT_FDCWD, "/dev/null", NOSUID | NOEXEC);
	if (mnt < 0)
		return S_ISDIR(st.st_mode) ? mnt : err_code(e, mnt, "mask /%s", path);
	if (move_mount(mnt, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "mask /%s", path);
	return 0;
}

/*
 * Of /sys/kernel a tenant sees only mm (programs read the huge page settings): with the mount points
 * of debugfs, tracefs and configfs in sight systemd tries to mount them, which no tenant may.
 */
static int mask_sys_kernel(int rootfd, struct err *e)
{
	cleanup_close int mm = clone_tree(rootfd, "sys/kernel/mm", 0);
	cleanup_close int tmp = new_mount("tmpfs", "mode=755,nr_inodes=8",
					  NOSUID | NODEV | NOEXEC, e);
	struct mount_attr ro = { .attr_set = RDONLY };
	int r;

	if (tmp < 0)
		return tmp;
	r = rt_attach(tmp, rootfd, "sys/kernel", true, e);
	if (r < 0)
		return r;
	if (mm >= 0) {
		r = rt_attach(mm, rootfd, "sys/kernel/mm", true, e);
		if (r < 0)
			return r;
	}
	if (mount_setattr(tmp, "", AT_EMPTY_PATH, &ro, sizeof(ro)) < 0)
		return err_sys(e, "make /sys/kernel read-only");
	return 0;
}

/* Number 0 of the private terminals is the console when there is one. */
static int mount_console(struct rt_child *c, int pts, struct err *e)
{
	cleanup_close int console = -EBADF;
	int r;

	if (!c->spec->boot && !c->spec->tty)
		return 0;
	r = rt_pty_open(pts, "ptmx", &c->console, &c->console_slave, e);
	if (r < 0)
		return r;
	console = clone_tree(pts, "0", 0);
	if (console < 0)
		return err_code(e, console, "take the console's terminal");
	return rt_attach(console, c->root_fd, "dev/console", false, e);
}

static int mount_volumes(struct rt_child *c, struct err *e)
{
	for (size_t i = 0; i < c->spec->mount_count; i++) {
		const struct rt_mount *m = &c->spec->mounts[i];
		cleanup_close int target = -EBADF;
		const char *guest = m->guest + 1;
		struct stat st;

		if (fstat(c->volumes[i], &st) < 0)
			return err_sys(e, "look at %s", m->host);
		target = rt_open_target(c->root_fd, guest, S_ISDIR(st.st_mode), e);
		if (target < 0)
			return err_wrap(e, "mount %s", m->host);
		if (move_mount(c->volumes[i], "", target, "",
			       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
			return err_sys(e, "mount %s on %s", m->host, m->guest);
	}
	return 0;
}

/*
 * A sysfs shows the network namespace it is mounted in, whose owner alone may mount it: a VPS with
 * the host's network gets the host's. That is cloned with what is mounted in it, as a copy of a
 * mount tree cannot be taken apart in a user namespace.
 */
static int clone_host_sys(struct err *e)
{
	struct mount_attr attr = { .attr_set = fs_rows[RT_FS_SYS].attrs };
	cleanup_close int fd = open_tree(AT_FDCWD, "/sys",
					 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (fd < 0)
		return err_sys(e, "take /sys of the host");
	if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return err_sys(e, "make /sys read-only");
	return TAKE_FD(fd);
}

/* A proc or sysfs that is covered in places cannot be mounted anew in a namespace below
 * (mount_too_revealing() in fs/namespace.c), which is what nested containers do. */
static bool has_masks(const struct rt_child *c)
{
	return !(c->spec->features & RT_FEATURE_NESTING);
}

/* Those of one file system: `below` is "proc/" or "sys/". */
static int mount_masks(struct rt_child *c, const char *below, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && has_masks(c) && i < ARRAY_SIZE(masked); i++)
		if (strncmp(masked[i], below, strlen(below)) == 0)
			r = mask_one(c->root_fd, masked[i], &c->empty, e);
	return r;
}

/*
 * Where the host runs lxcfs (a FUSE file system that answers by the control groups of who reads) its
 * files take the place of those that would show the host's memory, CPUs and load. Uptime is not among
 * them: the time namespace has it right. What lxcfs does not have, or no longer answers for, stays
 * the kernel's; it is read-only, and nothing but files goes in.
 */
#define LXCFS "/var/lib/lxcfs"
#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

static const char *const sold[] = {
	"proc/cpuinfo", "proc/diskstats", "proc/loadavg", "proc/meminfo", "proc/stat",
	"proc/swaps",   "sys/devices/system/cpu/online",
};

static int mount_sold(struct rt_child *c, struct err *e)
{
	struct statfs fs;

	if (!has_masks(c) || statfs(LXCFS, &fs) < 0 || fs.f_type != FUSE_SUPER_MAGIC)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(sold); i++) {
		cleanup_close int target = path_open_no_links(c->root_fd, sold[i], O_PATH, 0, false);
		cleanup_close int mnt = -EBADF;
		char path[128];

		snprintf(path, sizeof(path), LXCFS "/%s", sold[i]);
		mnt = clone_tree(AT_FDCWD, path, NOSUID | NODEV | NOEXEC | RDONLY);
		if (target < 0 || mnt < 0)
			continue;
		if (move_mount(mnt, "", target, "",
			       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
			return err_sys(e, "mount /%s", sold[i]);
	}
	return 0;
}

int rt_mounts_make(struct rt_child *c, struct err *e)
{
	for (size_t i = 0; i < RT_FS_COUNT; i++) {
		if (i == RT_FS_SYS && c->host_network)
			continue;
		c->fs[i] = new_fs(fs_rows[i].type, fs_rows[i].options, e);
		if (c->fs[i] < 0)
			return c->fs[i];
	}
	return 0;
}

/* Mounts are listed in the order they were made in: not before the root. */
static int mount_own(struct rt_child *c, enum rt_fs i, struct err *e)
{
	const struct fs_row *row = &fs_rows[i];
	cleanup_close int mnt = -EBADF;
	int r;

	if (c->fs[i] < 0)
		mnt = clone_host_sys(e);
	else if ((mnt = fsmount(c->fs[i], FSMOUNT_CLOEXEC, row->attrs)) < 0)
		err_sys(e, "mount %s", row->type);
	fd_close(&c->fs[i]);
	r = mnt < 0 ? -EIO : rt_attach(mnt, c->root_fd, row->path, true, e);
	return r == 0 && i == RT_FS_PTS ? mount_console(c, mnt, e) : r;
}

/*
 * Each of its links costs the holder some hundred entries in sysfs, and who adds some and who looks names up take
 * turns at one lock (kernfs_rwsem): each sleeps for the other's every turn (seen on 6.18).
 */
int rt_mounts_in_sys(struct rt_child *c, struct err *e)
{
	int r = c->sys_done ? 0 : mount_own(c, RT_FS_CGROUP, e);

	if (r < 0 || c->sys_done)
		return r;
	r = mount_masks(c, "sys/", e);
	if (r == 0 && has_masks(c))
		r = mask_sys_kernel(c->root_fd, e);
	fd_close(&c->empty);
	c->sys_done = true;
	return r;
}

static bool has_volume_in_sys(const struct rt_child *c)
{
	for (size_t i = 0; i < c->spec->mount_count; i++)
		if (strncmp(c->spec->mounts[i].guest, "/sys/", 5) == 0)
			return true;
	return false;
}

int rt_mounts_up(struct rt_child *c, struct err *e)
{
	int r = rt_attach(c->dev_fd, c->root_fd, "dev", true, e);

	for (size_t i = 0; r == 0 && i < RT_FS_COUNT; i++)
		if (i != RT_FS_CGROUP)
			r = mount_own(c, (enum rt_fs)i, e);
	if (r == 0)
		r = mount_masks(c, "proc/", e);
	if (r == 0)
		r = mount_sold(c, e);
	if (r == 0 && has_volume_in_sys(c))
		r = rt_mounts_in_sys(c, e);
	if (r == 0 && c->init_mount >= 0)
		r = rt_attach(c->init_mount, c->root_fd, "dev/.vps-init", false, e);
	return r < 0 ? r : mount_volumes(c, e);
}
