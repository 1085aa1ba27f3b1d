/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* Real mounts; each test works in a directory of its own that is gone afterwards. */

#define BASE 700000u

struct place {
	char dir[256];
	struct storage_root r;
	int userns;
};

static struct err e;

static int as_root(void)
{
	return geteuid() == 0;
}

static void put(const char *dir, const char *name, const char *text, mode_t mode)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || fd_write_full(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0)
		abort();
	close(fd);
}

static void place_init(struct place *p)
{
	const char *tmp = getenv("TMPDIR");
	char path[512];

	memset(p, 0, sizeof(*p));
	snprintf(p->dir, sizeof(p->dir), "%s/vps-overlay-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(p->dir))
		abort();
	snprintf(p->r.backend, sizeof(p->r.backend), "overlay");
	snprintf(p->r.dir, sizeof(p->r.dir), "%s/root", p->dir);
	snprintf(p->r.lower, sizeof(p->r.lower), "%s/lo:w,er", p->dir);
	p->r.id_base = BASE;
	p->r.id_count = 65536;
	if (mkdir(p->r.lower, 0700) < 0 || chmod(p->r.lower, 0751) < 0)
		abort();
	put(p->r.lower, "hello", "hello\n", 0644);
	put(p->r.lower, "suid", "x", 04755);
	put(p->r.lower, "user", "u", 0600);
	snprintf(path, sizeof(path), "%s/user", p->r.lower);
	if (chown(path, 1000, 1000) < 0)
		abort();
	snprintf(path, sizeof(path), "%s/dir", p->r.lower);
	mkdir(path, 0755);
	put(path, "inner", "inner", 0644);
	p->userns = storage_userns(BASE, 65536, &e);
}

static void place_done(struct place *p)
{
	if (p->userns >= 0)
		close(p->userns);
	if (path_remove_tree_at(AT_FDCWD, p->dir) < 0)
		diag("%s stays behind", p->dir);
}

/* Runs `work` as the tenant's root with `mnt` as its root directory; returns what work returned,
 * 100 and up when the way there failed. */
static int inside(struct place *p, int mnt, int (*work)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(100);
		if (move_mount(mnt, "", AT_FDCWD, p->r.lower, MOVE_MOUNT_F_EMPTY_PATH) < 0)
			_exit(101);
		if (chroot(p->r.lower) < 0 || chdir("/") < 0)
			_exit(102);
		if (setns(p->userns, CLONE_NEWUSER) < 0 || setgid(0) < 0 || setuid(0) < 0)
			_exit(103);
		_exit(work());
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return 104;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 105;
}

static int tenant_work(void)
{
	struct stat st;
	char *text = NULL;

	umask(022);
	if (stat("/hello", &st) < 0 || st.st_uid != 0 || st.st_gid != 0)
		return 1;
	if (stat("/user", &st) < 0 || st.st_uid != 1000 || st.st_gid != 1000)
		return 2;
	if (stat("/", &st) < 0 || st.st_uid != 0 || (st.st_mode & 07777) != 0751)
		return 3;
	if (fd_read_file_at(AT_FDCWD, "/hello", 100, &text, NULL) < 0 || !STREQ(text, "hello\n"))
		return 4;
	free(text);
	put("", "new", "new", 0644);
	if (chown("/new", 1000, 100) < 0 || stat("/new", &st) < 0 || st.st_uid != 1000 ||
	    st.st_gid != 100)
		return 5;
	put("", "mine", "mine", 0644);
	put("", "hello", "copied up", 0644); /* copy-up */
	if (chown("/user", 2000, 65535) < 0 || chown("/suid", 0, 0) < 0 ||
	    chmod("/suid", 04755) < 0)
		return 6;
	if (rename("/dir", "/moved") < 0)
		return 7;
	if (mknod("/null", S_IFCHR | 0666, makedev(1, 3)) == 0)
		return 8;
	if (setxattr("/mine", "trusted.overlay.redirect", "/x", 2, 0) == 0)
		return 9;
	if (setxattr("/mine", "user.note", "x", 1, 0) < 0)
		return 10;
	return 0;
}

static bool owned(struct place *p, const char *path, uid_t uid, gid_t gid)
{
	char full[1024];
	struct stat st;

	snprintf(full, sizeof(full), "%s/upper/%s", p->r.dir, path);
	if (lstat(full, &st) < 0)
		return false;
	if (st.st_uid != uid || st.st_gid != gid)
		diag("%s belongs to %u:%u", path, st.st_uid, st.st_gid);
	return st.st_uid == uid && st.st_gid == gid;
}

static char *mountinfo(void)
{
	char *text = NULL;

	fd_read_file_at(AT_FDCWD, "/proc/self/mountinfo", MIB(4), &text, NULL);
	return text ? text : strdup("?");
}

static void mount_and_use(bool helper)
{
	struct place p;
	char *before, *after;
	struct statvfs sv;
	uint64_t bytes = 0;
	int mnt;

	place_init(&p);
	ok(p.userns >= 0, "a user namespace");
	eq_int(storage_overlay.create(&p.r, &e), 0, "create");
	before = mountinfo();
	mnt = storage_overlay_mount(&p.r, p.userns, helper, NULL, &e);
	if (mnt == -EINVAL && !helper) {
		place_done(&p);
		free(before);
		skip("this kernel takes no detached layers");
	}
	if (!ok(mnt >= 0, "mount"))
		diag("%s", e.msg);
	after = mountinfo();
	/* Others may mount meanwhile; what this made would name the place or the layers. */
	ok(!strstr(after, p.r.dir) && strstr(before, p.r.lower) == NULL &&
		   !strstr(after, p.r.lower),
	   "nothing appears in the caller's mount namespace");
	ok(fcntl(mnt, F_GETFD) & FD_CLOEXEC, "close-on-exec");
	ok(fstatvfs(mnt, &sv) == 0 && (sv.f_flag & ST_NODEV) && !(sv.f_flag & ST_NOSUID),
	   "device files are off, set-user-id is on");
	eq_int(inside(&p, mnt, tenant_work), 0, "the tenant sees its own ids and can write");
	ok(owned(&p, "mine", BASE, BASE), "a created file is root's");
	ok(owned(&p, "hello", BASE, BASE), "a changed file is root's");
	ok(owned(&p, "new", BASE + 1000, BASE + 100), "chown to an ordinary user");
	ok(owned(&p, "user", BASE + 2000, BASE + 65535), "copied up by chown");
	ok(owned(&p, "moved", BASE, BASE), "a directory of the template can be renamed");
	eq_int(storage_overlay.usage(&p.r, &bytes, &e), 0, "usage");
	ok(bytes >= 4096 && bytes < MIB(1), "usage is of the tenant's own files");
	close(mnt);
	eq_int(storage_overlay.destroy(&p.r, &e), 0, "destroy");
	ok(access(p.r.dir, F_OK) < 0, "nothing is left");
	eq_int(storage_overlay.destroy(&p.r, &e), 0, "destroy again");
	free(before);
	free(after);
	place_done(&p);
}

/* What a pass of a migration does to the upper below a mount that has been looked at. */
TEST(changed_below)
{
	cleanup_free char *text = NULL;
	struct place p;
	char upper[600];
	int mnt;

	if (!as_root())
		skip("not root");
	place_init(&p);
	ok(storage_overlay.create(&p.r, &e) == 0, "create");
	mnt = storage_overlay_mount(&p.r, p.userns, true, NULL, &e);
	ok(mnt >= 0 && faccessat(mnt, "fresh", F_OK, 0) < 0 && faccessat(mnt, "dir/inner", F_OK, 0) == 0, "looked at");
	snprintf(upper, sizeof(upper), "%s/upper", p.r.dir);
	put(upper, "fresh", "fresh", 0644);
	put(upper, "hello", "of the upper", 0644);
	snprintf(upper, sizeof(upper), "%s/upper/dir", p.r.dir);
	ok(mkdir(upper, 0755) == 0, "a directory of both layers");
	put(upper, "beside", "beside", 0644);
	eq_int(storage_root_reread(mnt, &e), 0, "it looks again");
	ok(faccessat(mnt, "fresh", F_OK, 0) == 0, "what was not there is");
	ok(fd_read_file_at(mnt, "hello", 100, &text, NULL) == 0 && STREQ(text, "of the upper"),
	   "a file is the upper's");
	ok(faccessat(mnt, "dir/beside", F_OK, 0) == 0 && faccessat(mnt, "dir/inner", F_OK, 0) == 0,
	   "a directory is both's");
	close(mnt);
	place_done(&p);
}

TEST(detached_lower)
{
	if (!as_root())
		skip("not root");
	mount_and_use(false);
}

TEST(helper_namespace)
{
	if (!as_root())
		skip("not root");
	mount_and_use(true);
}

static int file_caps(void)
{
	struct { uint32_t magic, permitted, inheritable, hi[2]; } cap;
	ssize_t n = getxattr("/hello", "security.capability", &cap, sizeof(cap));

	/* As written by setcap(8) in the template: version 2, without a root id. */
	if (n != 20 || (cap.magic & 0xff000000) != 0x02000000 || cap.permitted != 1u << 13)
		return 1;
	put("", "hello", "copied up with its attributes gone", 0644);
	return 0;
}

TEST(file_capabilities)
{
	uint32_t cap[5] = { 0x02000001, 1u << 13, 0, 0, 0 };
	struct place p;
	char path[1024];
	int mnt;

	if (!as_root())
		skip("not root");
	place_init(&p);
	snprintf(path, sizeof(path), "%s/hello", p.r.lower);
	eq_int(setxattr(path, "security.capability", cap, sizeof(cap), 0), 0, "setcap");
	storage_overlay.create(&p.r, &e);
	mnt = storage_overlay.mount(&p.r, p.userns, NULL, &e);
	ok(mnt >= 0, "mount");
	eq_int(inside(&p, mnt, file_caps), 0, "hold inside as they did in the template");
	close(mnt);
	place_done(&p);
}

TEST(ended)
{
	struct place p;
	char path[1024];
	struct stat st;
	int mnt;

	if (!as_root())
		skip("not root");
	place_init(&p);
	storage_overlay.create(&p.r, &e);
	snprintf(path, sizeof(path), "%s/work/work", p.r.dir);
	for (int i = 0; i < 2; i++) {
		mnt = storage_overlay.mount(&p.r, p.userns, NULL, &e);
		ok(mnt >= 0, "mount");
		eq_int(stat(path, &st), 0, "it works in a directory");
		close(mnt);
		storage_overlay.ended(&p.r);
		ok(stat(path, &st) < 0, "which does not wait for the next mount");
	}
	place_done(&p);
}

TEST(already_there)
{
	struct place p;

	if (!as_root())
		skip("not root");
	place_init(&p);
	eq_int(storage_overlay.create(&p.r, &e), 0, "create");
	put(p.r.dir, "upper/precious", "x", 0644);
	eq_int(storage_overlay.create(&p.r, &e), -EEXIST, "create again");
	eq_int(e.code, ERR_EXISTS, "its status");
	ok(owned(&p, "precious", 0, 0), "nothing was touched");
	place_done(&p);
}

TEST(no_template)
{
	struct place p;

	if (!as_root())
		skip("not root");
	place_init(&p);
	snprintf(p.r.lower, sizeof(p.r.lower), "%s/none", p.dir);
	ok(storage_overlay.create(&p.r, &e) < 0, "create fails");
	ok(strstr(e.msg, p.r.lower) != NULL, "and names the tree: %s", e.msg);
	ok(access(p.r.dir, F_OK) < 0, "and leaves nothing");
	place_done(&p);
}

/* Works in a mount namespace of its own with <dir> on a tmpfs of these options. */
static int on_tmpfs(struct place *p, const char *options, int (*work)(struct place *p))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		char dir[300];

		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(100);
		snprintf(dir, sizeof(dir), "%s/small", p->dir);
		if (mkdir(dir, 0755) < 0 || mount("tmpfs", dir, "tmpfs", 0, options) < 0)
			_exit(101);
		snprintf(p->r.dir, sizeof(p->r.dir), "%s/small/root", p->dir);
		_exit(work(p));
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return 104;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 105;
}

static int fails_without_space(struct place *p)
{
	if (storage_overlay.create(&p->r, &e) >= 0)
		return 1;
	diag("%s", e.msg);
	return e.code == ERR_NOSPACE && access(p->r.dir, F_OK) < 0 ? 0 : 2;
}

static int fails_to_mount_full(struct place *p)
{
	char dir[600];
	int i = 0;

	if (storage_overlay.create(&p->r, &e) < 0)
		return 1;
	do
		snprintf(dir, sizeof(dir), "%s/small/%d", p->dir, i++);
	while (mkdir(dir, 0700) == 0);
	if (storage_overlay.mount(&p->r, p->userns, NULL, &e) >= 0)
		return 2;
	diag("%s", e.msg);
	return e.code == ERR_NOSPACE ? 0 : 3;
}

static int fails_to_mount_ro(struct place *p)
{
	char dir[600];

	if (storage_overlay.create(&p->r, &e) < 0)
		return 1;
	snprintf(dir, sizeof(dir), "%s/small", p->dir);
	if (mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return 2;
	if (storage_overlay.mount(&p->r, p->userns, NULL, &e) >= 0)
		return 3;
	diag("%s", e.msg);
	return e.code == ERR_NOSPACE && strstr(e.msg, "read-only") ? 0 : 4;
}

TEST(no_space)
{
	static const struct {
		const char *what, *options;
		int (*work)(struct place *p);
	} rows[] = {
		{ "no inode for the directories", "nr_inodes=3", fails_without_space },
		{ "full when mounted", "nr_inodes=12", fails_to_mount_full },
		{ "read-only when mounted", "size=1m", fails_to_mount_ro },
	};

	if (!as_root())
		skip("not root");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct place p;

		place_init(&p);
		eq_int(on_tmpfs(&p, rows[i].options, rows[i].work), 0, "%s", rows[i].what);
		place_done(&p);
	}
}

TEST(hostile_depth)
{
	struct place p;
	uint64_t bytes = 0, empty = 0;
	int fd;

	if (!as_root())
		skip("not root");
	place_init(&p);
	eq_int(storage_overlay.create(&p.r, &e), 0, "create");
	storage_overlay.usage(&p.r, &empty, &e);
	fd = open(p.r.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 5000; i++) {
		int next;

		if (i == 0)
			next = openat(fd, "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		else if (mkdirat(fd, "d", 0700) < 0)
			break;
		else
			next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = next;
		if (i % 1000 == 999 && symlinkat("/etc", fd, "out") < 0)
			break;
	}
	close(fd);
	eq_int(storage_overlay.usage(&p.r, &bytes, &e), 0, "usage of 5000 levels");
	ok(bytes >= empty + 4999 * 4096, "counts them all");
	eq_int(storage_overlay.destroy(&p.r, &e), 0, "destroy");
	ok(access(p.r.dir, F_OK) < 0, "nothing is left");
	ok(access("/etc/passwd", F_OK) == 0, "and nothing elsewhere was touched");
	place_done(&p);
}

TEST(hard_links_count_once)
{
	struct place p;
	uint64_t one = 0, many = 0;
	char from[1024], to[1024];
	char *big = calloc(1, MIB(1));

	if (!as_root())
		skip("not root");
	place_init(&p);
	storage_overlay.create(&p.r, &e);
	memset(big, 'x', MIB(1) - 1);
	put(p.r.dir, "upper/a", big, 0644);
	free(big);
	storage_overlay.usage(&p.r, &one, &e);
	ok(one >= MIB(1), "the file counts");
	snprintf(from, sizeof(from), "%s/upper/a", p.r.dir);
	for (int i = 0; i < 7; i++) {
		snprintf(to, sizeof(to), "%s/upper/a%d", p.r.dir, i);
		if (link(from, to) < 0)
			abort();
	}
	storage_overlay.usage(&p.r, &many, &e);
	ok(many <= one && many > one - 4096, "once");
	place_done(&p);
}

TEST(userns)
{
	struct stat before, after;
	int fd;

	if (!as_root())
		skip("not root");
	stat("/proc/self/ns/user", &before);
	fd = storage_userns(BASE, 65536, &e);
	ok(fd >= 0 && fstat(fd, &after) == 0 && after.st_ino != before.st_ino, "is another one");
	ok(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD, "its helper has ended");
	close(fd);
	eq_int(storage_userns(0xffffffff, 65536, &e), -EINVAL, "a range past the end");
	eq_int(storage_userns(1000, 0, &e), -EINVAL, "an empty range");
}

TEST(backends)
{
	ok(storage_backend_find("overlay", &e) == &storage_overlay, "overlay is one");
	ok(!storage_backend_find("zfs", &e), "zfs is none");
	eq_int(e.code, ERR_USAGE, "its status");
	ok(strstr(e.hint, "overlay") != NULL, "the hint names those there are");
}
