/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/path.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* The archives are made by tests/fuzz/make-tar-corpus.py. */

static struct err e;
static char lib[128];

static bool begin(void)
{
	const char *tmp = getenv("TMPDIR");

	if (geteuid() != 0)
		return false;
	snprintf(lib, sizeof(lib), "%s/vps-import-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(lib))
		abort();
	return true;
}

static void end(void)
{
	if (path_remove_tree_at(AT_FDCWD, lib) < 0)
		diag("%s stays behind", lib);
}

static int import(const char *path, const struct storage_template *meta, storage_progress progress,
		  struct storage_template *t)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	memset(&e, 0, sizeof(e));
	memset(t, 0, sizeof(*t));
	if (fd < 0)
		abort();
	return storage_template_import(lib, fd, meta, progress, NULL, t, &e);
}

static int import_corpus(const char *name, struct storage_template *t)
{
	struct storage_template meta = { .name = "x" };
	char path[600], rel[128];

	snprintf(rel, sizeof(rel), "fuzz/corpus/tar/%s", name);
	return import(tap_path(path, rel), &meta, NULL, t);
}

/* What the tree has at `path`: lstat(2) below its root, links followed inside. */
static bool look(const struct storage_template *t, const char *path, struct stat *st)
{
	cleanup_close int root = -EBADF, fd = -EBADF;
	char rootfs[1024];

	root = open(storage_template_rootfs(lib, t, rootfs, sizeof(rootfs)), O_PATH | O_CLOEXEC);
	fd = path_open_in_root(root, path, O_PATH | O_NOFOLLOW, 0);
	return fd >= 0 && fstat(fd, st) == 0;
}

static unsigned count_entries(const char *name)
{
	char path[512];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", lib, name);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n < 2 ? 0 : n - 2;
}

static void check_good(const struct storage_template *t)
{
	struct stat st, other;
	char path[1200], rootfs[1024], value[16];

	eq_str(t->distribution, "tiny", "distribution from os-release");
	eq_str(t->version, "1.0", "version without its quotes");
	eq_str(t->arch, "x86_64", "arch from the init");
	eq_str(t->init, "/sbin/init", "init");
	eq_str(t->stop_signal, "SIGTERM", "the stop signal of an unknown init");
	ok(look(t, "/", &st) && (st.st_mode & 07777) == 0755, "mode of the top");
	ok(look(t, "bin", &st) && S_ISLNK(st.st_mode), "a link stays a link");
	ok(look(t, "usr/bin/through", &st) && st.st_size == 15, "written through it, inside");
	ok(look(t, "usr/bin/hard", &other) && other.st_ino == st.st_ino && st.st_nlink == 2,
	   "hard links stay links");
	ok(look(t, "usr/bin/suid", &st) && (st.st_mode & 07777) == 04755 && st.st_gid == 50,
	   "set-user-id is kept");
	ok(look(t, "home/user", &st) && st.st_uid == 1000 && (st.st_mode & 07777) == 0700 &&
	   st.st_mtime == 1700000000, "owner, mode and time of a directory");
	ok(look(t, "home/user/last", &st) && st.st_uid == 65535, "the last id");
	ok(look(t, "pipe", &st) && S_ISFIFO(st.st_mode), "a named pipe");
	ok(look(t, "absolute", &st), "an absolute name is taken as relative");
	ok(look(t, "grüße", &st), "a name in UTF-8");
	ok(look(t, "dev", &st) && !look(t, "dev/null", &st) && !look(t, "dev/sda", &st),
	   "no device nodes");
	snprintf(path, sizeof(path), "%s/home/user/note",
		 storage_template_rootfs(lib, t, rootfs, sizeof(rootfs)));
	ok(getxattr(path, "user.note", value, sizeof(value)) == 4, "user attributes are kept");
	ok(getxattr(path, "trusted.overlay.opaque", value, sizeof(value)) < 0,
	   "an overlay's notes are not");
}

TEST(good_archive)
{
	struct storage_template t, again, found;
	struct storage_template meta = { .name = "y" };
	char rootfs[1024];

	if (!begin())
		skip("not root");
	if (!ok(import_corpus("good", &t) == 0, "import"))
		diag("%s", e.msg);
	check_good(&t);
	eq_int(storage_template_find(lib, "x", NULL, &found, &e), 0, "it is found");
	eq_str(found.digest, t.digest, "with its digest");
	eq_int(found.size, t.size, "and size");
	/* Through another door the same tree comes out. */
	storage_template_rootfs(lib, &t, rootfs, sizeof(rootfs));
	eq_int(import(rootfs, &meta, NULL, &again), 0, "import of the directory");
	check_good(&again);
	eq_str(again.digest, t.digest, "has the same digest");
	end();
}

static const struct {
	const char *archive;
	int code; /* ERR_OK: it is taken, and harmless */
	const char *says;
} hostile[] = {
	{ "dotdot", ERR_USAGE, "../escaped: leads out of the tree" },
	{ "dotdot-inside", ERR_USAGE, "leads out of the tree" },
	{ "link-then-write", ERR_FAIL, "out/vps-escaped" },
	{ "link-up-then-write", ERR_FAIL, "out/vps-escaped" },
	{ "hard-link-out", ERR_FAIL, "shadow" },
	{ "hard-link-dotdot", ERR_USAGE, "leads out of the tree" },
	{ "hard-link-through-link", ERR_FAIL, "shadow" },
	{ "overwrite-through-link", ERR_OK, NULL },
	{ "fifo-then-write", ERR_OK, NULL },
	{ "owner-too-large", ERR_USAGE, "f: its owner 100000:100000 is past 65535" },
	{ "owner-negative", ERR_USAGE, "f: its owner -5:0 is past 65535" },
	{ "long-name", ERR_USAGE, "the name is too long" },
	{ "long-part", ERR_USAGE, "the name is too long" },
	{ "many-levels", ERR_OK, NULL },
	{ "escape-codes", ERR_USAGE, "an entry with unprintable name: leads out of the tree" },
	{ "dir-for-file", ERR_OK, NULL },
	{ "file-for-dir", ERR_FAIL, "unpack sbin" },
	{ "top-is-file", ERR_USAGE, "the top is not a directory" },
	{ "init-link-out", ERR_USAGE, "the tree has no init" },
	{ "init-is-fifo", ERR_USAGE, "the tree has no init" },
	{ "init-loop", ERR_USAGE, "the tree has no init" },
	{ "os-release-link", ERR_OK, NULL },
	{ "no-init", ERR_USAGE, "the tree has no init" },
	{ "cut", ERR_USAGE, "read the archive: Truncated" },
	{ "huge-size", ERR_USAGE, "f: it is too large" },
};

TEST(hostile_archives)
{
	char before[256] = "", after[256] = "";
	int fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);

	if (!begin())
		skip("not root");
	fd_read_full(fd, before, sizeof(before) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		struct storage_template t;
		unsigned had = count_entries("templates");
		int r = import_corpus(hostile[i].archive, &t);

		eq_int(r < 0 ? e.code : 0, hostile[i].code, "%s: status", hostile[i].archive);
		ok(!hostile[i].says || strstr(e.msg, hostile[i].says), "%s: says %s",
		   hostile[i].archive, r < 0 ? e.msg : "nothing");
		ok(r == 0 || count_entries("templates") == had, "%s: leaves nothing",
		   hostile[i].archive);
		ok(str_is_printable(e.msg), "%s: printable", hostile[i].archive);
		if (r == 0)
			storage_template_remove(lib, "x", NULL, &e);
	}
	ok(access("/tmp/vps-escaped", F_OK) < 0, "nothing was written elsewhere");
	lseek(fd, 0, SEEK_SET);
	fd_read_full(fd, after, sizeof(after) - 1);
	eq_str(after, before, "nothing was overwritten elsewhere");
	close(fd);
	end();
}

TEST(what_a_hostile_archive_leaves_inside)
{
	struct storage_template t;
	struct stat st;

	if (!begin())
		skip("not root");
	eq_int(import_corpus("overwrite-through-link", &t), 0, "file over a link");
	ok(look(&t, "f", &st) && S_ISREG(st.st_mode) && st.st_size == 6, "replaces the link");
	eq_int(import_corpus("fifo-then-write", &t), 0, "file over a pipe");
	ok(look(&t, "f", &st) && S_ISREG(st.st_mode) && st.st_size == 1, "replaces the pipe");
	eq_int(import_corpus("os-release-link", &t), 0, "os-release that leads out");
	eq_str(t.distribution, "unknown", "is not read");
	end();
}

static int cancel(void *ctx, const char *stage, uint64_t done, uint64_t total)
{
	(void)ctx, (void)stage, (void)done, (void)total;
	return 1;
}

TEST(cancelled)
{
	struct storage_template t, meta = { .name = "x" };
	char path[600];

	if (!begin())
		skip("not root");
	eq_int(import(tap_path(path, "fuzz/corpus/tar/good"), &meta, cancel, &t), -ECANCELED,
	       "an archive");
	eq_int(e.code, ERR_CANCELLED, "status");
	eq_int(count_entries("templates"), 0, "leaves nothing");
	eq_int(import(TESTS_DIR, &meta, cancel, &t), -ECANCELED, "a directory");
	eq_int(count_entries("templates"), 0, "leaves nothing");
	ok(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD, "no child is left");
	end();
}

TEST(metadata_from_outside)
{
	static const struct {
		struct storage_template meta;
		const char *says;
	} rows[] = {
		{ { .name = "../x" }, "not a name" },
		{ { .name = "" }, "not a name" },
		{ { .name = "x", .init = "sbin/init" }, "`init`" },
		{ { .name = "x", .stop_signal = "SIGNOT" }, "`stop_signal`" },
		{ { .name = "x", .arch = "x86\narch = y" }, "does not fit on a line" },
		{ { .name = "x", .init = "/sbin/none" }, "init /sbin/none: not an executable" },
		{ { .name = "x", .init = "/etc/os-release" }, "not an executable" },
	};
	struct storage_template t, good = { .name = "x", .init = "/bin/suid --system",
					    .stop_signal = "SIGINT", .version = "7" };
	char path[600];

	if (!begin())
		skip("not root");
	tap_path(path, "fuzz/corpus/tar/good");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		eq_int(import(path, &rows[i].meta, NULL, &t), -EINVAL, "row %zu is refused", i);
		ok(strstr(e.msg, rows[i].says) != NULL, "row %zu: %s", i, e.msg);
	}
	eq_int(count_entries("templates"), 0, "nothing is left");
	eq_int(import(path, &good, NULL, &t), 0, "import");
	eq_str(t.init, "/bin/suid --system", "the init is the caller's");
	eq_str(t.stop_signal, "SIGINT", "the signal is the caller's");
	eq_str(t.version, "7", "the version is the caller's");
	eq_str(t.distribution, "tiny", "what was not given is found out");
	end();
}

/* A directory with what an archive cannot show. */
TEST(directory)
{
	struct storage_template t, meta = { .name = "x", .init = "/init" };
	char src[256], path[600], big[4096];
	struct stat st;
	int fd;

	if (!begin())
		skip("not root");
	snprintf(src, sizeof(src), "%s/src", lib);
	snprintf(path, sizeof(path), "%s/init", src);
	if (mkdir(src, 0711) < 0 || chmod(src, 0711) < 0)
		abort();
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	memset(big, 'x', sizeof(big));
	if (pwrite(fd, big, sizeof(big), 8 << 20) < 0 || ftruncate(fd, 16 << 20) < 0)
		abort();
	close(fd);
	snprintf(path, sizeof(path), "%s/null", src);
	if (mknod(path, S_IFCHR | 0666, makedev(1, 3)) < 0)
		diag("no device node: %m");
	snprintf(path, sizeof(path), "%s/out", src);
	if (symlink("/etc", path) < 0)
		abort();
	if (!ok(import(src, &meta, NULL, &t) == 0, "import"))
		diag("%s", e.msg);
	eq_str(t.arch, "unknown", "an init that is no program");
	ok(look(&t, "/", &st) && (st.st_mode & 07777) == 0711, "mode of the top");
	ok(look(&t, "init", &st) && st.st_size == 16 << 20 && st.st_blocks * 512 < 1 << 20,
	   "holes stay holes");
	ok(look(&t, "out", &st) && S_ISLNK(st.st_mode), "a link is not followed");
	ok(!look(&t, "null", &st), "no device nodes");
	snprintf(path, sizeof(path), "%s/out", src);
	if (lchown(path, 70000, 0) < 0)
		abort();
	eq_int(import(src, &meta, NULL, &t), -EINVAL, "an owner past 65535");
	eq_str(e.msg, "out: its owner 70000:0 is past 65535", "is named");
	end();
}

/* With the state root on a tmpfs of these options; 0 when the import says that there is no room. */
static int import_on_tmpfs(const char *options, unsigned long flags)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct storage_template t;

		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("tmpfs", lib, "tmpfs", flags, options) < 0)
			_exit(100);
		if (import_corpus("good", &t) == 0)
			_exit(1);
		diag("%s", e.msg);
		_exit(e.code == ERR_NOSPACE && count_entries("templates") == 0 ? 0 : 2);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return 101;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 102;
}

TEST(no_space)
{
	if (!begin())
		skip("not root");
	eq_int(import_on_tmpfs("size=32k", 0), 0, "no blocks");
	eq_int(import_on_tmpfs("nr_inodes=12", 0), 0, "no inodes");
	eq_int(import_on_tmpfs("size=1m", MS_RDONLY), 0, "read-only");
	end();
}

TEST(not_an_archive)
{
	struct storage_template t, meta = { .name = "x" };

	if (!begin())
		skip("not root");
	eq_int(import("/etc/passwd", &meta, NULL, &t), -EINVAL, "a text");
	eq_int(e.code, ERR_USAGE, "status");
	eq_int(import("/dev/null", &meta, NULL, &t), -EINVAL, "nothing at all");
	ok(strstr(e.msg, "no init") != NULL, "%s", e.msg);
	end();
}
