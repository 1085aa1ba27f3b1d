/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/delta.h"
#include "storage/delta_internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* Two directories, one kept like the other; owners differ as on two hosts. */

#define FROM 700000u
#define TO 900000u

static struct err e;

static void must(long r)
{
	if (r < 0)
		abort();
}

/* For changes of which many are not possible. */
static void maybe(long r)
{
	(void)r;
}

struct pair {
	char dir[256];
	int top, from, to, limbo;
	struct storage_send *send;
	struct storage_receive *receive;
	struct storage_pass pass;
	size_t largest;
	bool busy; /* the tenant changes something between any two records */
	bool away; /* after the first record of a pass the directory `a` is elsewhere, until it ends */
};

static unsigned any(unsigned below);
static void any_change(int dir);

static int take(void *ctx, const void *record, size_t len, struct err *err)
{
	struct pair *p = ctx;

	if (len > p->largest)
		p->largest = len;
	for (unsigned k = p->busy ? any(4) : 0; k > 0; k--)
		any_change(p->from);
	if (p->away && *(const unsigned char *)record != DELTA_END)
		renameat(p->from, "a", p->from, "elsewhere");
	else if (p->away)
		renameat(p->from, "elsewhere", p->from, "a");
	return storage_receive_put(p->receive, record, len, err);
}

static int make_dir(int top, const char *name)
{
	mkdirat(top, name, 0700);
	return openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool watching; /* what is changed is noted, and passes look at that alone */

/* Not every kernel and file system tells. */
static bool can_watch(void)
{
	const char *tmp = getenv("TMPDIR");
	cleanup_close int top = open(tmp ? tmp : "/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct storage_ids ids = { FROM, 65536 };
	struct storage_send *s;
	int r;

	if (storage_send_new(top, &ids, STORAGE_UPPER, NULL, NULL, &s, &e) < 0)
		abort();
	r = storage_send_watch(s, top, &e);
	storage_send_free(s);
	return r == 0;
}

static void pair_init(struct pair *p)
{
	const char *tmp = getenv("TMPDIR");
	struct storage_ids from = { FROM, 65536 }, to = { TO, 65536 };

	memset(p, 0, sizeof(*p));
	snprintf(p->dir, sizeof(p->dir), "%s/vps-delta-XXXXXX", tmp ? tmp : "/var/tmp");
	if (!mkdtemp(p->dir))
		abort();
	p->top = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p->from = make_dir(p->top, "from");
	p->to = make_dir(p->top, "to");
	p->limbo = make_dir(p->top, "limbo");
	if (storage_send_new(p->from, &from, STORAGE_UPPER, take, p, &p->send, &e) < 0 ||
	    storage_receive_new(p->to, p->limbo, &to, STORAGE_UPPER, &p->receive, &e) < 0)
		abort();
	if (watching && storage_send_watch(p->send, p->top, &e) < 0)
		abort();
}

static void pair_done(struct pair *p)
{
	storage_send_free(p->send);
	storage_receive_free(p->receive);
	close(p->from);
	close(p->to);
	close(p->limbo);
	close(p->top);
	p->top = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (path_remove_tree_at(p->top, p->dir + 1) < 0 || access(p->dir, F_OK) == 0)
		diag("%s stays behind", p->dir);
	close(p->top);
}

static int pass(struct pair *p, uint64_t *mapped, size_t count)
{
	const struct storage_writers w = { .mapped = mapped, .mapped_count = count, .all = true };
	int r;

	e.msg[0] = '\0';
	r = storage_send_pass(p->send, &w, true, &p->pass, &e);
	if (r < 0)
		diag("%s", e.msg);
	return r;
}

static void put(int dir, const char *path, off_t at, const void *data, size_t len)
{
	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);

	if (fd < 0 || pwrite(fd, data, len, at) != (ssize_t)len)
		abort();
	close(fd);
}

/* ---- comparing ---- */

/* Everything that stat and xattrs tell, contents and which names are one file, as text. */
static int describe(int top, const char *path, uint32_t base, FILE *out)
{
	cleanup_close int fd = -EBADF;
	char names[4096], value[4096], full[4200], link[4096] = "", data[8192];
	struct stat st;
	ssize_t n, len;
	unsigned long sum = 5381;

	if (fstatat(top, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	n = readlinkat(top, path, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	/* The host's root is nobody inside. */
	st.st_uid = st.st_uid < base ? 65534 : st.st_uid - base;
	st.st_gid = st.st_gid < base ? 65534 : st.st_gid - base;
	fprintf(out, "%s %o %u:%u %ld %lu %ld.%09ld %s", path, st.st_mode, st.st_uid, st.st_gid,
		S_ISDIR(st.st_mode) ? 0L : (long)st.st_size,
		S_ISDIR(st.st_mode) ? 0UL : (unsigned long)st.st_nlink, (long)st.st_mtim.tv_sec,
		st.st_mtim.tv_nsec, link);
	snprintf(full, sizeof(full), "/proc/self/fd/%d/%s", top, path);
	len = llistxattr(full, names, sizeof(names));
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		n = lgetxattr(full, names + at, value, sizeof(value));
		fprintf(out, " %s=%zd", names + at, n);
		if (strncmp(names + at, "user.", 5) == 0 || strstr(names + at, "overlay"))
			fprintf(out, ":%.*s", (int)n, value);
	}
	if (S_ISREG(st.st_mode)) {
		fd = openat(top, path, O_RDONLY | O_CLOEXEC);
		while ((n = read(fd, data, sizeof(data))) > 0)
			for (ssize_t i = 0; i < n; i++)
				sum = sum * 33 + (unsigned char)data[i];
		fprintf(out, " #%lx", sum);
	}
	fputc('\n', out);
	return S_ISDIR(st.st_mode);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void describe_all(int top, const char *path, uint32_t base, FILE *out)
{
	struct strv names = { 0 };
	struct dirent *d;
	DIR *dir;

	if (describe(top, path, base, out) <= 0)
		return;
	dir = fdopendir(openat(top, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	while ((d = readdir(dir)))
		if (!STREQ(d->d_name, ".") && !STREQ(d->d_name, ".."))
			strv_add(&names, d->d_name);
	closedir(dir);
	if (names.count)
		qsort(names.item, names.count, sizeof(*names.item), by_text);
	for (size_t i = 0; i < names.count; i++) {
		char below[4096];

		snprintf(below, sizeof(below), "%s/%s", path, names.item[i]);
		describe_all(top, below, base, out);
	}
	strv_done(&names);
}

static char *tree_text(int top, uint32_t base)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	describe_all(top, ".", base, f);
	fclose(f);
	return text;
}

static bool is_equal(struct pair *p)
{
	cleanup_free char *a = tree_text(p->from, FROM), *b = tree_text(p->to, TO);
	bool equal = STREQ(a, b);

	if (!equal)
		diag("there:\n%s", a), diag("here:\n%s", b);
	return equal;
}

static bool is_same_file(int dir, const char *a, const char *b)
{
	struct stat x, y;

	return fstatat(dir, a, &x, 0) == 0 && fstatat(dir, b, &y, 0) == 0 && x.st_ino == y.st_ino;
}

static bool exists(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- what there can be ---- */

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

/* ---- anything ---- */

static unsigned long state = 88172645463325252;

static unsigned any(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 33) % below;
}

static void any_path(char buf[64])
{
	static const char *const dirs[] = { "", "p/", "q/", "p/q/", "q/p/", "p/q/r/" };

	snprintf(buf, 64, "%s%c", dirs[any(6)], "abcpqr"[any(6)]);
}

/* Most fail, for want of a directory or because the name is taken: the rest is a busy tenant. */
static void any_change(int dir)
{
	char a[64], b[64], data[300];
	int fd;

	any_path(a);
	any_path(b);
	switch (any(10)) {
	case 0:
	case 1:
		mkdirat(dir, a, 0700 + any(64));
		break;
	case 2:
		renameat(dir, a, dir, b);
		break;
	case 3:
		renameat2(dir, a, dir, b, RENAME_EXCHANGE);
		break;
	case 4:
		maybe(linkat(dir, a, dir, b, 0));
		break;
	case 5:
		if (unlinkat(dir, a, 0) < 0)
			path_remove_tree_at(dir, a);
		break;
	case 6:
		maybe(symlinkat(b, dir, a));
		break;
	default:
		fd = openat(dir, a, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600 + any(64));
		if (fd < 0)
			break;
		memset(data, (int)any(256), sizeof(data));
		if (any(3) == 0)
			maybe(ftruncate(fd, any(200000)));
		maybe(pwrite(fd, data, any(sizeof(data)), any(200000)));
		if (any(3) == 0)
			fsetxattr(fd, "user.x", data, any(9), 0);
		else if (any(3) == 0)
			fremovexattr(fd, "user.x");
		close(fd);
	}
}

static void anything_goes(void)
{
	bool good = true;
	struct pair p;

	pair_init(&p);
	for (int i = 0; i < 150 && good; i++) {
		for (unsigned k = any(30); k > 0; k--)
			any_change(p.from);
		good = pass(&p, NULL, 0) == 0 && is_equal(&p);
	}
	ok(good, "150 passes over a tree that changes in every way, the same after each");
	pair_done(&p);
}

static unsigned long seed_of_run(void)
{
	const char *seed = getenv("VPS_TEST_SEED");

	return seed ? strtoul(seed, NULL, 0) << 16 : 0;
}

static void changes_between_records(void)
{
	bool good = true;
	struct pair p;

	state ^= seed_of_run();
	for (int round = 0; round < 20 && good; round++) {
		pair_init(&p);
		p.busy = true;
		for (int i = 0; i < 20 && good; i++)
			good = storage_send_pass(p.send, NULL, false, &p.pass, &e) == 0;
		if (!good)
			diag("%s", e.msg);
		p.busy = false;
		good = good && pass(&p, NULL, 0) == 0 && is_equal(&p);
		pair_done(&p);
	}
	ok(good, "20 times 20 passes with changes between records, the same after the last");
}

/* The passes before the last run beside the tenant, which has changed something before each. */
static void a_tree_that_changes_meanwhile(void)
{
	unsigned long *changes = mmap(NULL, sizeof(*changes), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r = 0, status;
	struct pair p;
	pid_t pid;

	state ^= seed_of_run();
	pair_init(&p);
	pid = fork();
	if (pid == 0) {
		for (;; __atomic_add_fetch(changes, 1, __ATOMIC_RELAXED))
			any_change(p.from);
	}
	for (int i = 0; i < 100 && r == 0; i++) {
		unsigned long seen = __atomic_load_n(changes, __ATOMIC_RELAXED);

		while (__atomic_load_n(changes, __ATOMIC_RELAXED) - seen < 20)
			sched_yield();
		r = storage_send_pass(p.send, NULL, false, &p.pass, &e);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	eq_int(r, 0, "100 passes beside changes: %s", r < 0 ? e.msg : "");
	eq_int(pass(&p, NULL, 0), 0, "the last pass");
	ok(is_equal(&p), "both trees are the same");
	pair_done(&p);
	munmap(changes, sizeof(*changes));
}

TEST(changes_of_all_kinds) {
	anything_goes();
	changes_between_records();
	a_tree_that_changes_meanwhile();
}

/* ---- passes that look at what was changed ---- */

TEST(changes_of_all_kinds_that_are_noted) {
	if (!can_watch())
		skip("%s", e.msg);
	watching = true;
	anything_goes();
	changes_between_records();
	a_tree_that_changes_meanwhile();
	watching = false;
}

static void watched_init(struct pair *p)
{
	watching = true;
	pair_init(p);
	watching = false;
}

/* Others may change so much on the same file system just then that it cannot all be noted. */
static bool is_part(const struct pair *p)
{
	return p->pass.part != p->pass.lost;
}

TEST(a_part_of_a_large_tree) {
	char name[32];
	struct pair p;

	if (!can_watch())
		skip("%s", e.msg);
	watched_init(&p);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		must(mkdirat(p.from, name, 0755));
		for (int k = 0; k < 50; k++) {
			snprintf(name, sizeof(name), "d%d/f%d", i, k);
			put(p.from, name, 0, name, sizeof(name));
		}
	}
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	ok(!p.pass.part && p.pass.entries == 20 * 51 + 1, "looks at all");
	eq_int(pass(&p, NULL, 0), 0, "a second pass");
	ok(is_part(&p) && (p.pass.lost || p.pass.entries < 3), "looks at nothing");
	put(p.from, "d3/f7", 0, "changed", 7);
	must(renameat(p.from, "d5", p.from, "d4/moved"));
	must(linkat(p.from, "d6/f1", p.from, "d7/g", 0));
	eq_int(pass(&p, NULL, 0), 0, "a third pass");
	ok(is_part(&p) && (p.pass.lost || p.pass.entries < 80), "looks at what was changed (%d entries)", (int)p.pass.entries);
	ok(is_equal(&p), "both trees are the same");
	pair_done(&p);
}

static bool is_there(const struct pair *p, const char *path)
{
	return faccessat(p->to, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A file that was written through by a name that is gone has still another. */
TEST(a_name_that_is_gone) {
	struct stat st;
	struct pair p;
	int fd;

	if (!can_watch())
		skip("%s", e.msg);
	watched_init(&p);
	must(mkdirat(p.from, "gone", 0755));
	put(p.from, "gone/f", 0, "before", 6);
	must(linkat(p.from, "gone/f", p.from, "kept", 0));
	fd = openat(p.from, "gone/f", O_RDWR | O_CLOEXEC);
	must(unlinkat(p.from, "gone/f", 0));
	must(unlinkat(p.from, "gone", AT_REMOVEDIR));
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	must(pwrite(fd, "after!", 6, 0));
	eq_int(pass(&p, NULL, 0), 0, "a second pass");
	ok(is_part(&p) && is_equal(&p), "sees what was written by the other name");
	fstat(fd, &st);
	close(fd);
	pair_done(&p);
}

/* That it went and came changes neither the directory nor what lies in it. */
TEST(a_directory_that_is_away_for_a_moment) {
	struct pair p;

	if (!can_watch()) {
		skip("%s", e.msg);
		return;
	}
	watching = true;
	pair_init(&p);
	watching = false;
	must(mkdirat(p.from, "a", 0755));
	put(p.from, "0", 0, "before", 6);
	put(p.from, "a/f", 0, "before", 6);
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	/* What is changed in a tick of the clock is looked at again in any case. */
	usleep(50000);
	eq_int(pass(&p, NULL, 0), 0, "a second pass");
	put(p.from, "0", 0, "after!", 6);
	put(p.from, "a/f", 0, "after!", 6);
	put(p.from, "a/new", 0, "after!", 6);
	usleep(50000);
	p.away = true;
	eq_int(storage_send_pass(p.send, NULL, false, &p.pass, &e), 0, "a pass that does not meet it");
	p.away = false;
	ok(!is_there(&p, "a/new"), "does not have what is in it");
	eq_int(pass(&p, NULL, 0), 0, "the next pass");
	ok(is_part(&p) && is_equal(&p), "has it");
	pair_done(&p);
}

/* What sendfile(2) writes is told of when the file is closed: one that is open is looked at all the same. */
TEST(files_that_are_open) {
	struct storage_writers w = { .all = true };
	struct pair p;
	struct stat st;
	uint64_t ino;
	int from, to;

	if (!can_watch())
		skip("%s", e.msg);
	watched_init(&p);
	put(p.from, "source", 0, "written by the kernel", 21);
	put(p.from, "target", 0, "", 0);
	from = openat(p.from, "source", O_RDONLY | O_CLOEXEC);
	to = openat(p.from, "target", O_WRONLY | O_CLOEXEC);
	fstat(to, &st);
	ino = st.st_ino;
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	must(sendfile(to, from, NULL, 21));
	w.open = &ino;
	w.open_count = 1;
	eq_int(storage_send_pass(p.send, &w, true, &p.pass, &e), 0, "a pass that is told what is open");
	ok(is_part(&p) && is_equal(&p), "sees it");
	w.all = false;
	eq_int(storage_send_pass(p.send, &w, true, &p.pass, &e), 0, "one that is not told all");
	ok(!p.pass.part && is_equal(&p), "looks at all");
	close(from);
	close(to);
	pair_done(&p);
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
