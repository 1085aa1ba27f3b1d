/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/delta_touched.h"

#include "base/array.h"
#include "base/macro.h"
#include "base/path.h"
#include "storage/catalogue.h"

#include <fcntl.h>

enum { /* beside DELTA_IN_PART */
	GONE_WITH = 2, /* what it lies in */
	SEEN = 4,      /* in its directory's list */
	LISTED = 8,    /* a directory */
	MISSED = 16,   /* a directory that did not stand at its place just then */
};

static bool is_dir(const struct delta_item *item)
{
	return !item->file;
}

static size_t place(const struct delta_touched *t, const struct delta_item *item)
{
	return (size_t)(item - t->has->item);
}

/* The first item whose path is not before this one. */
static size_t lower_bound(const struct delta_catalogue *c, const char *path)
{
	size_t lo = 0, hi = c->count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (strcmp(c->item[mid].path, path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int enqueue(struct delta_touched *t, size_t i)
{
	if (array_grow(&t->queue, t->queued, &t->room, 256) < 0)
		return -ENOMEM;
	t->queue[t->queued++] = i;
	return 0;
}

/* With its directory, whose times change when it does. */
static int include_one(struct delta_touched *t, size_t i)
{
	const struct delta_item *above;
	int r = 0;

	while (r == 0 && !(t->in[i] & DELTA_IN_PART)) {
		t->in[i] |= DELTA_IN_PART;
		r = t->in[i] & GONE_WITH ? 0 : enqueue(t, i);
		above = *t->has->item[i].path ? delta_find_above(t->has, t->has->item[i].path) : NULL;
		if (!above)
			break;
		i = place(t, above);
	}
	return r;
}

/* Of a file's names all are in, or none. */
static int include_names(struct delta_touched *t, const struct delta_file *f)
{
	int r = 0;

	if (f->first && t->in[f->first - 1] & DELTA_IN_PART)
		return 0;
	for (size_t k = f->first; r == 0 && k; k = t->has->item[k - 1].next)
		r = include_one(t, k - 1);
	return r;
}

static int include(struct delta_touched *t, size_t i)
{
	const struct delta_item *item = &t->has->item[i];

	return is_dir(item) ? include_one(t, i) : include_names(t, item->file);
}

/* What lay in a directory that is not there any more. */
static int include_below(struct delta_touched *t, const struct delta_item *dir)
{
	char prefix[DELTA_PATH_MAX + 2];
	size_t len = (size_t)snprintf(prefix, sizeof(prefix), "%s/", dir->path);
	int r = 0;

	for (size_t i = lower_bound(t->has, prefix); r == 0 && i < t->has->count; i++) {
		if (strncmp(t->has->item[i].path, prefix, len) != 0)
			break;
		t->in[i] |= GONE_WITH;
		r = include(t, i);
	}
	return r;
}

/* ---- directories whose entries were changed ---- */

static int note_entry(struct delta_touched *t, const char *above, const struct dirent *d)
{
	char path[DELTA_PATH_MAX + 1];
	struct delta_item *old;

	/* One that is too long is told of by who looks at it. */
	snprintf(path, sizeof(path), "%s%s%s", above, *above ? "/" : "", d->d_name);
	old = delta_find(t->has, path);
	if (!old)
		return strv_add(&t->names, path);
	t->in[place(t, old)] |= SEEN;
	return old->st.st_ino == d->d_ino && (old->st.st_mode & S_IFMT) == (mode_t)DTTOIF(d->d_type) ? 0
											   : include(t, place(t, old));
}

/* Names that were there and are no more. */
static int note_missing(struct delta_touched *t, const char *above)
{
	size_t len = strlen(above) + (*above != '\0');
	size_t i = *above ? 0 : 1;
	char path[DELTA_PATH_MAX + 2];
	int r = 0;

	snprintf(path, sizeof(path), "%s/", above);
	if (*above)
		i = lower_bound(t->has, path);
	while (r == 0 && i < t->has->count && strncmp(t->has->item[i].path, path, len) == 0) {
		const struct delta_item *old = &t->has->item[i];
		const char *slash = strchr(old->path + len, '/');

		if (slash) { /* further down: to the end of that; '0' comes after '/' */
			snprintf(path, sizeof(path), "%.*s0", (int)(slash - old->path), old->path);
			i = lower_bound(t->has, path);
			snprintf(path, sizeof(path), "%s/", above);
			continue;
		}
		if (!(t->in[i] & SEEN))
			r = include(t, i);
		t->in[i] &= (unsigned char)~SEEN;
		i++;
	}
	return r;
}

static int list_again(struct delta_touched *t, size_t i, struct err *e)
{
	const struct delta_item *item = &t->has->item[i];
	int fd = delta_open_dir(t->scan.rootfd, item);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *d;
	int r = 0;

	t->in[i] |= fd >= 0 ? LISTED : MISSED;
	/* What became of it shows in a directory above, which was changed, too; or it comes back. */
	if (fd < 0)
		return delta_is_gone(fd) ? 0 : err_code(e, fd, "open %s", item->path);
	if (!dir) {
		close(fd);
		return err_code(e, -ENOMEM, "list %s", item->path);
	}
	while (r == 0 && (errno = 0, d = readdir(dir)))
		if (!STREQ(d->d_name, ".") && !STREQ(d->d_name, ".."))
			r = note_entry(t, item->path, d);
	if (r == 0 && errno && errno != ENOENT)
		return err_sys(e, "list %s", item->path);
	if (r == 0)
		r = note_missing(t, item->path);
	return r < 0 ? err_code(e, r, "list %s", item->path) : 0;
}

/* ---- what is there now ---- */

/* A file that is there by other names, or was, is told of by all of them. */
static int note_known_files(struct delta_touched *t, size_t from)
{
	int r = 0;

	for (size_t i = from; r == 0 && i < t->scan.c->count; i++) {
		const struct stat *st = &t->scan.c->item[i].st;
		const struct delta_file *f = S_ISDIR(st->st_mode) ? NULL
								  : delta_find_file(t->has, st->st_ino, st->st_mode);

		if (f)
			r = include_names(t, f);
	}
	return r;
}

/* Opens the directory of a path; one that was seen must be the one that is there. */
static int open_above(struct delta_touched *t, const char *path, const char **ret_name, struct err *e)
{
	const struct delta_item *above = delta_find_above(t->has, path);
	int dir = storage_parent(t->cache, t->scan.rootfd, path, ret_name, e);
	struct stat st;

	if (dir >= 0 && above && (fstat(dir, &st) < 0 || st.st_ino != above->st.st_ino))
		dir = -ESTALE;
	if (dir < 0 && above)
		t->in[place(t, above)] |= MISSED;
	return dir;
}

static int look_at(struct delta_touched *t, const char *path, const struct delta_item *old, struct err *e)
{
	size_t from = t->scan.c->count;
	const struct delta_item *now;
	const char *name = path;
	char above[DELTA_PATH_MAX + 1];
	int dir, r;

	if (!*path)
		return delta_scan_top(&t->scan, e);
	dir = open_above(t, path, &name, e);
	if (dir < 0 && !delta_is_gone(dir))
		return dir;
	snprintf(above, sizeof(above), "%.*s", name > path ? (int)(name - path) - 1 : 0, path);
	r = dir < 0 ? 0 : delta_scan_entry(&t->scan, dir, above, name, true, e);
	if (r < 0)
		return r;
	now = t->scan.c->count > from ? &t->scan.c->item[from] : NULL;
	/* A directory that is the one that was there was listed if anything in it has changed. */
	if (old && is_dir(old) && now && S_ISDIR(now->st.st_mode) && now->st.st_ino == old->st.st_ino)
		return 0;
	if (old && is_dir(old))
		r = include_below(t, old);
	if (r < 0)
		return err_code(e, r, "list the tree");
	r = delta_scan_below(&t->scan, from, e);
	return r < 0 ? r : note_known_files(t, from) < 0 ? err_code(e, -ENOMEM, "list the tree") : 0;
}

/* Whatever is looked at may have more looked at. */
static int look(struct delta_touched *t, struct err *e)
{
	int r = 0;

	while (r == 0 && (t->looked < t->queued || t->named < t->names.count)) {
		if (t->looked < t->queued) {
			const struct delta_item *item = &t->has->item[t->queue[t->looked++]];

			r = look_at(t, item->path, item, e);
		} else {
			cleanup_free char *path = strdup(t->names.item[t->named++]);

			r = path ? look_at(t, path, NULL, e) : err_code(e, -ENOMEM, "list the tree");
		}
	}
	return r;
}

/* ---- from numbers to items ---- */

static size_t first_dir(const struct delta_catalogue *c, uint64_t ino)
{
	size_t lo = 0, hi = c->dirs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (c->item[c->dir[mid]].st.st_ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static size_t first_file(const struct delta_catalogue *c, uint64_t ino)
{
	size_t lo = 0, hi = c->files;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (c->file[mid]->ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int take_item(struct delta_touched *t, size_t i, struct err *e)
{
	if (include(t, i) < 0)
		return err_code(e, -ENOMEM, "list the tree");
	return is_dir(&t->has->item[i]) && !(t->in[i] & LISTED) ? list_again(t, i, e) : 0;
}

/* What the last pass could not look at as it was seen. */
static int take_missed(struct delta_touched *t, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->has->count; i++)
		if (t->has->item[i].missed)
			r = take_item(t, i, e);
	return r;
}

/* Its times need not tell: what was changed twice within a tick of the clock looks as if it was once. */
static int take_changed(struct delta_touched *t, uint64_t ino, struct err *e)
{
	struct delta_catalogue *c = t->has;
	int r = 0;

	for (size_t k = first_dir(c, ino); r == 0 && k < c->dirs && c->item[c->dir[k]].st.st_ino == ino; k++) {
		c->item[c->dir[k]].dirty = true;
		r = take_item(t, c->dir[k], e);
	}
	for (size_t k = first_file(c, ino); r == 0 && k < c->files && c->file[k]->ino == ino; k++) {
		for (size_t i = c->file[k]->first; i; i = c->item[i - 1].next)
			c->item[i - 1].dirty = true;
		if (include_names(t, c->file[k]) < 0)
			return err_code(e, -ENOMEM, "list the tree");
	}
	return r;
}

static int take_open(struct delta_touched *t, uint64_t ino)
{
	const struct delta_catalogue *c = t->has;
	int r = 0;

	for (size_t k = first_file(c, ino); r == 0 && k < c->files && c->file[k]->ino == ino; k++)
		r = include_names(t, c->file[k]);
	return r;
}

/* What was away while it was looked for may be there again. */
static void note_missed(struct delta_touched *t)
{
	for (size_t i = 0; i < t->has->count; i++) {
		struct delta_item *now = t->in[i] & MISSED ? delta_find(t->scan.c, t->has->item[i].path) : NULL;

		if (now)
			now->missed = true;
	}
}

static int gather_old(struct delta_touched *t)
{
	size_t count = 0;

	for (size_t i = 0; i < t->has->count; i++)
		count += (t->in[i] & DELTA_IN_PART) != 0;
	t->old.item = calloc(count + 1, sizeof(*t->old.item));
	if (!t->old.item)
		return -ENOMEM;
	for (size_t i = 0; i < t->has->count; i++)
		if (t->in[i] & DELTA_IN_PART)
			t->old.item[t->old.count++] = t->has->item[i];
	return 0;
}

int delta_touched_find(struct delta_touched *t, int rootfd, enum storage_delta_kind kind, bool last,
		       struct delta_catalogue *has, const struct delta_numbers *changed, const struct delta_numbers *open,
		       size_t open_lists, struct delta_catalogue *ret_now, struct err *e)
{
	struct parent_cache cache = { .fd = -EBADF };
	int r = 0;

	*ret_now = (struct delta_catalogue){ 0 };
	*t = (struct delta_touched){ .has = has, .cache = &cache, .in = calloc(has->count + 1, 1),
				     .scan = { .rootfd = rootfd, .kind = kind, .last = last, .part = true, .c = ret_now } };
	clock_gettime(CLOCK_REALTIME_COARSE, &t->scan.now);
	if (!t->in || include(t, 0) < 0)
		r = err_code(e, -ENOMEM, "list the tree");
	if (r == 0)
		r = take_missed(t, e);
	for (size_t i = 0; r == 0 && i < changed->count; i++)
		r = take_changed(t, changed->ino[i], e);
	for (size_t k = 0; k < open_lists; k++)
		for (size_t i = 0; r == 0 && i < open[k].count; i++)
			if (take_open(t, open[k].ino[i]) < 0)
				r = err_code(e, -ENOMEM, "list the tree");
	if (r == 0)
		r = look(t, e);
	storage_parent_done(&cache);
	t->cache = NULL;
	if (r == 0)
		r = delta_scan_done(&t->scan, has, e);
	if (r == 0)
		note_missed(t);
	if (r == 0 && gather_old(t) < 0)
		r = err_code(e, -ENOMEM, "list the tree");
	if (r < 0) {
		delta_catalogue_done(ret_now);
		delta_touched_done(t);
	}
	return r;
}

void delta_touched_done(struct delta_touched *t)
{
	free(TAKE_PTR(t->old.item));
	t->old.count = 0;
	free(TAKE_PTR(t->in));
	free(TAKE_PTR(t->queue));
	strv_done(&t->names);
}
