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

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

#define SECOND 1000000000ull

static int refuse(const struct ckpt_seen *s, const char *what, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is an io_uring that %s, which cannot be saved", s->fd,
		       (int)s->pid, what);
}

/* Whose request it is: its process is *ret_task. NULL: nobody's. */
static const Ckpt__Thread *find_thread(struct ckpt_dump *d, uint64_t tctx, const struct ckpt_task **ret_task)
{
	struct err ignored;
	uint64_t at;

	for (size_t i = 0; i < d->tree.task_count; i++)
		for (size_t n = 0; n < d->tree.tasks[i].thread_count; n++) {
			*ret_task = &d->tree.tasks[i];
			if (ckpt_uring_task(d, d->tree.tasks[i].tids[n], &at, &ignored) == 0 && at == tctx)
				return d->tree.tasks[i].threads[n];
		}
	return NULL;
}

static bool find_file(const Ckpt__FdTable *table, const uint64_t *file_at, uint64_t at, int32_t *ret)
{
	for (size_t i = 0; i < table->n_fd; i++)
		if (table->fd[i]->file && file_at[table->fd[i]->file - 1] == at) {
			*ret = (int32_t)table->fd[i]->fd;
			return true;
		}
	return false;
}

/* As the VPS's clock goes, which a restore may find behind. */
static int read_now(pid_t init, uint64_t *ret, struct err *e)
{
	int64_t offset[2] = { 0 };
	int r = ckpt_clock_offsets(init, offset, e);

	*ret = now_monotonic_us() * 1000 + (uint64_t)offset[0];
	return r;
}

static bool has_time_of_day(const struct io_uring_sqe *sqe)
{
	return sqe->timeout_flags & IORING_TIMEOUT_ABS;
}

static int add(struct ckpt_dump *d, const Ckpt__File *f, const struct ckpt_seen *s, const struct ckpt_uring_request *q,
	       const uint64_t *file_at, struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	Ckpt__UringRequest *out = ckpt_alloc(a, sizeof(*out));
	struct io_uring_sqe sqe = q->sqe;
	const struct ckpt_task *k = NULL;
	const Ckpt__Thread *th = find_thread(d, q->tctx, &k);
	const Ckpt__FdTable *table = th ? ckpt_uring_table(k, th) : NULL;
	uint64_t now;
	int r = read_now(d->init, &now, e);

	if (r < 0)
		return r;
	if (!table || ckpt_uring_find(&d->tree, table, f) < 0)
		return refuse(s, "has a request of a thread that does not have it open", e);
	if (q->file && !find_file(table, file_at, q->file, &sqe.fd))
		return refuse(s, "has a request for a file that its thread does not have open", e);
	if (!out || ckpt_push(a, &f->uring->request, &f->uring->n_request, out) < 0)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__uring_request__init(out);
	out->thread = th->tid;
	out->time_ns = q->time_ns && !has_time_of_day(&sqe) ? now + q->time_ns : q->time_ns;
	out->sqe.data = ckpt_memdup(a, &sqe, sizeof(sqe));
	out->sqe.len = sizeof(sqe);
	return out->sqe.data ? 0 : err_code(e, -ENOMEM, "collect files");
}

int ckpt_uring_asked_collect(struct ckpt_dump *d, const Ckpt__File *f, const struct ckpt_seen *s, uint64_t ctx,
			     const uint64_t *file_at, struct err *e)
{
	const struct ckpt_uring_asked *before = NULL;
	struct ckpt_uring_asked now;
	int r;

	for (size_t i = 0; i < d->left.count; i++)
		if (d->left.ring[i].ctx == ctx)
			before = &d->left.ring[i].asked;
	if (!before)
		return 0;
	r = ckpt_uring_asked_find(d->kernel, ctx, &now, e);
	if (r < 0)
		return r;
	if (!ckpt_uring_asked_same(before, &now)) {
		err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is an io_uring whose requests ended while it was looked at",
			s->fd, (int)s->pid);
		r = -EAGAIN;
	}
	for (size_t i = 0; r == 0 && i < now.count; i++)
		r = add(d, f, s, &now.list[i], file_at, e);
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

static bool has_open(const Ckpt__FdTable *table, int32_t fd)
{
	for (size_t i = 0; i < table->n_fd; i++)
		if ((int64_t)table->fd[i]->fd == fd)
			return true;
	return false;
}

static bool fits(const struct ckpt_tree *t, const Ckpt__File *f, const Ckpt__UringRequest *q)
{
	struct io_uring_sqe sqe;

	if (q->sqe.len != sizeof(sqe) || q->time_ns > INT64_MAX)
		return false;
	memcpy(&sqe, q->sqe.data, sizeof(sqe));
	for (size_t i = 0; may_ask(&sqe) && i < t->task_count; i++)
		for (size_t n = 0; t->tasks[i].fds && n < t->tasks[i].thread_count; n++) {
			const Ckpt__Thread *th = t->tasks[i].threads[n];
			const Ckpt__FdTable *table = ckpt_uring_table(&t->tasks[i], th);

			if (th->tid == q->thread)
				return ckpt_uring_find(t, table, f) >= 0 &&
				       (sqe.opcode == IORING_OP_TIMEOUT || has_open(table, sqe.fd));
		}
	return false;
}

bool ckpt_uring_asked_fit(const struct ckpt_tree *t, const Ckpt__File *f)
{
	const Ckpt__Uring *u = f->uring;
	bool good = u->n_request <= u->sq_head;

	for (size_t i = 0; good && i < u->n_request; i++)
		good = fits(t, f, u->request[i]);
	return good;
}

/* In the place of the next one, whose contents are the program's: they are put back. */
static int ask(struct restoring *p, size_t thread, const struct ckpt_uring *u, int fd, const struct io_uring_sqe *sqe,
	       struct list *l, struct err *e)
{
	struct ckpt_uring_place was;
	int n;

	ckpt_uring_put(u, sqe, &was);
	list_call(l, "make a request of an io_uring again", SYS_io_uring_enter, (uint64_t)fd, 1, 0, 0, 0, 0);
	n = list_run(l, &p->batch, &p->threads[thread], e);
	ckpt_uring_put_back(u, &was);
	if (n == 0 && l->calls[0].ret != 1)
		n = err_set(e, ERR_FAIL, "an io_uring of process %u takes no request", p->task->process->pid);
	return n;
}

static int put_time(struct restore *r, struct io_uring_sqe *sqe, uint64_t end, struct list *l, struct err *e)
{
	struct timespec ts;
	uint64_t now = 0;
	int n = has_time_of_day(sqe) ? 0 : read_now(rt_init_pid(r->vps), &now, e);

	end = end > now ? end - now : 1;
	ts = (struct timespec){ (time_t)(end / SECOND), (long)(end % SECOND) };
	sqe->addr = list_put(l, &ts, sizeof(ts));
	return n;
}

static int ask_all(struct restore *r, struct restoring *p, size_t thread, const Ckpt__File *f, struct list *l,
		   struct err *e)
{
	const Ckpt__Thread *th = p->task->threads[thread];
	int fd = (int)ckpt_uring_find(&r->tree, ckpt_uring_table(p->task, th), f);
	struct ckpt_uring u;
	int n = ckpt_uring_take(&u, f->uring, p->threads[thread].tid, fd, e);

	for (size_t i = 0; n == 0 && i < f->uring->n_request; i++) {
		const Ckpt__UringRequest *q = f->uring->request[i];
		struct io_uring_sqe sqe;

		if (q->thread != th->tid)
			continue;
		memcpy(&sqe, q->sqe.data, sizeof(sqe));
		if (sqe.opcode == IORING_OP_TIMEOUT)
			n = put_time(r, &sqe, q->time_ns, l, e);
		if (n == 0)
			n = ask(p, thread, &u, fd, &sqe, l, e);
	}
	ckpt_uring_give_up(&u);
	return n;
}

static bool has_asked(const Ckpt__File *f, uint32_t tid)
{
	for (size_t i = 0; f->uring && i < f->uring->n_request; i++)
		if (f->uring->request[i]->thread == tid)
			return true;
	return false;
}

int restore_uring_requests(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.file_count; i++)
		for (size_t k = 0; n == 0 && r->tree.files[i]->uring && k < p->task->thread_count; k++) {
			if (!has_asked(r->tree.files[i], p->task->threads[k]->tid))
				continue;
			list_init(l, r);
			n = ask_all(r, p, k, r->tree.files[i], l, e);
		}
	return n;
}
