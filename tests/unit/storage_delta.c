/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "tests/unit/storage_pair.h"

#include <sys/resource.h>

static int truncate_at(int dir, const char *name, off_t size)
{
	cleanup_close int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -1 : ftruncate(fd, size);
}

TEST(every_kind) {
	static const unsigned char caps[24] = { 0, 0, 0, 3, 0, 4, 0, 0, [20] = 0x60, 0xae, 0x0a, 0 };
	static const unsigned char acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255,
					     2, 0, 4, 0, 0x48, 0xb2, 0x0a, 0, /* FROM + 1000 */
					     4, 0, 4, 0, 255, 255, 255, 255,
					     16, 0, 4, 0, 255, 255, 255, 255,
					     32, 0, 4, 0, 255, 255, 255, 255 };
	unsigned char got[64];
	char path[64];
	struct stat st;
	struct pair p;
	uint32_t id;

	if (geteuid() != 0)
		skip("only root may change owners");
	pair_init(&p);
	mkdirat(p.from, "dir", 02755);
	put(p.from, "dir/file", 0, "hello", 5);
	must(fchownat(p.from, "dir/file", FROM + 33, FROM + 65535, 0));
	must(fchmodat(p.from, "dir/file", 06711, 0));
	must(linkat(p.from, "dir/file", p.from, "other", 0));
	put(p.from, "sparse", 300 << 20, "end", 3);
	put(p.from, "sparse", 70000, "middle", 6);
	must(symlinkat("../../etc/passwd", p.from, "link"));
	must(fchownat(p.from, "link", FROM, FROM, AT_SYMLINK_NOFOLLOW));
	mkfifoat(p.from, "pipe", 0622);
	mknodat(p.from, "socket", S_IFSOCK | 0755, 0);
	mknodat(p.from, "gone", S_IFCHR, makedev(0, 0));
	mknodat(p.from, "dir/null", S_IFCHR | 0666, makedev(1, 3));
	put(p.from, "foreign", 0, "x", 1); /* the host's root is nobody inside */
	put(p.from, "caps", 0, "x", 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/", p.from);
	for (int i = 0; i < 3; i++) {
		char file[128];

		snprintf(file, sizeof(file), "%s%s", path, (const char *[]){ "dir", "caps", "caps" }[i]);
		if (i == 0) {
			setxattr(file, "trusted.overlay.opaque", "y", 1, 0);
			setxattr(file, "trusted.overlay.redirect", "/usr/share", 10, 0);
			setxattr(file, "trusted.overlay.origin", "handle", 6, 0);
		} else if (i == 1) {
			setxattr(file, "user.note", "text", 4, 0);
			must(fchownat(p.from, "caps", FROM, FROM, 0));
			ok(setxattr(file, "security.capability", caps, sizeof(caps), 0) == 0,
			   "a file has capabilities");
		} else {
			ok(setxattr(file, "system.posix_acl_access", acl, sizeof(acl), 0) == 0,
			   "a file has an ACL");
		}
	}
	must(fchownat(p.from, "dir", FROM + 3, FROM + 4, 0));
	must(fchownat(p.from, ".", FROM, FROM, 0));
	utimensat(p.from, "dir", (struct timespec[]){ { 1, 2 }, { 3, 4 } }, 0);
	utimensat(p.from, "link", (struct timespec[]){ { 1, 2 }, { 5, 6 } }, AT_SYMLINK_NOFOLLOW);

	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	eq_int(p.pass.left_out, 1, "a device node is left out");
	ok(!exists(p.to, "dir/null"), "a device node is not made");
	ok(is_same_file(p.to, "dir/file", "other"), "a hard link is one");
	eq_int(fstatat(p.to, "sparse", &st, 0), 0, "a sparse file");
	ok(st.st_size == (300 << 20) + 3 && st.st_blocks < 1024, "has its holes");
	ok(fstatat(p.to, "gone", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) &&
	   st.st_rdev == 0, "a whiteout is one");
	eq_int(fstatat(p.to, "foreign", &st, 0), 0, "a file of nobody's");
	eq_int(st.st_uid, TO + 65534, "a file of nobody's stays so");
	snprintf(path, sizeof(path), "/proc/self/fd/%d/caps", p.to);
	eq_int(getxattr(path, "security.capability", got, sizeof(got)), 24, "capabilities came");
	memcpy(&id, got + 20, 4);
	eq_int(id, TO, "they are those of the new range's root");
	eq_int(getxattr(path, "system.posix_acl_access", got, sizeof(got)), sizeof(acl), "an ACL came");
	memcpy(&id, got + 16, 4);
	eq_int(id, TO + 1000, "its user is the new range's");
	snprintf(path, sizeof(path), "/proc/self/fd/%d/dir", p.to);
	eq_int(getxattr(path, "trusted.overlay.opaque", got, 1), 1, "an opaque directory");
	eq_int(getxattr(path, "trusted.overlay.redirect", got, 64), 10, "a redirected directory");
	ok(getxattr(path, "trusted.overlay.origin", got, 64) < 0, "no file handle of another host");
	/* What differs by intent goes; all else is the same. */
	unlinkat(p.from, "dir/null", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/dir", p.from);
	removexattr(path, "trusted.overlay.origin");
	utimensat(p.from, "dir", (struct timespec[]){ { 1, 2 }, { 3, 4 } }, 0);
	eq_int(pass(&p, NULL, 0), 0, "a second pass");
	ok(is_equal(&p), "both trees are the same");
	ok(p.largest <= STORAGE_RECORD_MAX, "records are bounded");
	pair_done(&p);
}

TEST(a_second_pass_sends_the_difference) {
	static char big[8 << 20];
	struct timespec tick = { 0, 50000000 };
	struct pair p;
	int fd;

	pair_init(&p);
	memset(big, 'x', sizeof(big));
	put(p.from, "big", 0, big, sizeof(big));
	mkdirat(p.from, "a", 0755);
	put(p.from, "a/one", 0, "1", 1);
	put(p.from, "a/two", 0, "2", 1);
	nanosleep(&tick, NULL); /* past the clock's tick, within which changes cannot be told */
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	eq_int(p.pass.bytes, sizeof(big) + 2, "all is sent");
	eq_int(pass(&p, NULL, 0), 0, "a second one");
	eq_int(p.pass.changed, 0, "nothing was changed, nothing is told");
	put(p.from, "big", 5 << 20, "y", 1);
	renameat(p.from, "a", p.from, "b");
	eq_int(pass(&p, NULL, 0), 0, "a third one");
	ok(p.pass.bytes <= 65536, "of a large file a block is sent (%lu bytes)",
	   (unsigned long)p.pass.bytes);
	ok(is_equal(&p), "both trees are the same");
	ok(exists(p.to, "b/two") && !exists(p.to, "a"), "a renamed directory moved");
	fd = openat(p.from, "big", O_RDWR | O_CLOEXEC);
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4 << 20);
	close(fd);
	eq_int(pass(&p, NULL, 0), 0, "a fourth one");
	eq_int(p.pass.bytes, 0, "a hole is no data");
	ok(is_equal(&p), "both trees are the same");
	pair_done(&p);
}

static long peak_kib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

TEST(a_size_that_costs_nothing) {
	const off_t huge = (off_t)8 << 40;
	struct pair p;
	struct stat st;
	long before;

	pair_init(&p);
	put(p.from, "huge", 100 << 20, "middle", 6);
	if (truncate_at(p.from, "huge", huge) < 0)
		skip("no file of 8 TiB here: %s", strerror(errno));
	before = peak_kib();
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	ok(p.pass.bytes <= 65536, "a block is sent (%lu bytes)", (unsigned long)p.pass.bytes);
	put(p.from, "huge", huge - 3, "end", 3);
	put(p.from, "huge", 5 << 20, "more", 4);
	eq_int(pass(&p, NULL, 0), 0, "a second one");
	ok(p.pass.bytes <= 2 * 65536, "two are (%lu bytes)", (unsigned long)p.pass.bytes);
	ok(fstatat(p.to, "huge", &st, 0) == 0 && st.st_size == huge && st.st_blocks < 1024, "it is as large there");
	must(truncate_at(p.from, "huge", 101 << 20));
	must(truncate_at(p.from, "huge", huge));
	eq_int(pass(&p, NULL, 0), 0, "a third one");
	ok(p.pass.bytes == 0, "what was cut off is a hole now");
	must(truncate_at(p.from, "huge", 200 << 20)); /* to be compared */
	eq_int(pass(&p, NULL, 0), 0, "a fourth one");
	ok(is_equal(&p), "both trees are the same");
	ok(peak_kib() - before < 200 * 1024, "no memory went by its size (%ld KiB)", peak_kib() - before);
	pair_done(&p);
}

TEST(names_that_change_hands) {
	struct pair p;

	pair_init(&p);
	put(p.from, "a", 0, "of a", 4);
	put(p.from, "b", 0, "of b, longer", 12);
	mkdirat(p.from, "d", 0700);
	mkdirat(p.from, "d/d", 0700);
	put(p.from, "d/d/x", 0, "deep", 4);
	must(linkat(p.from, "d/d/x", p.from, "y", 0));
	must(symlinkat("d", p.from, "s"));
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	eq_int(renameat2(p.from, "a", p.from, "b", RENAME_EXCHANGE), 0, "two files swap names");
	eq_int(renameat2(p.from, "s", p.from, "d", RENAME_EXCHANGE), 0,
	       "a link and a directory swap names");
	unlinkat(p.from, "y", 0);
	mkdirat(p.from, "y", 0700);
	renameat(p.from, "s/d/x", p.from, "y/x");
	eq_int(pass(&p, NULL, 0), 0, "a second pass");
	eq_int(p.pass.bytes, 0, "no contents are sent again");
	ok(is_equal(&p), "both trees are the same");
	unlinkat(p.from, "y/x", 0);
	unlinkat(p.from, "y", AT_REMOVEDIR);
	put(p.from, "y", 0, "a file now", 10);
	eq_int(pass(&p, NULL, 0), 0, "a third pass");
	ok(is_equal(&p), "both trees are the same");
	pair_done(&p);
}

/* The second write through a mapping to a page that is dirty already leaves no trace in stat(2). */
TEST(mapped_files) {
	struct timespec tick = { 0, 50000000 };
	struct stat before, after;
	uint64_t ino;
	struct pair p;
	char *map;
	int fd;

	pair_init(&p);
	put(p.from, "m", 0, "0123456789", 10);
	fd = openat(p.from, "m", O_RDWR | O_CLOEXEC);
	map = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	map[0] = 'a';
	nanosleep(&tick, NULL);
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	fstat(fd, &before);
	map[1] = 'b';
	fstat(fd, &after);
	ino = after.st_ino;
	if (after.st_ctim.tv_nsec == before.st_ctim.tv_nsec) {
		eq_int(pass(&p, NULL, 0), 0, "a pass that is not told");
		eq_int(p.pass.bytes, 0, "it does not see the write");
	}
	eq_int(pass(&p, &ino, 1), 0, "a pass that is told what is mapped");
	ok(is_equal(&p), "it sees the write");
	munmap(map, 10);
	close(fd);
	pair_done(&p);
}

static void written_before_it_is_unmapped(bool whole)
{
	struct storage_writers w = { .all = !whole };
	struct timespec tick = { 0, 50000000 };
	struct pair p;
	struct stat st;
	uint64_t ino;
	char *map;
	int fd;

	pair_init(&p);
	put(p.from, "m", 0, "0123456789", 10);
	fd = openat(p.from, "m", O_RDWR | O_CLOEXEC);
	must(fstat(fd, &st));
	ino = st.st_ino;
	map = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	map[0] = 'a';
	nanosleep(&tick, NULL);
	w.mapped = &ino;
	w.mapped_count = 1;
	for (int i = 0; i < 2; i++)
		eq_int(storage_send_pass(p.send, &w, false, &p.pass, &e), 0, "a pass that is told what is mapped");
	eq_int(p.pass.bytes, 0, "does not read it again as long as it is");
	map[1] = 'b';
	munmap(map, 10);
	w.mapped_count = 0;
	eq_int(storage_send_pass(p.send, &w, true, &p.pass, &e), 0, "the last pass, when it is mapped no more");
	ok(is_equal(&p), "sees the write");
	pair_done(&p);
}

TEST(a_mapping_that_is_gone) {
	written_before_it_is_unmapped(true);
	watching = can_watch();
	written_before_it_is_unmapped(true);
	written_before_it_is_unmapped(false);
	watching = false;
}

/* ---- on the disk ---- */

/* What is there afterwards nobody can see; that all that was given is waited for, and that it ends, one can. */
TEST(durable) {
	struct pair p;
	char name[16];

	pair_init(&p);
	storage_receive_durable(p.receive);
	eq_int(storage_receive_settle(p.receive, 0, &e), 0, "nothing has come");
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		put(p.from, name, 0, "data", 4);
	}
	eq_int(storage_send_pass(p.send, NULL, true, &p.pass, &e), 0, "more files than are open at a time");
	eq_int(storage_receive_settle(p.receive, 60000, &e), 0, "all are on the disk");
	ok(is_equal(&p), "and as they were");
	pair_done(&p);
	pair_init(&p);
	storage_receive_durable(p.receive);
	put(p.from, "f", 0, "data", 4);
	eq_int(storage_send_pass(p.send, NULL, true, &p.pass, &e), 0, "a pass");
	pair_done(&p);
	ok(1, "whoever does not wait is not hindered");
}

/* ---- a hostile peer ---- */

static int say(struct pair *p, enum delta_op op, const char *path, mode_t mode, const char *target)
{
	struct delta_record *rec = calloc(1, sizeof(*rec));
	struct buf b = { 0 };
	int r;

	rec->op = op;
	rec->attr.mode = mode;
	rec->data = "evil";
	rec->data_len = 4;
	snprintf(rec->path, sizeof(rec->path), "%s", path);
	snprintf(rec->target, sizeof(rec->target), "%s", target ? target : "");
	snprintf(rec->attr.target, sizeof(rec->attr.target), "%s", target ? target : "");
	if (op == DELTA_ATTR && S_ISLNK(mode) == 0)
		rec->attr.target[0] = '\0';
	delta_encode(rec, &b);
	r = storage_receive_put(p->receive, b.data, b.len, &e);
	buf_done(&b);
	free(rec);
	return r;
}

TEST(hostile_records) {
	struct stat st;
	struct pair p;

	pair_init(&p);
	put(p.top, "victim", 0, "fine", 4);
	must(fchmodat(p.top, "victim", 0644, 0));
	ok(say(&p, DELTA_FILE, "../x", S_IFREG, NULL) < 0, "no way up");
	ok(say(&p, DELTA_FILE, "/x", S_IFREG, NULL) < 0, "no absolute path");
	ok(say(&p, DELTA_FILE, "a//x", S_IFREG, NULL) < 0, "no empty name");
	ok(say(&p, DELTA_RMDIR, "", 0, NULL) < 0, "the top stays");
	eq_int(say(&p, DELTA_NODE, "l", S_IFLNK, "../victim"), 0, "a link out of the tree");
	eq_int(say(&p, DELTA_NODE, "d", S_IFLNK, ".."), 0, "a link up");
	ok(say(&p, DELTA_DATA, "l", 0, NULL) < 0, "is not written through");
	ok(say(&p, DELTA_ATTR, "l", S_IFREG | 0777, NULL) < 0, "nor changed through as a file");
	ok(say(&p, DELTA_ATTR, "l", S_IFIFO | 0777, NULL) < 0, "nor as a pipe");
	ok(say(&p, DELTA_FILE, "d/new", S_IFREG, NULL) < 0, "nor gone through");
	ok(say(&p, DELTA_LINK, "copy", 0, "d/victim") < 0, "nor linked through");
	ok(say(&p, DELTA_PARK, "d/victim", 0, NULL) < 0, "nor moved through");
	ok(say(&p, DELTA_REMOVE, "d/victim", 0, NULL) < 0, "nor removed through");
	ok(say(&p, DELTA_NODE, "n", S_IFBLK, NULL) < 0, "no block device");
	ok(fstatat(p.top, "victim", &st, 0) == 0 && st.st_size == 4 && (st.st_mode & 0777) == 0644,
	   "what lies outside is as it was");
	ok(storage_receive_put(p.receive, "", 0, &e) < 0, "an empty record");
	ok(!storage_receive_is_whole(p.receive), "a pass without its end is not whole");
	pair_done(&p);
}
