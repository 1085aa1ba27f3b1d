/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/delta_scan.h"

#include "base/array.h"
#include "base/macro.h"
#include "base/path.h"
#include "storage/catalogue.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#define DELTA_ENTRIES_MAX 16000000u
#define DELTA_NAMES_MAX (2ull << 30) /* bytes of all paths: they are held in memory */

/* Times of change are taken from a clock that ticks every 10 ms at the slowest (CONFIG_HZ=100): what
 * was changed a moment ago may be changed again with no other time. */
#define TICK_NS 20000000

void delta_catalogue_done(struct delta_catalogue *c)
{
	for (size_t i = 0; i < c->count; i++)
		free(c->item[i].path);
	for (size_t i = 0; i < c->files; i++) {
		free(c->file[i]->block);
		free(c->file[i]);
	}
	free(c->item);
	free(c->file);
	free(c->dir);
	*c = (struct delta_catalogue){ 0 };
}

int delta_by_path(const void *a, const void *b)
{
	const struct delta_item *x = a, *y = b;

	return strcmp(x->path, y->path);
}

int delta_by_ino(const void *a, const void *b)
{
	const struct delta_file *x = *(struct delta_file *const *)a;
	const struct delta_file *y = *(struct delta_file *const *)b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->type < y->type ? -1 : x->type > y->type;
}

struct delta_item *delta_find(const struct delta_catalogue *c, const char *path)
{
	struct delta_item key;

	key.path = (char *)(uintptr_t)path; /* only read */
	return c->count ? bsearch(&key, c->item, c->count, sizeof(key), delta_by_path) : NULL;
}

struct delta_item *delta_find_near(const struct delta_catalogue *c, const char *path, size_t *near)
{
	const size_t at[] = { *near + 1, *near - 1, *near };
	struct delta_item *item;

	for (size_t i = 0; i < ARRAY_SIZE(at); i++)
		if (at[i] < c->count && STREQ(c->item[at[i]].path, path)) {
			*near = at[i];
			return &c->item[at[i]];
		}
	item = delta_find(c, path);
	if (item)
		*near = (size_t)(item - c->item);
	return item;
}

struct delta_item *delta_find_above(const struct delta_catalogue *c, const char *path)
{
	char above[DELTA_PATH_MAX + 1];
	const char *slash = strrchr(path, '/');

	snprintf(above, sizeof(above), "%.*s", slash ? (int)(slash - path) : 0, path);
	return delta_find(c, above);
}

struct delta_file *delta_find_file(const struct delta_catalogue *c, uint64_t ino, mode_t mode)
{
	const struct delta_file key = { .ino = ino, .type = mode & S_IFMT }, *k = &key;
	struct delta_file **f;

	f = c->files ? bsearch(&k, c->file, c->files, sizeof(*c->file), delta_by_ino) : NULL;
	return f ? *f : NULL;
}

static bool is_recent(const struct stat *st, const struct timespec *now)
{
	int64_t ns = (int64_t)(now->tv_sec - st->st_ctim.tv_sec) * 1000000000 +
		     (now->tv_nsec - st->st_ctim.tv_nsec);

	return ns < TICK_NS;
}

bool delta_is_gone(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -ENXIO || r == -ESTALE ||
	       r == -EXDEV;
}

static int add_item(struct delta_catalogue *c, const char *path, const struct stat *st,
		    const struct timespec *now)
{
	struct delta_item *item;

	if (array_grow(&c->item, c->count, &c->room, 256) < 0)
		return -ENOMEM;
	item = &c->item[c->count];
	*item = (struct delta_item){ .path = strdup(path), .st = *st, .dirty = is_recent(st, now) };
	c->count += item->path != NULL;
	return item->path ? 0 : -ENOMEM;
}

static bool is_left_out(const struct delta_scan *s, const struct stat *st)
{
	if (S_ISCHR(st->st_mode))
		return s->kind != STORAGE_UPPER || st->st_rdev != makedev(0, 0);
	return S_ISBLK(st->st_mode);
}

int delta_scan_entry(struct delta_scan *s, int dir, const char *above, const char *name, bool may_be_gone,
		     struct err *e)
{
	char path[DELTA_PATH_MAX + 1];
	struct stat st;

	if ((size_t)snprintf(path, sizeof(path), "%s%s%s", above, *above ? "/" : "", name) >=
	    sizeof(path))
		return err_set(e, ERR_USAGE, "%.200s…: the path has more than %d bytes", above,
			       DELTA_PATH_MAX);
	s->names += strlen(path) + 1;
	if (s->c->count >= DELTA_ENTRIES_MAX)
		return err_set(e, ERR_USAGE, "the tree has more than %u entries", DELTA_ENTRIES_MAX);
	if (s->names > DELTA_NAMES_MAX)
		return err_set(e, ERR_USAGE, "the tree's paths have more than %llu GiB", DELTA_NAMES_MAX >> 30);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT && (may_be_gone || !s->last) ? 0 : err_sys(e, "look at %s", path);
	if (is_left_out(s, &st)) {
		s->left_out++;
		return 0;
	}
	return add_item(s->c, path, &st, &s->now) < 0 ? err_code(e, -ENOMEM, "list the tree") : 0;
}

int delta_open_dir(int rootfd, const struct delta_item *item)
{
	int fd = path_open_no_links(rootfd, *item->path ? item->path : ".",
				    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK, 0, true);
	struct stat st;

	if (fd < 0 || (fstat(fd, &st) == 0 && st.st_ino == item->st.st_ino))
		return fd;
	close(fd);
	return -ESTALE;
}

/* Lists the directory at this place. It may have gone meanwhile, or be one no more. */
static int scan_dir(struct delta_scan *s, size_t i, struct err *e)
{
	const char *path = s->c->item[i].path;
	int fd = delta_open_dir(s->rootfd, &s->c->item[i]);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *d;
	int r = 0;

	if (fd < 0) {
		s->c->item[i].missed = true;
		return s->last || fd == -EMFILE || fd == -ENFILE ? err_code(e, fd, "open %s", path) : 0;
	}
	if (!dir) {
		close(fd);
		return err_code(e, -ENOMEM, "list %s", path);
	}
	while (r == 0 && (errno = 0, d = readdir(dir)))
		if (!STREQ(d->d_name, ".") && !STREQ(d->d_name, ".."))
			r = delta_scan_entry(s, dirfd(dir), path, d->d_name, false, e);
	if (r == 0 && errno && (s->last || errno != ENOENT))
		return err_sys(e, "list %s", path);
	return r;
}

static int add_file(struct delta_catalogue *c, struct delta_file *f)
{
	if (array_grow(&c->file, c->files, &c->files_room, 256) < 0)
		return -ENOMEM;
	c->file[c->files++] = f;
	return 0;
}

/* One for each file, and each name's item pointing to it. */
static int collect_files(struct delta_catalogue *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->count; i++) {
		const struct stat *st = &c->item[i].st;
		struct delta_file *f;

		if (S_ISDIR(st->st_mode))
			continue;
		f = calloc(1, sizeof(*f));
		if (!f || add_file(c, f) < 0) {
			free(f);
			return -ENOMEM;
		}
		f->ino = st->st_ino;
		f->type = st->st_mode & S_IFMT;
	}
	if (c->files)
		qsort(c->file, c->files, sizeof(*c->file), delta_by_ino);
	for (size_t i = 0; i < c->files; i++) {
		if (kept && delta_by_ino(&c->file[kept - 1], &c->file[i]) == 0)
			free(c->file[i]);
		else
			c->file[kept++] = c->file[i];
	}
	c->files = kept;
	for (size_t i = 0; i < c->count; i++) {
		const struct stat *st = &c->item[i].st;

		if (!S_ISDIR(st->st_mode))
			c->item[i].file = delta_find_file(c, st->st_ino, st->st_mode);
	}
	return 0;
}

static void take_digests(struct delta_catalogue *c, const struct delta_catalogue *before)
{
	for (size_t i = 0; i < c->files; i++) {
		struct delta_file *f = c->file[i], *old = delta_find_file(before, f->ino, f->type);

		if (!old)
			continue;
		f->block = TAKE_PTR(old->block);
		f->blocks = old->blocks;
		old->blocks = 0;
	}
}

void delta_forget_absent(struct delta_catalogue *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->count; i++) {
		if (c->item[i].absent)
			free(c->item[i].path);
		else
			c->item[kept++] = c->item[i];
	}
	c->count = kept;
}

/* While names change a directory may list one twice, and as different things: one is kept, and
 * nothing that is below it when that is no directory. */
static void make_tree(struct delta_catalogue *c, bool twice)
{

	qsort(c->item, c->count, sizeof(*c->item), delta_by_path);
	for (size_t i = 1; i < c->count; i++)
		if (delta_by_path(&c->item[i - 1], &c->item[i]) == 0)
			c->item[i].absent = twice = true;
	if (!twice)
		return;
	delta_forget_absent(c);
	for (size_t i = 1; i < c->count; i++) { /* the first is the top */
		const struct delta_item *dir = delta_find_above(c, c->item[i].path);

		c->item[i].absent = !dir || dir->absent || !S_ISDIR(dir->st.st_mode);
	}
	delta_forget_absent(c);
}

int delta_scan_top(struct delta_scan *s, struct err *e)
{
	struct stat st;

	if (fstat(s->rootfd, &st) < 0)
		return err_sys(e, "look at the tree");
	return add_item(s->c, "", &st, &s->now) < 0 ? err_code(e, -ENOMEM, "list the tree") : 0;
}

int delta_scan_below(struct delta_scan *s, size_t from, struct err *e)
{
	int r = 0;

	/* The list is its own queue: breadth first, and no directory stays open. */
	for (size_t i = from; r == 0 && i < s->c->count; i++)
		if (S_ISDIR(s->c->item[i].st.st_mode))
			r = scan_dir(s, i, e);
	return r;
}

static int dirs_by_ino(const void *a, const void *b, void *arg)
{
	const struct delta_catalogue *c = arg;
	const struct stat *x = &c->item[*(const size_t *)a].st, *y = &c->item[*(const size_t *)b].st;

	return x->st_ino < y->st_ino ? -1 : x->st_ino > y->st_ino;
}

int delta_index(struct delta_catalogue *c)
{
	size_t *dir = reallocarray(c->dir, c->count + 1, sizeof(*dir));

	if (!dir)
		return -ENOMEM;
	c->dir = dir;
	c->dirs = 0;
	for (size_t i = 0; i < c->files; i++)
		c->file[i]->first = 0;
	for (size_t i = 0; i < c->count; i++) {
		struct delta_item *item = &c->item[i];

		if (!item->file) {
			dir[c->dirs++] = i;
			continue;
		}
		item->next = item->file->first;
		item->file->first = i + 1;
	}
	qsort_r(dir, c->dirs, sizeof(*dir), dirs_by_ino, c);
	return 0;
}

int delta_scan_done(struct delta_scan *s, struct delta_catalogue *before, struct err *e)
{
	int r;

	make_tree(s->c, s->part);
	r = collect_files(s->c);
	if (r < 0)
		return err_code(e, r, "list the tree");
	take_digests(s->c, before);
	return 0;
}

int delta_scan(int rootfd, enum storage_delta_kind kind, bool last, struct delta_catalogue *before,
	       struct delta_catalogue *ret, uint64_t *ret_left_out, struct err *e)
{
	struct delta_scan s = { .rootfd = rootfd, .kind = kind, .last = last, .c = ret };
	int r;

	*ret = (struct delta_catalogue){ 0 };
	clock_gettime(CLOCK_REALTIME_COARSE, &s.now);
	/* It will be about as large as the last time. */
	ret->item = before->count ? malloc((before->count + 256) * sizeof(*ret->item)) : NULL;
	ret->room = ret->item ? before->count + 256 : 0;
	r = delta_scan_top(&s, e);
	if (r == 0)
		r = delta_scan_below(&s, 0, e);
	if (r == 0)
		r = delta_scan_done(&s, before, e);
	if (r < 0)
		delta_catalogue_done(ret);
	*ret_left_out = s.left_out;
	return r;
}
