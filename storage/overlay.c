/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

/*
 * Overlay: the template's tree below, `upper` and `work` of the VPS above.
 *
 * The host's root mounts it, so overlay keeps its own notes in trusted.overlay.* attributes, which
 * no tenant can write (xattr(7): CAP_SYS_ADMIN of the first user namespace). That is what makes
 * redirect_dir=on safe here; without it rename(2) of a directory of the template would fail with
 * EXDEV inside. What copies an upper elsewhere must take those attributes along. metacopy is off so
 * that an upper always holds the data of its own files, index is off because an index is bound to
 * the lower's file handles and would refuse an upper that came from another machine.
 */
static const char *const overlay_options[][2] = {
	{ "source", "overlay" },
	{ "redirect_dir", "on" },
	{ "metacopy", "off" },
	{ "index", "off" },
	{ "xino", "auto" },
};

/* What one mount needs; the fds belong to overlay_mount(). */
struct layers {
	const struct storage_root *r;
	int lower; /* detached, idmapped */
	struct err *e;
	int ret; /* of the helper */
};

static int make_dirs(int dirfd, const struct storage_root *r, struct err *e)
{
	struct stat st;
	int fd;

	if (stat(r->lower, &st) < 0)
		return err_sys(e, "template tree %s", r->lower);
	if (mkdirat(dirfd, "upper", 0755) < 0)
		return err_sys(e, "make %s/upper", r->dir);
	if (mkdirat(dirfd, "work", 0700) < 0)
		return err_sys(e, "make %s/work", r->dir);
	fd = openat(dirfd, "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s/upper", r->dir);
	/* The merged root takes its owner and mode from the upper's. */
	if (fchown(fd, r->id_base + st.st_uid, r->id_base + st.st_gid) < 0 ||
	    fchmod(fd, st.st_mode & 07777) < 0) {
		err_sys(e, "set the owner of %s/upper", r->dir);
		close(fd);
		return -EIO;
	}
	close(fd);
	return 0;
}

static int overlay_create(const struct storage_root *r, struct err *e)
{
	int dirfd, ret;

	if (mkdir(r->dir, 0700) < 0) {
		if (errno == EEXIST)
			return err_set(e, ERR_EXISTS, "make %s: it is there already", r->dir);
		return err_sys(e, "make %s", r->dir);
	}
	dirfd = open(r->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dirfd < 0) {
		ret = err_sys(e, "open %s", r->dir);
		rmdir(r->dir);
		return ret;
	}
	ret = make_dirs(dirfd, r, e);
	if (ret < 0) {
		unlinkat(dirfd, "upper", AT_REMOVEDIR);
		unlinkat(dirfd, "work", AT_REMOVEDIR);
		rmdir(r->dir);
	}
	close(dirfd);
	return ret;
}

static int overlay_destroy(const struct storage_root *r, struct err *e)
{
	cleanup_close int parent = -EBADF;
	char dir[sizeof(r->dir)];
	char *slash;
	int ret;

	snprintf(dir, sizeof(dir), "%s", r->dir);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir || !slash[1])
		return err_set(e, ERR_FAIL, "remove %s: not a path of a root", r->dir);
	*slash = '\0';
	parent = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open %s", dir);
	ret = path_remove_tree_at(parent, slash + 1);
	return ret < 0 ? err_code(e, ret, "remove %s", r->dir) : 0;
}

/* The template's tree as a detached mount on which its ids 0… are the tenant's. */
static int open_lower(const struct storage_root *r, int userns_fd, struct err *e)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV,
		.userns_fd = (uint64_t)userns_fd,
	};
	cleanup_close int fd = open_tree(AT_FDCWD, r->lower, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open template tree %s", r->lower);
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		return TAKE_FD(fd);
	if (errno != EINVAL)
		return err_sys(e, "map the owners of %s", r->lower);
	err_set(e, ERR_UNSUPPORTED, "map the owners of %s: not possible on its file system",
		r->lower);
	return err_hint(e, "idmapped mounts need ext4, xfs, btrfs or f2fs below the state root");
}

/* The error of an fsconfig(2) or fsmount(2), with what the file system logged (fsopen(2): one
 * message a read, "e text"). */
static int fs_error(struct err *e, int fs, const char *what)
{
	int errnum = errno;
	char line[256], last[256] = "";
	ssize_t n;

	while ((n = read(fs, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == 'e')
			memcpy(last, line, sizeof(last));
	}
	if (last[0])
		return err_code(e, -errnum, "%s (%s)", what, last + 2);
	return err_code(e, -errnum, "%s", what);
}

static int set_layer(int fs, const char *key, int layer, struct err *e)
{
	char path[32];

	/* Through /proc/self/fd because a path's colons and commas would be taken apart; and the
	 * tenant, who can read these options, learns nothing of the host's directories. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", layer);
	if (fsconfig(fs, FSCONFIG_SET_STRING, key, path, 0) < 0)
		return fs_error(e, fs, key);
	return 0;
}

static int check_upper(const struct storage_root *r, int upper, struct err *e)
{
	struct statvfs st;

	if (fstatvfs(upper, &st) < 0)
		return err_sys(e, "look at the file system of %s", r->dir);
	if (st.f_flag & ST_RDONLY)
		return err_set(e, ERR_NOSPACE, "mount the root: %s is on a read-only file system",
			       r->dir);
	return 0;
}

/* Overlay mounts read-only, with no more than a line in the kernel's log, when it cannot write to
 * the upper. A server's root would be of no use then. */
static int check_writable(const struct storage_root *r, int mnt, int upper, struct err *e)
{
	struct statvfs st;

	if (fstatvfs(mnt, &st) < 0)
		return err_sys(e, "look at the mounted root");
	if (!(st.f_flag & ST_RDONLY))
		return 0;
	if (fstatvfs(upper, &st) < 0)
		return err_sys(e, "look at the file system of %s", r->dir);
	if (st.f_bavail == 0 || (st.f_files > 0 && st.f_favail == 0))
		return err_set(e, ERR_NOSPACE, "mount the root: the file system of %s is full",
			       r->dir);
	return err_set(e, ERR_FAIL, "mount the root: the kernel cannot write to %s", r->dir);
}

/*
 * Without it the end of the last process flushes the whole file system that the upper is on (Linux
 * 6.18), and each fsync(2) inside is one outside. The kernel leaves a directory that has the next such
 * mount refused, as files may be incomplete after a crash: here it was no crash, or they do not matter.
 */
static int set_volatile(int fs, int work, struct err *e)
{
	if ((unlinkat(work, "work/incompat/volatile", AT_REMOVEDIR) < 0 ||
	     unlinkat(work, "work/incompat", AT_REMOVEDIR) < 0) && errno != ENOENT)
		return err_sys(e, "clear the overlay's work directory");
	if (fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0) /* Linux 5.10 */
		return fs_error(e, fs, "volatile");
	return 0;
}

/* `lower` may be any fd of the lower mount that this mount namespace can use as a layer. */
static int mount_layers(const struct storage_root *r, int lower, struct err *e)
{
	cleanup_close int dirfd = -EBADF, upper = -EBADF, work = -EBADF, fs = -EBADF, mnt = -EBADF;
	int ret;

	dirfd = open(r->dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dirfd < 0)
		return err_sys(e, "open %s", r->dir);
	upper = openat(dirfd, "upper", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (upper < 0)
		return err_sys(e, "open %s/upper", r->dir);
	work = openat(dirfd, "work", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (work < 0)
		return err_sys(e, "open %s/work", r->dir);
	ret = check_upper(r, upper, e);
	if (ret < 0)
		return ret;
	fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0) {
		if (errno == ENODEV)
			return err_set(e, ERR_UNSUPPORTED, "this kernel has no overlay");
		return err_sys(e, "open the overlay file system");
	}
	if ((ret = set_layer(fs, "lowerdir", lower, e)) < 0 ||
	    (ret = set_layer(fs, "upperdir", upper, e)) < 0 ||
	    (ret = set_layer(fs, "workdir", work, e)) < 0)
		return ret;
	for (size_t i = 0; i < ARRAY_SIZE(overlay_options); i++)
		if (fsconfig(fs, FSCONFIG_SET_STRING, overlay_options[i][0], overlay_options[i][1],
			     0) < 0)
			return fs_error(e, fs, overlay_options[i][0]);
	if (r->ephemeral && (ret = set_volatile(fs, work, e)) < 0)
		return ret;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fs_error(e, fs, "mount the root's overlay");
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
	if (mnt < 0)
		return fs_error(e, fs, "mount the root's overlay");
	ret = check_writable(r, mnt, upper, e);
	return ret < 0 ? ret : TAKE_FD(mnt);
}

static int attach_and_mount(struct layers *l)
{
	/* What is mounted in the host's namespace must not receive the next mount. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(l->e, "make the mounts private");
	if (move_mount(l->lower, "", AT_FDCWD, l->r->lower, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(l->e, "attach the template's tree");
	return mount_layers(l->r, l->lower, l->e);
}

static int in_namespace(void *arg)
{
	struct layers *l = arg;

	l->ret = attach_and_mount(l);
	return 0;
}

/*
 * Until Linux 6.15 a layer must be a mount of the caller's mount namespace. A child with a
 * namespace of its own attaches the lower there; it shares memory and fds with us (and we wait,
 * CLONE_VFORK), so that the fd it returns is ours. The overlay holds clones of its layers' mounts,
 * so it outlives that namespace.
 */
static int mount_by_helper(struct layers *l)
{
	const size_t stack_size = KIB(64);
	sigset_t all, old;
	char *stack;
	int errnum;
	pid_t pid;

	stack = mmap(NULL, stack_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return err_sys(l->e, "make a stack for the mount helper");
	l->ret = err_set(l->e, ERR_FAIL, "the mount helper died");
	/* No handler of ours may run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = clone(in_namespace, stack + stack_size,
		    CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWNS, l);
	errnum = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		l->ret = err_code(l->e, -errnum, "make a mount namespace");
	else
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	munmap(stack, stack_size);
	return l->ret;
}

int storage_overlay_mount(const struct storage_root *r, int userns_fd, bool helper, int *ret_late,
			  struct err *e)
{
	cleanup_close int lower = open_lower(r, userns_fd, e);
	struct layers l = { .r = r, .lower = lower, .e = e };
	int mnt;

	if (lower < 0)
		return lower;
	mnt = helper ? mount_by_helper(&l) : mount_layers(r, lower, e);
	if (mnt >= 0 && ret_late)
		*ret_late = TAKE_FD(lower);
	return mnt;
}

/* Detached mounts may be layers since Linux 6.15. Where that is known not to be so it is not tried:
 * the kernel would put an error in its log at each start. */
static bool detached_layers_may_work(void)
{
	unsigned major, minor;
	struct utsname u;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return true;
	return major > 6 || (major == 6 && minor >= 15);
}

static int overlay_mount(const struct storage_root *r, int userns_fd, int *ret_late, struct err *e)
{
	static bool detached_refused;
	int mnt;

	if (ret_late)
		*ret_late = -EBADF;
	if (!detached_refused && detached_layers_may_work()) {
		mnt = storage_overlay_mount(r, userns_fd, false, ret_late, e);
		/* EINVAL is what clone_private_mount() says of a mount it may not take. */
		if (mnt != -EINVAL)
			return mnt;
	}
	mnt = storage_overlay_mount(r, userns_fd, true, ret_late, e);
	if (mnt >= 0)
		detached_refused = true;
	return mnt;
}

/* Reconfiguring a file system, to whatever it was, drops its entries that nobody uses (shrink_dcache_sb() in the
 * kernel's reconfigure_super()). Overlay keeps nothing else of the layers than in these. */
int storage_root_reread(int fd, struct err *e)
{
	cleanup_close int fs = -EBADF;
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return err_sys(e, "look at the root");
	if (st.f_type != OVERLAYFS_SUPER_MAGIC)
		return 0;
	fs = fspick(fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return err_sys(e, "have the root's overlay look at its layers again");
	return 0;
}

/* A mount removes the directory that the one before it worked in and makes it anew, and the file system
 * may wait for the disk when it frees blocks (ext4 with `discard`). */
static void overlay_ended(const struct storage_root *r)
{
	char path[sizeof(r->dir) + 16];

	snprintf(path, sizeof(path), "%s/work/work", r->dir);
	rmdir(path); /* not empty after a crash, or not there: the mount sees to it */
}

static int overlay_usage(const struct storage_root *r, uint64_t *ret_bytes, struct err *e)
{
	cleanup_close int dirfd = -EBADF;
	char path[sizeof(r->dir) + 8];

	snprintf(path, sizeof(path), "%s/upper", r->dir);
	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dirfd < 0)
		return err_sys(e, "open %s", path);
	return storage_tree_usage(dirfd, ret_bytes, e);
}

const struct storage_backend storage_overlay = {
	.name = "overlay",
	.help = "the template as shared lower layer, changes in a directory",
	.create = overlay_create,
	.destroy = overlay_destroy,
	.mount = overlay_mount,
	.ended = overlay_ended,
	.usage = overlay_usage,
};
