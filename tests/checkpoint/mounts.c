/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Mounts: made, changed, covered and taken away in process 1's namespace; a namespace as a unit
 * of systemd's has one (a root of its own by pivot_root, read-only, with private and shared file
 * systems, parts of others, a directory that is an inaccessible one's, what propagates into it);
 * one in a user namespace; a chroot; files open in each of them. What lies in every tmpfs.
 */
#include "tests/checkpoint/crew.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

/* The line of mountinfo for a mount point; the last one, which covers the others. */
static const char *line_of(const char *at)
{
	static char found[1024];
	static char text[65536];
	int fd = open("/proc/self/mountinfo", O_RDONLY);
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = found[0] = '\0';
	close(fd);
	for (char *save = NULL, *l = strtok_r(text, "\n", &save); l;
	     l = strtok_r(NULL, "\n", &save)) {
		char point[512];

		if (sscanf(l, "%*s %*s %*s %*s %511s", point) == 1 && strcmp(point, at) == 0)
			snprintf(found, sizeof(found), "%s", l);
	}
	return found;
}

static bool mounted(const char *at, const char *options, const char *type)
{
	const char *l = line_of(at);
	char opts[256];

	return sscanf(l, "%*s %*s %*s %*s %*s %255s", opts) == 1 && strcmp(opts, options) == 0 &&
	       strstr(l, type);
}

/* Two mounts are of the same file system. */
static bool same_fs(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev;
}

static void make(const char *path)
{
	CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
}

/* As systemd sets up the namespace of a unit. */
static int unit_fd, unit_dir;

static void check_unit(void)
{
	struct statfs fs;
	struct stat st;
	char text[64] = { 0 };

	CHECK(mounted("/", "ro,nosuid,nodev,relatime", "- overlay"));
	CHECK(mounted("/dev", "rw,nosuid,noexec,relatime", "size=1024k") &&
	      !same_fs("/dev", "/run"));
	CHECK(mounted("/dev/null", "rw,nosuid,noexec,relatime", "/null ") &&
	      stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	CHECK(mounted("/home", "ro,nosuid,nodev,noexec,relatime", "/hidden ") &&
	      access("/home/secret", F_OK) < 0);
	CHECK(mounted("/tmp", "rw,nosuid,nodev,relatime", "/var/unit-tmp ") &&
	      has_text("/tmp/private", "private"));
	CHECK(mounted("/proc", "rw,nosuid,nodev,noexec,relatime", "hidepid=invisible"));
	CHECK(mounted("/proc/sys", "ro,nosuid,nodev,noexec,relatime", "/sys "));
	CHECK(mounted("/root", "rw,relatime", "- tmpfs") && has_text("/root/file", "in the unit's own"));
	CHECK(mounted("/root/deep/er", "rw,noatime", "- ramfs") &&
	      has_text("/root/deep/er/file", "in memory"));
	CHECK(statfs("/root", &fs) == 0 && fs.f_blocks * (unsigned long)fs.f_bsize == 2 << 20);
	CHECK(access("/old", F_OK) < 0 && access("/put_old", F_OK) < 0);
	CHECK(stat("/run/propagated/file", &st) == 0 &&
	      strstr(line_of("/run/propagated"), "master:"));
	CHECK(strstr(line_of("/root"), "shared:") && !strstr(line_of("/tmp"), "shared:"));
	/* Open there, and not where process 1 would find them. */
	CHECK(pread(unit_fd, text, sizeof(text), 0) == 17 &&
	      memcmp(text, "in the unit's own", 17) == 0);
	CHECK(write(unit_fd, "+", 1) == 1);
	CHECK(fstatat(unit_dir, "er", &st, 0) == 0);
	CHECK(getcwd(text, sizeof(text)) && strcmp(text, "/root/deep") == 0);
}

static void bind(const char *from, const char *to, unsigned long flags)
{
	CHECK(mount(from, to, NULL, MS_BIND, NULL) == 0);
	CHECK(mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | flags, NULL) == 0);
}

static void unit(void)
{
	static const char top[] = "/run/unit-root";

	CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0);
	make(top);
	CHECK(mount("/", top, NULL, MS_BIND, NULL) == 0 && chdir(top) == 0);
	CHECK(mount("/run", "run", NULL, MS_BIND | MS_REC, NULL) == 0);
	CHECK(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=1m,mode=755") == 0);
	put_text("dev/null", "");
	CHECK(mount("/dev/null", "dev/null", NULL, MS_BIND, NULL) == 0);
	bind("/run/hidden", "home", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
	bind("/var/unit-tmp", "tmp", MS_NOSUID | MS_NODEV);
	CHECK(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		    "hidepid=invisible") == 0);
	bind("proc/sys", "proc/sys", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
	CHECK(mount("tmpfs", "root", "tmpfs", 0, "size=2m") == 0 &&
	      mount(NULL, "root", NULL, MS_SHARED, NULL) == 0);
	put_text("root/file", "in the unit's own");
	make("root/deep");
	make("root/deep/er");
	CHECK(mount("ramfs", "root/deep/er", "ramfs", MS_NOATIME, NULL) == 0);
	put_text("root/deep/er/file", "in memory");
	CHECK(syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0);
	CHECK(mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV,
		    NULL) == 0);
	unit_fd = open("/root/file", O_RDWR | O_APPEND);
	unit_dir = open("/root/deep", O_RDONLY | O_DIRECTORY);
	CHECK(chdir("/root/deep") == 0);
	crew_serve(check_unit);
}

/* In a user namespace of its own: what it got is locked, what it made is not. */
static void check_box(void)
{
	CHECK(has_text("/tmp/file", "in the box"));
	CHECK(mounted("/tmp", "rw,relatime", "- tmpfs") &&
	      mounted("/run", "rw,nosuid,nodev,relatime", "- tmpfs"));
	CHECK(mount(NULL, "/run", NULL, MS_BIND | MS_REMOUNT, NULL) < 0 && errno == EPERM);
	CHECK(umount("/run") < 0 && errno == EINVAL);
	CHECK(mount(NULL, "/tmp", NULL, MS_REMOUNT, "size=3m") == 0);
	CHECK(umount("/tmp") == 0 && access("/tmp/file", F_OK) < 0);
}

static void leave(void)
{
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
	put_text("/proc/self/setgroups", "deny");
	put_text("/proc/self/uid_map", "0 0 1");
	put_text("/proc/self/gid_map", "0 0 1");
}

static void box(void)
{
	leave();
	CHECK(mount("tmpfs", "/tmp", "tmpfs", 0, NULL) == 0);
	put_text("/tmp/file", "in the box");
	crew_serve(check_box);
}

/* All of it is its own, as bubblewrap makes it. */
static void check_cell(void)
{
	CHECK(mounted("/", "rw,nosuid,nodev,relatime", "- tmpfs") && has_text("/file", "in the cell"));
	CHECK(mounted("/usr", "ro,nosuid,nodev,relatime", "/var/unit-tmp ") &&
	      has_text("/usr/private", "private"));
	CHECK(access("/old", F_OK) == 0 && access("/var", F_OK) < 0 && umount("/usr") == 0);
	CHECK(access("/usr/private", F_OK) < 0);
}

static void cell(void)
{
	leave();
	CHECK(mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, NULL) == 0 &&
	      chdir("/tmp") == 0);
	put_text("file", "in the cell");
	make("usr");
	make("old");
	make("proc");
	CHECK(mount("/var/unit-tmp", "usr", NULL, MS_BIND, NULL) == 0);
	CHECK(mount(NULL, "usr", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV,
		    NULL) == 0);
	CHECK(mount("/proc", "proc", NULL, MS_BIND | MS_REC, NULL) == 0);
	CHECK(syscall(SYS_pivot_root, ".", "old") == 0 && chdir("/") == 0 &&
	      umount2("/old", MNT_DETACH) == 0);
	crew_serve(check_cell);
}

static void check_jail(void)
{
	char text[64];

	CHECK(getcwd(text, sizeof(text)) && strcmp(text, "/sub") == 0);
	CHECK(access("/sub", F_OK) == 0 && access("/test", F_OK) < 0);
}

static void jail(void)
{
	make("/var/jail");
	make("/var/jail/sub");
	CHECK(chroot("/var/jail") == 0 && chdir("/sub") == 0);
	crew_serve(check_jail);
}

static int mem_fd;

static void set_up(void)
{
	struct timespec ts[2] = { { 1111111111, 5 }, { 1222222222, 7 } };
	int fd;

	umask(0);
	make("/home");
	make("/var/unit-tmp");
	put_text("/var/unit-tmp/private", "private");
	make("/run/hidden");
	make("/run/propagated");
	/* A tmpfs with all that one can hold, on a place that a second one covers later. */
	make("/var/mem");
	CHECK(mount("mem", "/var/mem", "tmpfs", MS_NODEV | MS_NOEXEC,
		    "size=4m,nr_inodes=100,mode=751,uid=7,gid=8") == 0);
	put_text("/var/mem/one", "names");
	CHECK(link("/var/mem/one", "/var/mem/two") == 0);
	CHECK(setxattr("/var/mem/one", "user.key", "value", 5, 0) == 0);
	CHECK(setxattr("/var/mem/one", "security.capability",
		       "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0) == 0);
	CHECK(setxattr("/var/mem/one", "system.posix_acl_access",
		       "\2\0\0\0\1\0\6\0\xff\xff\xff\xff\2\0\4\0\x64\0\0\0\4\0\4\0\xff\xff\xff\xff"
		       "\x10\0\4\0\xff\xff\xff\xff\x20\0\4\0\xff\xff\xff\xff",
		       44, 0) == 0);
	CHECK(mknod("/var/mem/whiteout", S_IFCHR, 0) == 0 &&
	      mknod("/var/mem/socket", S_IFSOCK | 0640, 0) == 0);
	make("/var/mem/sub");
	put_text("/var/mem/sub/file", "deep");
	make("/var/mem/sub/cover");
	put_text("/var/mem/sub/cover/below", "covered");
	CHECK(utimensat(AT_FDCWD, "/var/mem/sub", ts, 0) == 0 &&
	      utimensat(AT_FDCWD, "/var/mem/one", ts, 0) == 0);
	CHECK(mount("cover", "/var/mem/sub/cover", "tmpfs", 0, NULL) == 0);
	mem_fd = open("/var/mem/sub/file", O_RDWR);
	/* Parts of file systems elsewhere; a file; one on another. */
	make("/var/part");
	bind("/var/mem/sub", "/var/part", MS_RDONLY);
	put_text("/etc/bound", "");
	CHECK(mount("/var/mem/one", "/etc/bound", NULL, MS_BIND, NULL) == 0);
	make("/var/stack");
	CHECK(mount("low", "/var/stack", "tmpfs", 0, NULL) == 0);
	put_text("/var/stack/low", "low");
	CHECK(mount("high", "/var/stack", "tmpfs", 0, NULL) == 0);
	put_text("/var/stack/high", "high");
	/* An overlay of its own, and terminals of its own. */
	make("/var/mem/up");
	make("/var/mem/work");
	make("/var/over");
	CHECK(mount("over", "/var/over", "overlay", 0,
		    "lowerdir=/etc,upperdir=/var/mem/up,workdir=/var/mem/work,userxattr") == 0);
	put_text("/var/over/new", "in the upper layer");
	make("/var/pts");
	CHECK(mount("devpts", "/var/pts", "devpts", MS_NOSUID,
		    "newinstance,ptmxmode=600,mode=600,gid=9") == 0);
	/* Its own: changed, and taken away. */
	CHECK(mount(NULL, "/dev/shm", NULL, MS_REMOUNT | MS_BIND | MS_NOEXEC | MS_NOSUID | MS_NODEV,
		    NULL) == 0);
	CHECK(umount("/dev/mqueue") == 0 && unlink("/dev/core") == 0 &&
	      symlink("/run/log", "/dev/log") == 0);
	fd = open("/run/file", O_CREAT | O_WRONLY, 0600);
	close(fd);
	/* Shared with the unit. */
	CHECK(mount("prop", "/run/propagated", "tmpfs", 0, NULL) == 0 &&
	      mount(NULL, "/run/propagated", NULL, MS_SHARED, NULL) == 0);
	put_text("/run/propagated/file", "");
	make("/run/propagated/later");
}

static void check_mem(void)
{
	char text[64] = { 0 };
	struct stat st, st2;

	CHECK(mounted("/var/mem", "rw,nodev,noexec,relatime", "size=4096k,nr_inodes=100,mode=751"));
	CHECK(stat("/var/mem", &st) == 0 && st.st_uid == 7 && st.st_gid == 8 &&
	      (st.st_mode & 07777) == 0751);
	CHECK(stat("/var/mem/one", &st) == 0 && stat("/var/mem/two", &st2) == 0 &&
	      st.st_ino == st2.st_ino && st.st_nlink == 2 && st.st_mtim.tv_sec == 1222222222 &&
	      st.st_mtim.tv_nsec == 7);
	CHECK(getxattr("/var/mem/two", "user.key", text, sizeof(text)) == 5 &&
	      memcmp(text, "value", 5) == 0);
	CHECK(getxattr("/var/mem/two", "security.capability", text, sizeof(text)) == 20 &&
	      text[5] == 4);
	CHECK(getxattr("/var/mem/two", "system.posix_acl_access", text, sizeof(text)) == 44 &&
	      text[16] == 0x64);
	CHECK(lstat("/var/mem/whiteout", &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0);
	CHECK(lstat("/var/mem/socket", &st) == 0 && S_ISSOCK(st.st_mode) &&
	      (st.st_mode & 07777) == 0640);
	CHECK(stat("/var/mem/sub", &st) == 0 && st.st_mtim.tv_sec == 1222222222 &&
	      st.st_mtim.tv_nsec == 7);
	CHECK(has_text("/var/mem/sub/file", "deep") && access("/var/mem/sub/cover/below", F_OK) < 0);
	CHECK(pread(mem_fd, text, sizeof(text), 0) == 4 && pwrite(mem_fd, "DEEP", 4, 0) == 4);
	CHECK(has_text("/var/part/file", "DEEP") && mounted("/var/part", "ro,relatime", "/sub "));
	CHECK(has_text("/etc/bound", "names") && same_fs("/etc/bound", "/var/mem") &&
	      has_text("/var/part/cover/below", "covered"));
	CHECK(umount("/var/mem/sub/cover") == 0 && has_text("/var/mem/sub/cover/below", "covered"));
}

static void check(void)
{
	struct stat st;

	check_mem();
	CHECK(has_text("/var/stack/high", "high") && access("/var/stack/low", F_OK) < 0);
	CHECK(umount("/var/stack") == 0 && has_text("/var/stack/low", "low"));
	CHECK(has_text("/var/over/new", "in the upper layer") &&
	      has_text("/var/mem/up/new", "in the upper layer"));
	CHECK(strstr(line_of("/var/over"), "- overlay over ") &&
	      access("/var/over/bound", F_OK) == 0);
	CHECK(mounted("/var/pts", "rw,nosuid,relatime", "ptmxmode=600") &&
	      !same_fs("/var/pts", "/dev/pts"));
	CHECK(stat("/var/pts/ptmx", &st) == 0 && (st.st_mode & 07777) == 0600);
	CHECK(mounted("/dev/shm", "rw,nosuid,nodev,noexec,relatime", "- tmpfs"));
	CHECK(!*line_of("/dev/mqueue") && access("/dev/mqueue", F_OK) == 0);
	CHECK(lstat("/dev/core", &st) < 0 && lstat("/dev/log", &st) == 0 && S_ISLNK(st.st_mode));
	CHECK(stat("/run/file", &st) == 0 && stat("/dev/null", &st) == 0 &&
	      st.st_rdev == makedev(1, 3));
	CHECK(strstr(line_of("/run/propagated"), "shared:"));
}

int main(void)
{
	crew_begin();
	set_up();
	crew_start(unit);
	crew_start(box);
	crew_start(cell);
	crew_start(jail);
	wait_for_restore();
	/* What is mounted in a shared mount now is seen by the unit. */
	CHECK(mount("late", "/run/propagated/later", "tmpfs", 0, NULL) == 0);
	crew_check();
	check();
	return done();
}
