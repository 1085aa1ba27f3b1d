/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Requests that waited when a ring was saved: into its record, and made again by their threads. (uring_waiting.h) */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kinds.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/uring.h"
#include "checkpoint/uring_waiting.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

#define SECOND 1000000000ull
#define AGAIN_MAX 64u /* requests made by one call */

static int refuse(const struct ckpt_seen *s, const char *what, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is an io_uring that %s, which cannot be saved", s->fd,
		       (int)s->pid, what);
}

/* A ring whose requests are written down, at one instant. */
struct asking {
	struct ckpt_dump *d;
	const Ckpt__File *f;
	const struct ckpt_seen *s;
	const struct ckpt_uring_known *known;
	uint64_t at, now_ns;
};

/* Whose request it is; NULL: nobody's. */
static const struct ckpt_whose_thread *find_thread(const struct asking *a, uint64_t tctx)
{
	const struct ckpt_uring_wait *who = ckpt_uring_waits_of(&a->d->waits, tctx);

	return who ? ckpt_whose_find(&a->known->threads, (uint32_t)who->tid) : NULL;
}

/* How far the VPS's clock, which a restore may find behind, is from ours. */
static int read_offset(pid_t init, uint64_t *ret, struct err *e)
{
	int64_t offset[2] = { 0 };
	int r = ckpt_clock_offsets(init, offset, e);

	*ret = (uint64_t)offset[0];
	return r;
}

static bool has_time_of_day(const struct io_uring_sqe *sqe)
{
	return sqe->timeout_flags & IORING_TIMEOUT_ABS;
}

static int add(const struct asking *a, const struct ckpt_uring_request *q, struct err *e)
{
	struct ckpt_arena *arena = &a->d->tree.arena;
	Ckpt__UringRequest *out = ckpt_alloc(arena, sizeof(*out));
	struct io_uring_sqe sqe = q->sqe;
	const struct ckpt_whose_thread *w = find_thread(a, q->tctx);
	const Ckpt__Thread *th = w ? w->task->threads[w->thread] : NULL;
	const Ckpt__FdTable *table = th ? ckpt_uring_table(w->task, th) : NULL;
	int64_t fd = table && q->file ? ckpt_opened_find(&a->known->open, table, q->file) : 0;

	if (!table || ckpt_opened_find(&a->known->open, table, a->at) < 0)
		return refuse(a->s, "has a request of a thread that does not have it open", e);
	if (fd < 0)
		return refuse(a->s, "has a request for a file that its thread does not have open", e);
	if (!out || ckpt_push(arena, &a->f->uring->request, &a->f->uring->n_request, out) < 0)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__uring_request__init(out);
	sqe.fd = (int32_t)fd;
	out->thread = th->tid;
	out->time_ns = q->time_ns && !has_time_of_day(&sqe) ? a->now_ns + q->time_ns : q->time_ns;
	out->sqe.data = ckpt_memdup(arena, &sqe, sizeof(sqe));
	out->sqe.len = sizeof(sqe);
	return out->sqe.data ? 0 : err_code(e, -ENOMEM, "collect files");
}

int ckpt_uring_asked_collect(struct ckpt_dump *d, const Ckpt__File *f, const struct ckpt_seen *s, uint64_t ctx,
			     const struct ckpt_uring_known *known, uint64_t at, struct err *e)
{
	struct asking a = { d, f, s, known, at, 0 };
	const struct ckpt_uring_asked *before = ckpt_uring_left_of(&d->left, ctx);
	struct ckpt_uring_asked now;
	int r;

	if (!before)
		return 0;
	r = ckpt_uring_asked_find(d->kernel, ctx, &now, e);
	if (r < 0)
		return r == -E2BIG ? -EAGAIN : r; /* they were fewer before */
	if (!ckpt_uring_asked_same(before, &now)) {
		err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is an io_uring whose requests ended while it was looked at",
			s->fd, (int)s->pid);
		r = -EAGAIN;
	}
	if (r == 0 && now.count)
		r = read_offset(d->init, &a.now_ns, e);
	a.now_ns += now_monotonic_us() * 1000;
	for (size_t i = 0; r == 0 && i < now.count; i++)
		r = add(&a, &now.list[i], e);
	ckpt_uring_asked_done(&now);
	return r;
}

static bool may_ask(const struct io_uring_sqe *sqe)
{
	static const uint8_t opcodes[] = { IORING_OP_POLL_ADD, IORING_OP_RECV, IORING_OP_ACCEPT, IORING_OP_READ,
					   IORING_OP_TIMEOUT };
	bool known = false;

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++)
		known |= sqe->opcode == opcodes[i];
	return known && !(sqe->flags & ~(IOSQE_ASYNC | IOSQE_CQE_SKIP_SUCCESS)) && !sqe->buf_index && !sqe->personality &&
	       !sqe->file_index;
}

/* What is open, in an image: by the files' ids, and by their fds. */
struct opened {
	struct ckpt_whose threads;
	struct ckpt_opened files, fds;
};

static uint64_t by_file(const void *arg, const Ckpt__Fd *fd)
{
	(void)arg;
	return fd->file;
}

static uint64_t by_fd(const void *arg, const Ckpt__Fd *fd)
{
	(void)arg;
	return (uint64_t)fd->fd + 1;
}

static int find_opened(const struct ckpt_tree *t, struct opened *o)
{
	int r = ckpt_whose_make(t, CKPT_BY_TID, &o->threads);

	if (r == 0)
		r = ckpt_opened_make(t, by_file, NULL, &o->files);
	return r == 0 ? ckpt_opened_make(t, by_fd, NULL, &o->fds) : r;
}

static void opened_done(struct opened *o)
{
	ckpt_whose_done(&o->threads);
	ckpt_opened_done(&o->files);
	ckpt_opened_done(&o->fds);
}

/* Of the ring with that id. */
static bool fits(const struct opened *o, size_t id, const Ckpt__UringRequest *q)
{
	const struct ckpt_whose_thread *w = ckpt_whose_find(&o->threads, q->thread);
	const Ckpt__FdTable *table = w ? ckpt_uring_table(w->task, w->task->threads[w->thread]) : NULL;
	struct io_uring_sqe sqe;

	if (!table || q->sqe.len != sizeof(sqe) || q->time_ns > INT64_MAX)
		return false;
	memcpy(&sqe, q->sqe.data, sizeof(sqe));
	return may_ask(&sqe) && ckpt_opened_find(&o->files, table, id) >= 0 &&
	       (sqe.opcode == IORING_OP_TIMEOUT || (sqe.fd >= 0 && ckpt_opened_find(&o->fds, table, (uint64_t)sqe.fd + 1) >= 0));
}

static bool all_fit(const struct ckpt_tree *t, const struct opened *o)
{
	bool good = true;

	for (size_t i = 0; good && i < t->file_count; i++) {
		const Ckpt__Uring *u = t->files[i]->uring;

		good = !u || (u->n_request <= u->sq_head && u->n_request <= CKPT_URING_ASKED_MAX);
		for (size_t n = 0; good && u && n < u->n_request; n++)
			good = fits(o, i + 1, u->request[n]);
	}
	return good;
}

int ckpt_uring_asked_check(const struct ckpt_tree *t, struct err *e)
{
	struct opened o = { 0 };
	size_t all = 0;
	bool good;
	int r;

	for (size_t i = 0; i < t->file_count; i++)
		all += t->files[i]->uring ? t->files[i]->uring->n_request : 0;
	if (!all)
		return 0;
	r = all <= CKPT_URING_ASKED_ALL ? find_opened(t, &o) : 0;
	good = r == 0 && all <= CKPT_URING_ASKED_ALL && all_fit(t, &o);
	opened_done(&o);
	if (r < 0)
		return err_code(e, r, "read the image");
	return good ? 0 : err_set(e, ERR_FAIL, "the image is damaged: requests of io_urings");
}

/* Those that a thread makes again by one call: in the places of the next ones, whose contents are the program's. */
struct again {
	struct restoring *p;
	size_t thread;
	int fd;
	struct ckpt_uring u;
	uint64_t offset; /* of the VPS's clock */
	uint32_t count, most;
	struct ckpt_uring_place was[AGAIN_MAX];
};

static int ask(struct again *a, struct list *l, struct err *e)
{
	uint32_t count = a->count;
	int n;

	if (!count)
		return 0;
	list_call(l, "make requests of an io_uring again", SYS_io_uring_enter, (uint64_t)a->fd, count, 0, 0, 0, 0);
	n = list_run(l, &a->p->batch, &a->p->threads[a->thread], e);
	while (a->count)
		ckpt_uring_put_back(&a->u, &a->was[--a->count]);
	if (n == 0 && l->calls[0].ret != (int64_t)count)
		n = err_set(e, ERR_FAIL, "an io_uring of process %u takes no request", a->p->task->process->pid);
	return n;
}

static void put_time(const struct again *a, struct io_uring_sqe *sqe, uint64_t end, struct list *l)
{
	uint64_t now = has_time_of_day(sqe) ? 0 : now_monotonic_us() * 1000 + a->offset;
	struct timespec ts;

	end = end > now ? end - now : 1;
	ts = (struct timespec){ (time_t)(end / SECOND), (long)(end % SECOND) };
	sqe->addr = list_put(l, &ts, sizeof(ts));
}

static int add_again(struct again *a, const Ckpt__UringRequest *q, struct list *l, struct err *e)
{
	struct io_uring_sqe sqe;
	int n = a->count == a->most || !list_fits(l, 1, sizeof(struct timespec)) ? ask(a, l, e) : 0;

	if (n < 0)
		return n;
	memcpy(&sqe, q->sqe.data, sizeof(sqe));
	if (sqe.opcode == IORING_OP_TIMEOUT)
		put_time(a, &sqe, q->time_ns, l);
	ckpt_uring_put(&a->u, &sqe, a->count, &a->was[a->count]);
	a->count++;
	return 0;
}

static int ask_all(struct restore *r, struct restoring *p, size_t thread, const Ckpt__File *f, struct list *l,
		   struct err *e)
{
	const Ckpt__Thread *th = p->task->threads[thread];
	struct again a = { .p = p, .thread = thread };
	int n;

	a.fd = (int)ckpt_uring_find(&r->tree, ckpt_uring_table(p->task, th), f);
	n = ckpt_uring_take(&a.u, f->uring, p->threads[thread].tid, a.fd, e);
	if (n == 0)
		n = read_offset(rt_init_pid(r->vps), &a.offset, e);
	if (n == 0)
		a.most = a.u.params.sq_entries < AGAIN_MAX ? a.u.params.sq_entries : AGAIN_MAX;
	for (size_t i = 0; n == 0 && i < f->uring->n_request; i++)
		if (f->uring->request[i]->thread == th->tid)
			n = add_again(&a, f->uring->request[i], l, e);
	if (n == 0)
		n = ask(&a, l, e);
	ckpt_uring_give_up(&a.u);
	return n;
}

static bool has_asked(const Ckpt__File *f, uint32_t tid)
{
	for (size_t i = 0; i < f->uring->n_request; i++)
		if (f->uring->request[i]->thread == tid)
			return true;
	return false;
}

int restore_uring_requests(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->ring_count; i++)
		for (size_t k = 0; n == 0 && k < p->task->thread_count; k++) {
			if (!has_asked(r->rings[i], p->task->threads[k]->tid))
				continue;
			list_init(l, r);
			n = ask_all(r, p, k, r->rings[i], l, e);
		}
	return n;
}
