/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * From the memory of others to a stream. process_vm_readv(2) needs no ptrace stop of the calling
 * thread's own, so that any thread may read. The pieces are large, and a page is touched as seldom as
 * can be: read, looked at for zeros, hashed, written.
 */
#include "checkpoint/copy.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/beside.h"
#include "checkpoint/internal.h"
#include "checkpoint/oracle.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECE KIB(512)
#define PARTS 128          /* ranges in a piece */
#define WORKERS 4
#define ALONE MIB(4)       /* less than this is not worth a thread */
#define TELL_EVERY MIB(1)

struct piece {
	const struct ckpt_source *s;
	struct ckpt_range part[PARTS];
	size_t count, len;
};

struct job {
	struct ckpt_copy *c;
	pthread_mutex_t lock;  /* of the place, and of err */
	size_t source, range;
	uint64_t at;           /* in that range; 0: its beginning */
	atomic_bool failed;
	_Atomic uint64_t copied;
	struct err err;
};

struct worker {
	struct job *j;
	struct ckpt_encoder *encoder;
	uint8_t *room, *buf;
	struct piece piece;
	const struct ckpt_source *opened; /* whose memory `mem` is */
	int mem;
};

int ckpt_progress(const struct ckpt_progress *p, uint64_t *done, uint64_t len, uint64_t total,
		  struct err *e)
{
	uint64_t before = *done / TELL_EVERY;

	*done += len;
	if (!p || *done / TELL_EVERY == before || p->tell(p->arg, *done, total) == 0)
		return 0;
	return err_set(e, ERR_CANCELLED, "it was cancelled");
}

/* The next piece of one source; false at the end. */
static bool next_piece(struct job *j, struct piece *p)
{
	p->count = p->len = 0;
	pthread_mutex_lock(&j->lock);
	while (j->source < j->c->count && p->len < PIECE && p->count < PARTS) {
		const struct ckpt_source *s = &j->c->sources[j->source];
		const struct ckpt_range *r = &s->ranges.r[j->range];
		uint64_t start, len;

		if (j->range == s->ranges.count) {
			j->source++;
			j->range = 0;
			if (p->count)
				break;
			continue;
		}
		start = j->at ? j->at : r->start;
		len = r->end - start < PIECE - p->len ? r->end - start : PIECE - p->len;
		p->s = s;
		p->part[p->count++] = (struct ckpt_range){ start, start + len, true };
		p->len += len;
		j->at = start + len;
		if (j->at == r->end) {
			j->range++;
			j->at = 0;
		}
	}
	pthread_mutex_unlock(&j->lock);
	return p->count > 0;
}

static int put(struct worker *w, uint64_t start, size_t len, uint8_t *data, struct err *e)
{
	struct ckpt_copy *c = w->j->c;
	int r = c->oracle ? ckpt_oracle_note(c->oracle, w->piece.s->mm, start, data, len) : 0;

	if (r < 0)
		return err_code(e, r, "remember pages");
	atomic_fetch_add(&w->j->copied, len);
	return ckpt_encode_pages(w->encoder, w->piece.s->mm, start / CKPT_PAGE, data, len / CKPT_PAGE, e);
}

static int open_memory(struct worker *w, const struct ckpt_source *s)
{
	if (w->opened == s && w->mem >= 0)
		return w->mem;
	fd_close(&w->mem);
	w->opened = s;
	w->mem = ckpt_proc_open(s->pid, "mem");
	return w->mem;
}

static int read_part(struct worker *w, const struct ckpt_source *s, uint64_t start, uint8_t *to, size_t len)
{
	struct iovec l = { to, len }, r = { (void *)(uintptr_t)start, len }; /* NOLINT */
	ssize_t n;
	int mem;

	/* Beyond the end of shared memory that has shrunk, or in its last page, there are zeros. */
	if (s->pid == 0) {
		n = pread(s->fd, to, len, (off_t)start);
		if (n >= 0)
			memset(to + n, 0, len - (size_t)n);
		return n < 0 ? -errno : 0;
	}
	if (!s->family && process_vm_readv(s->pid, &l, 1, &r, 1, 0) == (ssize_t)len)
		return 0;
	/* What the process itself may not read (PROT_NONE), as a debugger would. */
	mem = open_memory(w, s);
	if (mem < 0)
		return mem;
	n = pread(mem, to, len, (off_t)start);
	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EFAULT;
}

/* It is the engine that lacks something: this tells nothing of the memory. */
static bool is_lack(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

static int unread(const struct worker *w, uint64_t at, int r, struct err *e)
{
	return err_code(e, r, "read the memory of process %d at %#llx", (int)w->piece.s->pid, (unsigned long long)at);
}

/* Some of it may have gone meanwhile. */
static int copy_pages(struct worker *w, const struct ckpt_range *t, struct err *e)
{
	int r = 0, n;

	for (uint64_t at = t->start; r == 0 && at < t->end; at += CKPT_PAGE) {
		n = read_part(w, w->piece.s, at, w->buf, CKPT_PAGE);
		if (n == 0)
			r = put(w, at, CKPT_PAGE, w->buf, e);
		else if (is_lack(n))
			r = unread(w, at, n, e);
	}
	return r;
}

/* What cannot be read at once, or could not: part by part, page by page. */
static int copy_slowly(struct worker *w, struct err *e)
{
	const struct piece *p = &w->piece;

	for (size_t i = 0; i < p->count; i++) {
		const struct ckpt_range *t = &p->part[i];
		int r = read_part(w, p->s, t->start, w->buf, t->end - t->start);

		if (r < 0 && (!w->j->c->running || is_lack(r)))
			return unread(w, t->start, r, e);
		r = r == 0 ? put(w, t->start, t->end - t->start, w->buf, e) : copy_pages(w, t, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_piece(struct worker *w, struct err *e)
{
	const struct piece *p = &w->piece;
	struct iovec l = { w->buf, p->len }, parts[PARTS];
	uint8_t *from = w->buf;
	int r = 0;

	for (size_t i = 0; i < p->count; i++)
		parts[i] = (struct iovec){ (void *)(uintptr_t)p->part[i].start, /* NOLINT */
					   p->part[i].end - p->part[i].start };
	if (p->s->pid == 0 || p->s->family ||
	    process_vm_readv(p->s->pid, &l, 1, parts, p->count, 0) != (ssize_t)p->len)
		return copy_slowly(w, e);
	for (size_t i = 0; r == 0 && i < p->count; i++) {
		r = put(w, p->part[i].start, parts[i].iov_len, from, e);
		from += parts[i].iov_len;
	}
	return r;
}

static void fail(struct job *j, const struct err *e)
{
	pthread_mutex_lock(&j->lock);
	if (!j->failed)
		j->err = *e;
	j->failed = true;
	pthread_mutex_unlock(&j->lock);
}

/* The calling thread alone tells of progress. */
static void work(struct worker *w, bool tell)
{
	struct ckpt_copy *c = w->j->c;
	struct err e;

	while (!w->j->failed && next_piece(w->j, &w->piece)) {
		int r = copy_piece(w, &e);

		if (r == 0 && tell)
			r = ckpt_progress(c->progress, &c->done, w->j->copied - c->done, c->total, &e);
		if (r < 0)
			fail(w->j, &e);
	}
}

static void *work_thread(void *worker)
{
	work(worker, false);
	return NULL;
}

static int worker_init(struct worker *w, struct job *j, struct err *e)
{
	w->j = j;
	w->mem = -EBADF;
	w->encoder = ckpt_encoder_new(j->c->w, e);
	if (!w->encoder)
		return -ENOMEM;
	/* The pages are aligned, and the room for a record's header is before them. */
	w->room = aligned_alloc(CKPT_PAGE, CKPT_PAGE + PIECE);
	w->buf = w->room ? w->room + CKPT_PAGE : NULL;
	return w->room ? 0 : err_code(e, -ENOMEM, "copy memory");
}

static size_t worker_count(uint64_t total)
{
	cpu_set_t set;
	size_t n = sched_getaffinity(0, sizeof(set), &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;

	return total < ALONE ? 1 : n < WORKERS ? n : WORKERS;
}

int ckpt_copy_run(struct ckpt_copy *c, struct err *e)
{
	struct job j = { .c = c, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct worker w[WORKERS] = { 0 };
	pthread_t threads[WORKERS];
	size_t n, started = 1;
	int r = 0;

	c->done = c->total = 0;
	for (size_t i = 0; i < c->count; i++)
		for (size_t k = 0; k < c->sources[i].ranges.count; k++)
			c->total += c->sources[i].ranges.r[k].end - c->sources[i].ranges.r[k].start;
	n = worker_count(c->total);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = worker_init(&w[i], &j, e);
	/* Fewer threads than wanted do it as well. */
	while (r == 0 && started < n && ckpt_beside(&threads[started], work_thread, &w[started]))
		started++;
	if (r == 0)
		work(&w[0], true);
	for (size_t i = 1; i < started; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < n && w[i].j; i++) {
		fd_close(&w[i].mem);
		ckpt_encoder_free(w[i].encoder);
		free(w[i].room);
	}
	c->done = j.copied;
	if (r == 0 && j.failed) {
		*e = j.err;
		r = err_errno((enum err_status)e->code);
	}
	return r;
}

static struct ckpt_source *add(struct ckpt_copy *c, uint64_t mm, pid_t pid, int fd)
{
	struct ckpt_source *s = reallocarray(c->sources, c->count + 1, sizeof(*s));

	if (!s)
		return NULL;
	c->sources = s;
	s = &s[c->count++];
	*s = (struct ckpt_source){ .mm = mm, .pid = pid, .fd = fd };
	return s;
}

struct ckpt_source *ckpt_copy_add(struct ckpt_copy *c, uint64_t mm, pid_t pid)
{
	return add(c, mm, pid, -EBADF);
}

struct ckpt_source *ckpt_copy_add_shared(struct ckpt_copy *c, uint64_t mm, int fd)
{
	return add(c, mm, 0, fd);
}

void ckpt_copy_done(struct ckpt_copy *c)
{
	for (size_t i = 0; i < c->count; i++) {
		fd_close(&c->sources[i].fd);
		ckpt_ranges_done(&c->sources[i].ranges);
	}
	free(c->sources);
	c->sources = NULL;
	c->count = 0;
}
