/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_UNIT_STORAGE_PAIR_H
#define TESTS_UNIT_STORAGE_PAIR_H

/* Two directories, one kept like the other; owners differ as on two hosts. Include it after tap.h. */

#include "storage/delta_internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define FROM 700000u
#define TO 900000u

static struct err e;

__attribute__((unused)) static void must(long r)
{
	if (r < 0)
		abort();
}

/* For changes of which many are not possible. */
__attribute__((unused)) static void maybe(long r)
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
	void (*between)(struct pair *p, bool last); /* what the tenant does before a record arrives, or NULL */
};

__attribute__((unused)) static int take(void *ctx, const void *record, size_t len, struct err *err)
{
	struct pair *p = ctx;

	if (len > p->largest)
		p->largest = len;
	if (p->between)
		p->between(p, *(const unsigned char *)record == DELTA_END);
	return storage_receive_put(p->receive, record, len, err);
}

__attribute__((unused)) static int make_dir(int top, const char *name)
{
	mkdirat(top, name, 0700);
	return openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

__attribute__((unused)) static bool watching; /* what is changed is noted, and passes look at that alone */

/* Not every kernel and file system tells. */
__attribute__((unused)) static bool can_watch(void)
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

__attribute__((unused)) static void pair_init(struct pair *p)
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

__attribute__((unused)) static void pair_done(struct pair *p)
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

__attribute__((unused)) static int pass(struct pair *p, uint64_t *mapped, size_t count)
{
	const struct storage_writers w = { .mapped = mapped, .mapped_count = count, .all = true };
	int r;

	e.msg[0] = '\0';
	r = storage_send_pass(p->send, &w, true, &p->pass, &e);
	if (r < 0)
		diag("%s", e.msg);
	return r;
}

__attribute__((unused)) static void put(int dir, const char *path, off_t at, const void *data, size_t len)
{
	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);

	if (fd < 0 || pwrite(fd, data, len, at) != (ssize_t)len)
		abort();
	close(fd);
}

/* ---- comparing ---- */

/* Everything that stat and xattrs tell, contents and which names are one file, as text. */
__attribute__((unused)) static int describe(int top, const char *path, uint32_t base, FILE *out)
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

__attribute__((unused)) static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

__attribute__((unused)) static void describe_all(int top, const char *path, uint32_t base, FILE *out)
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

__attribute__((unused)) static char *tree_text(int top, uint32_t base)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	describe_all(top, ".", base, f);
	fclose(f);
	return text;
}

__attribute__((unused)) static bool is_equal(struct pair *p)
{
	cleanup_free char *a = tree_text(p->from, FROM), *b = tree_text(p->to, TO);
	bool equal = STREQ(a, b);

	if (!equal)
		diag("there:\n%s", a), diag("here:\n%s", b);
	return equal;
}

__attribute__((unused)) static bool is_same_file(int dir, const char *a, const char *b)
{
	struct stat x, y;

	return fstatat(dir, a, &x, 0) == 0 && fstatat(dir, b, &y, 0) == 0 && x.st_ino == y.st_ino;
}

__attribute__((unused)) static bool exists(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

#endif
