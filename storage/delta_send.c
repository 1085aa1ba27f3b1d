/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/delta_send.h"

#include "base/macro.h"
#include "base/path.h"

#include <fcntl.h>
#include <sys/random.h>

int storage_send_new(int rootfd, const struct storage_ids *ids, enum storage_delta_kind kind,
		     storage_put put, void *ctx, struct storage_send **ret, struct err *e)
{
	struct storage_send *s = calloc(1, sizeof(*s));

	if (s)
		s->block = malloc(DELTA_BLOCK);
	if (!s || !s->block) {
		free(s);
		return err_code(e, -ENOMEM, "prepare to send files");
	}
	s->rootfd = rootfd;
	s->ids = *ids;
	s->kind = kind;
	s->put = put;
	s->ctx = ctx;
	s->cache.fd = -EBADF;
	if (getrandom(&s->seed, sizeof(s->seed), 0) != sizeof(s->seed)) {
		storage_send_free(s);
		return err_sys(e, "choose a random number");
	}
	*ret = s;
	return 0;
}

void storage_send_free(struct storage_send *s)
{
	if (!s)
		return;
	storage_journal_close(s->journal);
	if (s->pending)
		delta_touched_done(&s->part);
	delta_catalogue_done(&s->part_now);
	delta_catalogue_done(&s->has);
	storage_parent_done(&s->cache);
	buf_done(&s->out);
	free(s->block);
	free(s);
}

int delta_tell(struct storage_send *s, const struct delta_record *rec, struct err *e)
{
	int r = delta_encode(rec, &s->out);

	return r < 0 ? err_code(e, r, "send files") : s->put(s->ctx, s->out.data, s->out.len, e);
}

static int tell_path(struct storage_send *s, enum delta_op op, const char *path, const char *target,
		     uint64_t number, struct err *e)
{
	cleanup_free struct delta_record *rec = calloc(1, sizeof(*rec));

	if (!rec)
		return err_code(e, -ENOMEM, "send files");
	rec->op = op;
	rec->number = number;
	snprintf(rec->path, sizeof(rec->path), "%s", path);
	snprintf(rec->target, sizeof(rec->target), "%s", target ? target : "");
	return delta_tell(s, rec, e);
}

/* One name more or less gives its directory other times at the receiver. */
static void note_touched(struct storage_send *s, const char *path)
{
	struct delta_item *dir = delta_find_above(&s->now, path);

	if (dir)
		dir->touched = true;
}

static int tell_name(struct storage_send *s, enum delta_op op, const char *path, const char *target,
		     uint64_t number, struct err *e)
{
	note_touched(s, path);
	return tell_path(s, op, path, target, number, e);
}

static bool is_mapped(const struct storage_send *s, uint64_t ino)
{
	const struct storage_writers *w = s->writers;
	size_t lo = 0, hi = w ? w->mapped_count : 0;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (w->mapped[mid] < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return w && lo < w->mapped_count && w->mapped[lo] == ino;
}

static bool time_equal(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* One that is still mapped has time until it is not, or until the last pass: it may be large. */
static bool is_unchanged(const struct storage_send *s, const struct delta_item *old,
			 const struct delta_item *now)
{
	return old && !old->dirty && old->st.st_ino == now->st.st_ino &&
	       time_equal(&old->st.st_ctim, &now->st.st_ctim) &&
	       old->st.st_size == now->st.st_size &&
	       !(is_mapped(s, now->st.st_ino) ? s->last : old->mapped);
}

/* 1: it has gone meanwhile, which is no error before the last pass. */
static int gone(const struct storage_send *s, struct delta_item *item, int r, struct err *e)
{
	if (s->last || !delta_is_gone(r))
		return err_code(e, r, "read %s", *item->path ? item->path : "the tree");
	item->dirty = item->missed = true;
	return 1;
}

/* Opens what can be opened: *ret_fd stays -EBADF for links, pipes and the like. */
static int open_item(struct storage_send *s, struct delta_item *item, const char **ret_name,
		     int *ret_fd, struct stat *st, struct err *e)
{
	mode_t type = item->st.st_mode & S_IFMT;
	int parent, r = 0;

	parent = storage_parent(&s->cache, s->rootfd, item->path, ret_name, e);
	if (parent < 0)
		return gone(s, item, parent, e);
	if (!**ret_name)
		*ret_name = ".";
	if (type == S_IFREG || type == S_IFDIR) {
		*ret_fd = openat(parent, *ret_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
							    O_CLOEXEC);
		if (*ret_fd < 0 || fstat(*ret_fd, st) < 0)
			r = -errno;
	} else if (fstatat(parent, *ret_name, st, AT_SYMLINK_NOFOLLOW) < 0) {
		r = -errno;
	}
	/* Another may have come in its place, for a while and with no trace when a directory above was
	 * moved: what it holds is not to be taken for this one's. */
	if (r == 0 && ((st->st_mode & S_IFMT) != type || st->st_ino != item->st.st_ino))
		r = -ESTALE;
	return r < 0 ? gone(s, item, r, e) : 0;
}

/* Makes it at the receiver when `fresh`, brings its contents and attributes up to date. 1: gone. */
static int send_item(struct storage_send *s, struct delta_item *item, bool fresh, struct err *e)
{
	cleanup_free struct delta_record *rec = calloc(1, sizeof(*rec));
	struct delta_file *f = item->file;
	cleanup_close int fd = -EBADF;
	const char *name;
	struct stat st;
	int r;

	if (!rec)
		return err_code(e, -ENOMEM, "send %s", item->path);
	r = open_item(s, item, &name, &fd, &st, e);
	if (r != 0)
		return r;
	snprintf(rec->path, sizeof(rec->path), "%s", item->path);
	r = delta_attr_read(s->cache.fd, name, fd, &st, &s->ids, s->kind, &rec->attr);
	if (r < 0) {
		r = gone(s, item, r, e);
		delta_attr_done(&rec->attr);
		return r;
	}
	s->pass.changed++;
	if (fresh) {
		note_touched(s, item->path);
		rec->op = !f ? DELTA_DIR : S_ISREG(st.st_mode) ? DELTA_FILE : DELTA_NODE;
		r = delta_tell(s, rec, e);
	}
	if (r == 0 && f && S_ISREG(st.st_mode))
		r = delta_send_content(s, rec, f, fd, st.st_size, e);
	/* A directory's attributes come when it is filled. */
	rec->op = DELTA_ATTR;
	if (r == 0 && (f || !fresh))
		r = delta_tell(s, rec, e);
	delta_attr_done(&rec->attr);
	return r;
}

static bool is_same(const struct delta_item *old, const struct delta_item *now)
{
	if (!now || (old->st.st_mode & S_IFMT) != (now->st.st_mode & S_IFMT))
		return false;
	/* A link's target never changes, so one with the number of another and other times is another. */
	if (S_ISLNK(old->st.st_mode) && !time_equal(&old->st.st_ctim, &now->st.st_ctim))
		return false;
	return !old->file || (old->st.st_ino == now->st.st_ino && !(old->dirty && S_ISLNK(old->st.st_mode)));
}

/* Names that are as they were tell where the receiver has a file. */
static void note_kept(struct storage_send *s)
{
	size_t near = 0;

	for (size_t i = 0; i < s->has.count; i++) {
		struct delta_item *old = &s->has.item[i], *new = delta_find_near(&s->now, old->path, &near);

		if (is_same(old, new) && new->file && !new->file->where)
			new->file->where = new->path;
	}
}

/* Takes away what is not there any more, what lies in a directory before it. A file that goes on
 * under a new name is put aside. */
static int send_gone(struct storage_send *s, struct err *e)
{
	size_t near = s->now.count;
	int r = 0;

	for (size_t i = s->has.count; r == 0 && i-- > 0;) {
		struct delta_item *old = &s->has.item[i];
		struct delta_file *f;

		if (is_same(old, delta_find_near(&s->now, old->path, &near)))
			continue;
		s->pass.changed++;
		f = old->file ? delta_find_file(&s->now, old->file->ino, old->file->type) : NULL;
		if (!old->file) {
			r = tell_name(s, DELTA_RMDIR, old->path, NULL, 0, e);
		} else if (f && !S_ISLNK(f->type) && !f->where && !f->parked) {
			f->parked = ++s->parks;
			r = tell_name(s, DELTA_PARK, old->path, NULL, f->parked, e);
		} else {
			r = tell_name(s, DELTA_REMOVE, old->path, NULL, 0, e);
		}
	}
	return r;
}

/* A name that the receiver does not have. */
static int send_name(struct storage_send *s, struct delta_item *item, struct err *e)
{
	struct delta_file *f = item->file;
	int r;

	if (f->where) {
		r = tell_name(s, DELTA_LINK, item->path, f->where, 0, e);
	} else if (f->parked) {
		r = tell_name(s, DELTA_UNPARK, item->path, NULL, f->parked, e);
	} else {
		/* Another file had its number before. */
		f->blocks = 0;
		r = send_item(s, item, true, e);
		if (r > 0)
			item->absent = true;
		if (r != 0)
			return r < 0 ? r : 0;
		f->told = true;
	}
	if (r == 0 && !f->where)
		f->where = item->path;
	return r;
}

/* The receiver did not get the directory that it lies in, or lay in when it was seen. */
static bool is_orphan(const struct storage_send *s, const struct delta_item *item)
{
	const struct delta_item *dir = delta_find_above(&s->now, item->path);

	return !dir || dir->absent;
}

static int send_entry(struct storage_send *s, struct delta_item *item, size_t *near, struct err *e)
{
	const struct delta_item *old = delta_find_near(&s->has, item->path, near);
	bool kept = old && is_same(old, item), unchanged = kept && is_unchanged(s, old, item);
	int r = 0;

	item->absent = s->absent && !kept && is_orphan(s, item);
	if (item->absent)
		return 0;
	if (!item->file) {
		if (!kept && *item->path) /* the top is there */
			r = send_item(s, item, true, e);
		item->absent = r > 0;
		s->absent |= item->absent;
		return r < 0 ? r : 0;
	}
	if (!kept)
		r = send_name(s, item, e);
	if (r < 0 || item->absent || unchanged || item->file->told)
		return r;
	r = send_item(s, item, false, e);
	item->file->told = r == 0; /* else by another name, or in the next pass */
	return r < 0 ? r : 0;
}

/* Last, because what was put into a directory has changed its times. */
static int send_dirs(struct storage_send *s, struct err *e)
{
	int r = 0;

	for (size_t i = s->now.count; r >= 0 && i-- > 0;) {
		struct delta_item *item = &s->now.item[i];
		size_t near = i;

		if (item->file || item->absent)
			continue;
		if (item->touched || !is_unchanged(s, delta_find_near(&s->has, item->path, &near), item))
			r = send_item(s, item, false, e);
	}
	return r < 0 ? r : 0;
}

int storage_send_watch(struct storage_send *s, int scratch, struct err *e)
{
	return s->journal ? 0 : storage_journal_open(s->rootfd, scratch, &s->journal, e);
}

/* Before anything is read: a mapping that is made later changes the file's times when it is first written through. */
static void note_mapped(struct storage_send *s)
{
	for (size_t i = 0; s->writers && s->writers->mapped_count && i < s->now.count; i++)
		s->now.item[i].mapped = s->now.item[i].file && is_mapped(s, s->now.item[i].st.st_ino);
}

/* What could not be sent is no part of what the receiver has: the next pass finds it anew, where it lies. */
static void forget_absent(struct storage_send *s)
{
	for (size_t i = 0; i < s->now.count; i++) {
		struct delta_item *dir = s->now.item[i].absent ? delta_find_above(&s->now, s->now.item[i].path) : NULL;

		if (dir)
			dir->missed = true;
	}
	delta_forget_absent(&s->now);
}

/* What differs between s->has and s->now. */
static int tell_all(struct storage_send *s, struct err *e)
{
	size_t near = 0;
	int r;

	note_kept(s);
	note_mapped(s);
	r = send_gone(s, e);
	for (size_t i = 0; r == 0 && i < s->now.count; i++)
		r = send_entry(s, &s->now.item[i], &near, e);
	if (r == 0)
		r = send_dirs(s, e);
	if (r == 0)
		r = tell_path(s, DELTA_END, "", NULL, 0, e);
	s->pass.entries = s->now.count;
	forget_absent(s);
	return r;
}

static int whole_pass(struct storage_send *s, struct err *e)
{
	int r = delta_scan(s->rootfd, s->kind, s->last, &s->has, &s->now, &s->pass.left_out, e);

	if (r < 0)
		return r;
	r = tell_all(s, e);
	delta_catalogue_done(&s->has);
	s->has = s->now;
	s->now = (struct delta_catalogue){ 0 };
	if (r == 0 && s->journal && delta_index(&s->has) < 0)
		r = err_code(e, -ENOMEM, "list the tree");
	s->seen = r == 0 && s->journal;
	return r;
}

static int merge_pending(struct storage_send *s, struct err *e)
{
	s->pending = false;
	return delta_touched_merge(&s->part, &s->part_now, e);
}

/* The whole is brought up to date when there is time: after the last pass there is none. */
static int part_pass(struct storage_send *s, const struct delta_numbers *changed, struct err *e)
{
	struct delta_catalogue whole;
	struct delta_numbers open = { 0 }, mapped = { 0 };
	int r;

	if (s->writers) {
		open = (struct delta_numbers){ s->writers->open, s->writers->open_count };
		mapped = (struct delta_numbers){ s->writers->mapped, s->writers->mapped_count };
	}
	s->pass.part = true;
	r = delta_touched_find(&s->part, s->rootfd, s->kind, s->last, &s->has, changed,
			       (const struct delta_numbers[]){ open, mapped }, 2, &s->now, e);
	if (r < 0)
		return r;
	whole = s->has;
	s->has = s->part.old;
	r = tell_all(s, e);
	s->has = whole;
	s->part_now = s->now;
	s->now = (struct delta_catalogue){ 0 };
	s->pending = true;
	return r < 0 || s->last ? r : merge_pending(s, e);
}

/* 1: all that was changed since the last pass is in *ret. What is noted from here on is for the next one. */
static int take_journal(struct storage_send *s, uint64_t **ret, size_t *ret_count, struct err *e)
{
	bool known = s->seen && !(s->last && !(s->writers && s->writers->all));
	int r;

	*ret = NULL;
	*ret_count = 0;
	if (!s->journal)
		return 0;
	r = storage_journal_take(s->journal, ret, ret_count, e);
	s->pass.lost = r > 0;
	return r < 0 ? r : r == 0 && known;
}

int storage_send_pass(struct storage_send *s, const struct storage_writers *w, bool last, struct storage_pass *ret,
		      struct err *e)
{
	cleanup_free uint64_t *ino = NULL;
	struct delta_numbers changed = { 0 };
	int r;

	s->pass = (struct storage_pass){ 0 };
	s->writers = w;
	s->last = last;
	s->absent = false;
	storage_parent_done(&s->cache);
	r = s->pending ? merge_pending(s, e) : 0;
	if (r == 0)
		r = take_journal(s, &ino, &changed.count, e);
	changed.ino = ino;
	if (r >= 0)
		r = r ? part_pass(s, &changed, e) : whole_pass(s, e);
	*ret = s->pass;
	return r;
}

int storage_send_size(struct storage_send *s, uint64_t *ret_bytes, uint64_t *ret_entries,
		      struct err *e)
{
	struct delta_catalogue now, none = { 0 };
	uint64_t left_out;
	int r = delta_scan(s->rootfd, s->kind, false, &none, &now, &left_out, e);

	if (r < 0)
		return r;
	*ret_bytes = 0;
	*ret_entries = now.count;
	for (size_t i = 0; i < now.count; i++)
		if (S_ISREG(now.item[i].st.st_mode)) /* each name carries its part */
			*ret_bytes += (uint64_t)now.item[i].st.st_blocks * 512 /
				      (now.item[i].st.st_nlink ? now.item[i].st.st_nlink : 1);
	delta_catalogue_done(&now);
	return 0;
}
