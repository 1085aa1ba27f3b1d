/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker.h"
#include "supervisor/worker_files.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include "tests/unit/tap.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

bool worker_cancelled(void)
{
	return false;
}

struct lab {
	char dir[64];
	int top, root; /* root is a directory of top: what lies beside it must stay as it is */
};

static void lab_up(struct lab *l)
{
	strcpy(l->dir, "/tmp/vps-files-XXXXXX");
	if (!mkdtemp(l->dir))
		abort();
	l->top = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mkdirat(l->top, "root", 0755);
	mkdirat(l->top, "outside", 0755);
	l->root = openat(l->top, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mkdirat(l->root, "in", 0755);
	if (symlinkat("../../outside", l->root, "in/up") < 0 || symlinkat(l->dir, l->root, "abs") < 0)
		abort();
}

static void lab_down(struct lab *l)
{
	int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	path_remove_tree_at(tmp, l->dir + strlen("/tmp/"));
	close(tmp);
	close(l->root);
	close(l->top);
}

static bool there(int dir, const char *path)
{
	return faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* An archive of one entry; `target` for links, `data` for files. */
static int archive_one(const char *name, mode_t mode, const char *target, const char *data)
{
	struct archive *a = archive_write_new();
	struct archive_entry *en = archive_entry_new();
	int fd = memfd_create("tar", MFD_CLOEXEC);

	archive_write_set_format_pax_restricted(a);
	archive_write_open_fd(a, fd);
	archive_entry_set_pathname(en, name);
	archive_entry_set_mode(en, mode);
	archive_entry_set_uid(en, getuid());
	archive_entry_set_gid(en, getgid());
	archive_entry_set_size(en, data ? (la_int64_t)strlen(data) : 0);
	if (target && S_ISLNK(mode))
		archive_entry_set_symlink(en, target);
	else if (target)
		archive_entry_set_hardlink(en, target);
	archive_write_header(a, en);
	if (data)
		archive_write_data(a, data, strlen(data));
	archive_entry_free(en);
	archive_write_close(a);
	archive_write_free(a);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static int unpack(struct lab *l, const char *path, int fd, struct err *e)
{
	uint64_t bytes;
	int r = files_unpack(l->root, path, fd, &bytes, e);

	close(fd);
	return r;
}

TEST(unpacks)
{
	struct lab l;
	struct err e;

	lab_up(&l);
	ok(unpack(&l, "/in", archive_one("a/b/c", S_IFREG | 0640, NULL, "text"), &e) == 0,
	   "directories are made");
	ok(there(l.root, "in/a/b/c"), "the file is there");
	ok(unpack(&l, "/in", archive_one("link", S_IFLNK | 0777, "/etc/shadow", NULL), &e) == 0 &&
	   there(l.root, "in/link"), "a link is");
	ok(unpack(&l, "/in/", archive_one("a/b/hard", S_IFREG | 0640, "a/b/c", NULL), &e) == 0 &&
	   there(l.root, "in/a/b/hard"), "a second name of a file is");
	ok(unpack(&l, "/", archive_one("top", S_IFDIR | 0711, NULL, NULL), &e) == 0 &&
	   there(l.root, "top"), "a directory below / is");
	ok(unpack(&l, "/nowhere", archive_one("x", S_IFREG, NULL, "x"), &e) < 0, "no directory");
	eq_int(e.code, ERR_NOT_FOUND, "is not found");
	lab_down(&l);
}

TEST(stays_inside)
{
	struct lab l;
	struct err e = { 0 };

	lab_up(&l);
	ok(unpack(&l, "/in", archive_one("../out", S_IFREG, NULL, "x"), &e) < 0, "no .. in a name");
	eq_int(e.code, ERR_USAGE, "as wrong input");
	unpack(&l, "/in", archive_one("up/x", S_IFREG, NULL, "x"), &e);
	unpack(&l, "/abs", archive_one("outside/x", S_IFREG, NULL, "x"), &e);
	unpack(&l, "/in/up", archive_one("y", S_IFREG, NULL, "x"), &e);
	unpack(&l, "/", archive_one("abs/outside/z", S_IFREG, NULL, "x"), &e);
	ok(!there(l.top, "outside/x") && !there(l.top, "outside/y") && !there(l.top, "outside/z"),
	   "links lead nowhere outside");
	/* What is written through must be the file that was made, not one that a link names. */
	ok(symlinkat("../../outside/w", l.root, "in/w") == 0, "a link in the way");
	ok(unpack(&l, "/in", archive_one("w", S_IFREG | 0600, NULL, "x"), &e) == 0, "replaced");
	ok(!there(l.top, "outside/w"), "a link in the way is not written through");
	mkfifoat(l.root, "in/pipe", 0600);
	ok(unpack(&l, "/in", archive_one("pipe", S_IFREG | 0600, NULL, "x"), &e) == 0,
	   "nor is a pipe waited for");
	ok(unpack(&l, "/in", archive_one("null", S_IFCHR | 0666, NULL, NULL), &e) < 0, "no devices");
	lab_down(&l);
}

TEST(garbage)
{
	struct lab l;
	struct err e = { 0 };
	int fd = memfd_create("tar", MFD_CLOEXEC);

	lab_up(&l);
	for (int i = 0; i < 2000; i++)
		if (write(fd, "garbage ", 8) != 8)
			abort();
	lseek(fd, 0, SEEK_SET);
	ok(unpack(&l, "/in", fd, &e) < 0, "no archive");
	eq_int(e.code, ERR_USAGE, "as wrong input");
	lab_down(&l);
}

/* The names in an archive, each followed by a blank. */
static const char *names(int fd)
{
	static char buf[1024];
	struct archive *a = archive_read_new();
	struct archive_entry *en;

	buf[0] = '\0';
	lseek(fd, 0, SEEK_SET);
	archive_read_support_format_tar(a);
	if (archive_read_open_fd(a, fd, 4096) == ARCHIVE_OK)
		while (archive_read_next_header(a, &en) == ARCHIVE_OK) {
			strncat(buf, archive_entry_pathname(en), sizeof(buf) - strlen(buf) - 2);
			strcat(buf, " ");
		}
	archive_read_free(a);
	return buf;
}

static const char *packed(struct lab *l, const char *path, struct err *e)
{
	int fd = memfd_create("tar", MFD_CLOEXEC);
	uint64_t bytes;
	const char *n = "";

	if (files_pack(l->root, path, fd, &bytes, e) == 0)
		n = names(fd);
	close(fd);
	return n;
}

TEST(packs)
{
	struct lab l;
	struct err e = { 0 };
	int fd;

	lab_up(&l);
	fd = openat(l.top, "outside/secret", O_WRONLY | O_CREAT, 0600);
	close(fd);
	fd = openat(l.root, "in/file", O_WRONLY | O_CREAT, 0600);
	close(fd);
	mkfifoat(l.root, "in/pipe", 0600);
	eq_str(packed(&l, "/in/file", &e), "file ", "a file");
	eq_str(packed(&l, "/in/up", &e), "up ", "a link is packed as such");
	ok(strstr(packed(&l, "/in", &e), "in/pipe "), "a pipe is not read");
	ok(!strstr(packed(&l, "/", &e), "secret"), "nothing from outside");
	eq_str(packed(&l, "/in/up/secret", &e), "", "nor through a link");
	eq_int(e.code, ERR_NOT_FOUND, "which is not found");
	eq_str(packed(&l, "/../outside", &e), "", "nor by ..");
	eq_str(packed(&l, "/none", &e), "", "nothing");
	eq_int(e.code, ERR_NOT_FOUND, "is not found");
	lab_down(&l);
}
