/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Shared memory that has no file: read in each round, whole or where marks say that it has changed, and sent where it is
 * not what it was. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/oracle.h"
#include "checkpoint/precopy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

#define PIECE MIB(1)
#define SHARED_MAX 1024 /* as a dump */

struct shared *ckpt_shared_find(const struct ckpt_precopy *p, const struct stat *st, int fd)
{
	bool sysv = fd >= 0 && ckpt_shmem_is_sysv(fd);

	for (size_t i = 0; i < p->shared_count; i++)
		if (p->shared[i].dev == st->st_dev && p->shared[i].ino == st->st_ino && p->shared[i].sysv == sysv &&
		    (!sysv || ckpt_shmem_is_same(p->shared[i].fd, fd)))
			return &p->shared[i];
	return NULL;
}

int ckpt_shared_take(struct ckpt_precopy *p, int fd)
{
	struct shared *grown = reallocarray(p->shared, p->shared_count + 1, sizeof(*grown));
	struct stat st;

	if (!grown || fstat(fd, &st) < 0) {
		close(fd);
		return -ENOMEM;
	}
	p->shared = grown;
	p->shared[p->shared_count++] = (struct shared){ .dev = st.st_dev, .ino = st.st_ino, .fd = fd,
							.watch = -1, .sysv = ckpt_shmem_is_sysv(fd) };
	return 0;
}

/* Its number stays: an empty file has it, so that nothing keeps the memory. */
int ckpt_shared_forget(struct shared *s)
{
	int fd = memfd_create("", MFD_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		fd_close(&fd);
		return -ENOMEM;
	}
	ckpt_shared_unmap(s);
	fd_close(&s->fd);
	s->fd = fd;
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	return 0;
}

int ckpt_shared_meet(struct ckpt_precopy *p, pid_t pid, const struct ckpt_map *m)
{
	struct shared *known;
	char path[128];
	struct stat st;
	int fd;

	if (!ckpt_map_is_unnamed(m))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid, m->start, m->end);
	fd = open(path, O_RDONLY | O_NOATIME | O_CLOEXEC); /* its time tells of others (precopy_reach.c) */
	if (fd < 0)
		return 0; /* it has gone; what is there at the end is collected then */
	/* System V memory is filled by a copy of what has come before, which huge pages are too dear for. */
	known = fstat(fd, &st) == 0 ? ckpt_shared_find(p, &st, fd) : NULL;
	if (known)
		known->seen_now = true;
	else if (p->shared_count < SHARED_MAX && !(ckpt_shmem_is_sysv(fd) && ckpt_huge_of(fd)))
		return ckpt_shared_take(p, fd);
	close(fd);
	return 0;
}

/* One hash a page; what is new is a hole. */
static int fit(struct shared *s, size_t pages)
{
	uint64_t *h;

	if (pages <= s->pages)
		return 0;
	h = reallocarray(s->hash, pages, sizeof(*h));
	if (!h)
		return -ENOMEM;
	memset(h + s->pages, 0, (pages - s->pages) * sizeof(*h));
	s->hash = h;
	s->pages = pages;
	return 0;
}

struct sending {
	struct ckpt_precopy *p;
	struct shared *s;
	uint64_t mm;
	uint8_t *buf;
	uint64_t pages;
};

/* From the buffer that was hashed: what is there later may be something else for a moment only. */
static int send(struct sending *o, uint64_t at, const uint8_t *data, size_t len, struct err *e)
{
	if (o->p->oracle && ckpt_oracle_note(o->p->oracle, o->mm, at, data, len) < 0)
		return err_code(e, -ENOMEM, "remember pages");
	o->pages += len / CKPT_PAGE;
	return ckpt_write_pages(o->p->w, o->mm, at / CKPT_PAGE, data, len / CKPT_PAGE, e);
}

uint64_t ckpt_shared_hash(const uint8_t *page)
{
	return XXH3_64bits(page, CKPT_PAGE) | 1;
}

/* Runs of pages whose hash has changed, of `len` bytes in the buffer. */
static int send_changed(struct sending *o, uint64_t at, size_t len, struct err *e)
{
	size_t from = 0, i;

	for (i = 0; i < len; i += CKPT_PAGE) {
		uint64_t *was = &o->s->hash[(at + i) / CKPT_PAGE], is = ckpt_shared_hash(o->buf + i);
		bool same = *was == is;
		int r;

		*was = is;
		if (!same)
			continue;
		r = i > from ? send(o, at + from, o->buf + from, i - from, e) : 0;
		if (r < 0)
			return r;
		from = i + CKPT_PAGE;
	}
	return i > from ? send(o, at + from, o->buf + from, i - from, e) : 0;
}

static int send_data(struct sending *o, const struct ckpt_range *d, struct err *e)
{
	for (uint64_t at = d->start; at < d->end; at += PIECE) {
		size_t len = d->end - at < PIECE ? d->end - at : PIECE;
		ssize_t n = pread(o->s->fd, o->buf, len, (off_t)at);
		int r;

		if (n < 0)
			return err_sys(e, "read shared memory");
		memset(o->buf + n, 0, len - (size_t)n);
		r = send_changed(o, at, len, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Pages that were sent and are holes now are sent once more, as zeros. */
static int send_holes(struct sending *o, const struct ckpt_ranges *data, struct err *e)
{
	static const uint8_t zeros[CKPT_PAGE];
	size_t k = 0;

	for (uint64_t n = 0; n < o->s->pages; n++) {
		int r;

		while (k < data->count && data->r[k].end <= n * CKPT_PAGE)
			k++;
		if (!o->s->hash[n] || (k < data->count && data->r[k].start <= n * CKPT_PAGE))
			continue;
		o->s->hash[n] = 0;
		r = send(o, n * CKPT_PAGE, zeros, CKPT_PAGE, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* While the tree is not there: its size, its name or its place, and, where the VPS takes pages before they are filled, which
 * there are. */
static int tell(struct sending *o, uint64_t size, const struct ckpt_ranges *data, struct err *e)
{
	uint32_t huge = ckpt_huge_of(o->s->fd);
	bool pages = huge || o->s->place;
	uint64_t present = pages ? ckpt_ranges_hash(data) : 0;
	char path[64], name[300] = "", *end;
	Ckpt__Shmem m;

	if (o->p->finishing || (o->s->told && o->s->size == size && o->s->present == present))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", o->s->fd);
	if (readlink(path, name, sizeof(name) - 1) > 0 && strncmp(name, "/memfd:", 7) == 0) {
		memmove(name, name + 7, sizeof(name) - 7);
		end = strstr(name, " (deleted)");
		if (end)
			*end = '\0';
	}
	ckpt__shmem__init(&m);
	m.size = size;
	m.name = name;
	m.huge = huge;
	m.place = (char *)(o->s->place ? o->s->place : "");
	m.present = pages ? ckpt_runs_write(&o->p->arena, data, &m.n_present) : NULL;
	if (pages && !m.present)
		return err_code(e, -ENOMEM, "copy shared memory");
	o->s->present = present;
	o->s->told = true;
	o->s->size = size;
	return ckpt_write_message(o->p->w, CKPT_REC_SHMEM, o->mm - CKPT_SHMEM_MM + 1, &m, e);
}

/* What is to be looked at: all of its data, or that of which it is known by now that it has changed. */
static int find_changed(const struct sending *o, uint64_t size, const struct ckpt_ranges *data, struct ckpt_ranges *ret,
			const struct ckpt_ranges **ret_which)
{
	*ret_which = data;
	if (!o->p->stopped || !ckpt_shared_can_compare(o->s, size, data))
		return 0;
	*ret_which = ret;
	return ckpt_shared_compare(o->s, data, ret);
}

/* Nothing else can have changed: no hole, no size. */
static int send_marked(struct sending *o, struct err *e)
{
	const struct ckpt_ranges *l = &o->s->written;
	int r = l->count && fit(o->s, l->r[l->count - 1].end / CKPT_PAGE) < 0 ? err_code(e, -ENOMEM, "copy memory") : 0;

	for (size_t i = 0; r == 0 && i < l->count; i++)
		r = send_data(o, &l->r[i], e);
	return r;
}

static int send_whole(struct sending *o, struct err *e)
{
	struct ckpt_ranges data = { 0 }, changed = { 0 };
	const struct ckpt_ranges *which;
	struct stat st;
	int r = fstat(o->s->fd, &st) < 0 ? -errno : ckpt_scan_shared(o->s->fd, (uint64_t)st.st_size, &data);

	if (r == 0 && data.count)
		r = fit(o->s, data.r[data.count - 1].end / CKPT_PAGE);
	/* At the stop somebody may count on it already. */
	if (r == 0 && o->s->place && ckpt_files_is_scattered(&data) && o->p->stopped)
		r = -EAGAIN;
	if (r == 0 && o->s->place && ckpt_files_is_scattered(&data)) {
		ckpt_quiet_forget(o->p, o->s);
		o->s->scattered_dev = o->s->dev;
		o->s->scattered_ino = o->s->ino;
		o->s->place = NULL;
		r = ckpt_shared_forget(o->s); /* it stays until the end */
		st.st_size = 0;
		data.count = 0;
	}
	if (r == 0)
		r = find_changed(o, (uint64_t)st.st_size, &data, &changed, &which);
	if (r < 0)
		err_code(e, r, "look for data in shared memory");
	if (r == 0)
		r = tell(o, (uint64_t)st.st_size, &data, e);
	for (size_t i = 0; r == 0 && i < which->count; i++)
		r = send_data(o, &which->r[i], e);
	if (r == 0)
		r = send_holes(o, &data, e);
	if (r == 0 && !o->p->stopped)
		ckpt_shared_map(o->s, (uint64_t)st.st_size, &data);
	ckpt_ranges_done(&changed);
	ckpt_ranges_done(&data);
	return r;
}

int ckpt_shared_send(struct ckpt_precopy *p, uint64_t *ret_pages, struct err *e)
{
	cleanup_free uint8_t *buf = malloc(PIECE);
	struct sending o = { .p = p, .buf = buf };
	int r = buf ? 0 : err_code(e, -ENOMEM, "copy shared memory");

	ckpt_quiet_round(p);
	for (size_t i = 0; r == 0 && i < p->shared_count; i++) {
		bool final, quiet;

		o.s = &p->shared[i];
		if (o.s->unused || o.s->last || o.s->final)
			continue;
		o.mm = CKPT_SHMEM_MM + i;
		if (ckpt_quiet_holds(p, o.s))
			continue;
		quiet = ckpt_quiet_note(p, o.s);
		final = ckpt_reach_is_final(o.s);
		r = o.s->marked ? send_marked(&o, e) : send_whole(&o, e);
		o.s->final = r == 0 && final;
		o.s->quiet = r == 0 && quiet;
	}
	*ret_pages = o.pages;
	return r;
}

void ckpt_shared_done(struct ckpt_precopy *p)
{
	for (size_t i = 0; i < p->shared_count; i++) {
		ckpt_shared_unmap(&p->shared[i]);
		ckpt_steady_done(&p->shared[i]);
		fd_close(&p->shared[i].fd);
		free(p->shared[i].hash);
	}
	free(p->shared);
}
