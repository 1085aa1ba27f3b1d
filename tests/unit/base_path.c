/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/path.h"

#include "base/macro.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char top[64];
static int topfd = -EBADF;

static bool fresh(void)
{
	if (topfd >= 0)
		close(topfd);
	snprintf(top, sizeof(top), "/tmp/vps-path-XXXXXX");
	if (!mkdtemp(top))
		return ok(false, "a directory");
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return topfd >= 0;
}

static void put(const char *path, const char *text)
{
	cleanup_close int fd = openat(topfd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		ok(false, "write %s", path);
}

static int remove_top(void)
{
	int r = path_remove_tree_at(AT_FDCWD, top);

	return r == 0 && access(top, F_OK) == 0 ? -EEXIST : r;
}

/* The first bytes of what the path opens, or "" and the error in *ret. */
static const char *content(int rootfd, const char *path, int *ret)
{
	static char buf[64];
	cleanup_close int fd = path_open_in_root(rootfd, path, O_RDONLY, 0);
	ssize_t n;

	*ret = fd < 0 ? fd : 0;
	n = fd < 0 ? 0 : read(fd, buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

TEST(in_root)
{
	cleanup_close int root = -EBADF, fd = -EBADF;
	int r;

	if (!fresh())
		return;
	mkdirat(topfd, "root", 0755);
	mkdirat(topfd, "root/etc", 0755);
	put("secret", "outside");
	put("root/secret", "inside");
	root = openat(topfd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	eq_int(symlinkat("../../../../../../secret", root, "etc/up"), 0, "a link far upwards");
	eq_int(symlinkat("/secret", root, "etc/absolute"), 0, "an absolute one");
	eq_int(symlinkat("/proc/self/fd/0", root, "etc/magic"), 0, "and one into /proc");
	eq_str(content(root, "etc/up", &r), "inside", "`..` stops at the root");
	eq_str(content(root, "/etc/absolute", &r), "inside", "/ is the root");
	eq_str(content(root, "../secret", &r), "inside", "also in the path itself");
	content(root, "etc/magic", &r);
	eq_int(r, -ENOENT, "/proc of the host is not reached");
	fd = path_open_in_root(root, "secret", O_RDONLY, 0);
	ok(fcntl(fd, F_GETFD) & FD_CLOEXEC, "close-on-exec");
	eq_int(path_open_no_links(root, "etc/absolute", O_RDONLY, 0, false), -ELOOP,
	       "no_links refuses a link");
	eq_int(symlinkat("etc", root, "link"), 0, "a link to a directory");
	eq_int(path_open_no_links(root, "link/up", O_RDONLY | O_NOFOLLOW, 0, false), -ELOOP,
	       "anywhere in the path");
	eq_int(remove_top(), 0, "removed");
}

TEST(magic_links)
{
	cleanup_close int proc = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	eq_int(path_open_in_root(proc, "root", O_RDONLY, 0), -ELOOP, "/proc/self/root");
	eq_int(path_open_in_root(proc, "exe", O_RDONLY, 0), -ELOOP, "/proc/self/exe");
	eq_int(path_open_in_root(proc, "fd/0", O_RDONLY, 0), -ELOOP, "/proc/self/fd/0");
}

TEST(mkdirs)
{
	struct stat st;

	if (!fresh())
		return;
	eq_int(path_mkdirs_at(topfd, "a/b/c", 0750), 0, "three levels");
	eq_int(path_mkdirs_at(topfd, "a/b/c", 0750), 0, "are there the second time");
	eq_int(path_mkdirs_at(topfd, "a//b/d/", 0750), 0, "with slashes to spare");
	ok(fstatat(topfd, "a/b/d", &st, 0) == 0 && S_ISDIR(st.st_mode), "made");
	put("a/file", "");
	eq_int(path_mkdirs_at(topfd, "a/file", 0750), -ENOTDIR, "a file at the end");
	ok(path_mkdirs_at(topfd, "a/file/x", 0750) < 0, "a file in the way");
	ok(path_mkdirs_at(topfd, "", 0750) < 0, "no path");
	eq_int(remove_top(), 0, "removed");
}

TEST(remove_spares_what_links_lead_to)
{
	struct stat st;

	if (!fresh())
		return;
	mkdirat(topfd, "keep", 0755);
	put("keep/file", "x");
	mkdirat(topfd, "tree", 0755);
	eq_int(symlinkat("../keep", topfd, "tree/link"), 0, "a link to a directory outside");
	eq_int(symlinkat("keep", topfd, "alias"), 0, "the tree itself may be one");
	eq_int(path_remove_tree_at(topfd, "tree"), 0, "removed");
	eq_int(path_remove_tree_at(topfd, "alias"), 0, "the link removed");
	ok(fstatat(topfd, "keep/file", &st, 0) == 0, "what they led to is there");
	eq_int(path_remove_tree_at(topfd, "absent"), 0, "nothing to remove is no error");
	eq_int(remove_top(), 0, "removed");
}

TEST(remove_deep)
{
	cleanup_close int at = -EBADF;
	struct stat st;
	int depth;

	if (!fresh())
		return;
	mkdirat(topfd, "deep", 0755);
	at = openat(topfd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (depth = 0; depth < 3000; depth++) {
		int next;

		if (mkdirat(at, "d", 0755) < 0)
			break;
		next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	eq_int(depth, 3000, "3000 directories in one another");
	eq_int(path_remove_tree_at(topfd, "deep"), 0, "removed");
	ok(fstatat(topfd, "deep", &st, 0) < 0 && errno == ENOENT, "it is gone");
	eq_int(remove_top(), 0, "removed");
}

TEST(remove_stays_on_its_mount)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip("needs root");
	if (!fresh())
		return;
	path_mkdirs_at(topfd, "tree/mnt", 0755);
	pid = fork();
	if (pid == 0) {
		struct stat st;
		char path[128];
		int fd;

		snprintf(path, sizeof(path), "%s/tree/mnt", top);
		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("none", path, "tmpfs", 0, NULL) < 0)
			_exit(2);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(openat(fd, "precious", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
		if (path_remove_tree_at(topfd, "tree") != -EBUSY)
			_exit(3);
		_exit(fstatat(fd, "precious", &st, 0) == 0 ? 0 : 4);
	}
	waitpid(pid, &status, 0);
	eq_int(status, 0, "a mounted file system is refused, its files are there");
	eq_int(remove_top(), 0, "removed");
}

TEST(remove_while_it_grows)
{
	cleanup_close int busy = -EBADF;
	int status, grows[2];
	char byte;
	pid_t pid;

	if (!fresh() || pipe(grows) < 0)
		return;
	mkdirat(topfd, "busy", 0755);
	busy = openat(topfd, "busy", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid = fork();
	if (pid == 0) {
		for (unsigned i = 0; i < 2000; i++) {
			char name[32];

			snprintf(name, sizeof(name), "%u", i);
			if (mkdirat(busy, name, 0755) < 0)
				_exit(errno == ENOENT ? 0 : 1); /* the directory has gone */
			if (i == 50 && write(grows[1], "", 1) < 0)
				_exit(2);
		}
		_exit(0);
	}
	close(grows[1]);
	eq_int(read(grows[0], &byte, 1), 1, "it grows");
	close(grows[0]);
	while (path_remove_tree_at(topfd, "busy") == -ENOTEMPTY)
		;
	waitpid(pid, &status, 0);
	eq_int(status, 0, "the other could go on until the end");
	eq_int(path_remove_tree_at(topfd, "busy"), 0, "removed");
	eq_int(remove_top(), 0, "removed");
}

TEST(programs)
{
	char buf[4096], dir[4096], small[4];

	eq_int(path_self_dir(dir, sizeof(dir)), 0, "where this program lies");
	ok(strstr(dir, "/tests/unit") != NULL, "%s", dir);
	eq_int(path_program("test_base_path", buf, sizeof(buf)), 0, "a program beside it");
	eq_int(path_program("no-such-program", buf, sizeof(buf)), -ENOENT, "one that is nowhere");
	eq_int(path_program("test_base_path", small, sizeof(small)), -ENAMETOOLONG, "no room");
}
