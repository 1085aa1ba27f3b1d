/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A ring for one thread alone belongs to the thread that has made it, or enabled it. It is made disabled, so that what is
 * registered with it can be; then its thread enables it and makes requests that do nothing. The completions of those
 * it takes out itself, in the same list: futex(2) adds to a word of memory.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kernel.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/uring.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static const Ckpt__Thread *find_owner(const struct ckpt_tree *t, const Ckpt__File *f)
{
	for (size_t i = 0; i < t->task_count; i++)
		for (size_t n = 0; n < t->tasks[i].thread_count; n++) {
			const Ckpt__Thread *th = t->tasks[i].threads[n];

			if (th->tid == f->uring->owner)
				return t->tasks[i].fds && ckpt_uring_find(t, ckpt_uring_table(&t->tasks[i], th), f) >= 0 ? th : NULL;
		}
	return NULL;
}

bool ckpt_uring_owner_fits(const struct ckpt_tree *t, const Ckpt__File *f)
{
	const Ckpt__Uring *u = f->uring;
	bool owned = (u->flags & IORING_SETUP_SINGLE_ISSUER) && !(u->flags & IORING_SETUP_R_DISABLED);

	if (!(u->flags & IORING_SETUP_SINGLE_ISSUER) && (u->flags & IORING_SETUP_DEFER_TASKRUN))
		return false;
	if (!owned)
		return !u->owner;
	return u->n_request <= u->sq_head && u->cq_tail <= u->sq_head - u->n_request && u->sq_head / ckpt_uring_step(u) <= CKPT_URING_CALLS_MAX &&
	       find_owner(t, f) != NULL;
}

/* The thread of that task_struct, if it has the ring open; `at`: where the kernel has that. */
static int find_task(struct ckpt_dump *d, uint64_t task, const struct ckpt_uring_known *known, uint64_t at, uint32_t *ret,
		     struct err *e)
{
	const struct ckpt_whose_thread *w;
	const Ckpt__Thread *th;
	int r = d->waits.threads ? 0 : ckpt_uring_waits_find(d, &d->waits, e);

	if (r < 0)
		return r;
	w = ckpt_whose_find(&known->threads, (uint32_t)ckpt_uring_waits_tid(&d->waits, task));
	th = w ? w->task->threads[w->thread] : NULL;
	if (th && ckpt_opened_find(&known->open, ckpt_uring_table(w->task, th), at) >= 0)
		*ret = th->tid;
	return 0;
}

int ckpt_uring_owner_collect(struct ckpt_dump *d, const Ckpt__File *f, const struct ckpt_seen *s, uint64_t ctx,
			     const struct ckpt_uring_known *known, uint64_t at, struct err *e)
{
	Ckpt__Uring *u = f->uring;
	const char *what = NULL;
	uint64_t task;
	int r;

	if (!(u->flags & IORING_SETUP_SINGLE_ISSUER) || (u->flags & IORING_SETUP_R_DISABLED))
		return 0;
	r = ckpt_kernel_member(d->kernel, ctx, "io_ring_ctx", "submitter_task", 8, &task, e);
	if (r == 0)
		r = find_task(d, task, known, at, &u->owner, e);
	if (r < 0)
		return r;
	if (!u->owner)
		what = "is for one thread alone, which has ended or does not have it open";
	else if (u->cq_tail > u->sq_head - u->n_request)
		what = "is for one thread alone and has had more completions than requests";
	else if (u->sq_head / ckpt_uring_step(u) > CKPT_URING_CALLS_MAX)
		what = "is for one thread alone and has served too many requests";
	return what ? err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is an io_uring that %s, which cannot be saved", s->fd,
			      (int)s->pid, what) : 0;
}

/* A ring on its way, and who is at work. */
struct owning {
	struct restoring *p;
	size_t thread;
	struct list *l;
	uint64_t fd, at;       /* mapped by the thread, there */
	struct ckpt_uring u;   /* and by us */
	const Ckpt__Uring *as;
};

static int run(struct owning *o, struct err *e)
{
	return list_run(o->l, &o->p->batch, &o->p->threads[o->thread], e);
}

/* futex(2): a power of two is added. */
static uint64_t add_op(uint32_t step)
{
	const unsigned op = FUTEX_OP_ADD | FUTEX_OP_OPARG_SHIFT;

	return FUTEX_OP(op, (unsigned)__builtin_ctz(step), FUTEX_OP_CMP_EQ, 0);
}

static int submit(struct owning *o, bool silent, uint32_t times, struct err *e)
{
	uint64_t head = o->at + o->u.params.cq_off.head;
	uint32_t step = ckpt_uring_step(o->as), n;
	int r = 0;

	ckpt_uring_ready(&o->u, silent, times);
	for (uint32_t done = 0; r == 0 && done < times; done += n) {
		n = times - done < step ? times - done : step;
		if (!list_fits(o->l, 34, 0))
			r = run(o, e);
		list_call(o->l, "make requests of an io_uring", SYS_io_uring_enter, o->fd, n, 0, 0, 0, 0);
		/* The last of them may be no power of two. */
		for (uint32_t bit = 1; !silent && bit <= n; bit <<= 1)
			if (n & bit)
				list_call(o->l, "take completions", SYS_futex, head, FUTEX_WAKE_OP_PRIVATE, 0, 0, head,
					  add_op(bit));
	}
	return r == 0 ? run(o, e) : r;
}

static int enable(struct owning *o, struct err *e)
{
	int r;

	list_call(o->l, "enable an io_uring", SYS_io_uring_register, o->fd, IORING_REGISTER_ENABLE_RINGS, 0, 0, 0, 0);
	list_call(o->l, "map an io_uring", SYS_mmap, 0, o->u.ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, o->fd,
		  IORING_OFF_SQ_RING);
	r = run(o, e);
	o->at = r == 0 ? (uint64_t)o->l->calls[1].ret : 0;
	return r;
}

static int advance(struct owning *o, struct err *e)
{
	const Ckpt__Uring *as = o->as;
	int r = enable(o, e);

	if (r == 0 && as->cq_tail)
		r = submit(o, false, as->cq_tail, e);
	if (r == 0 && as->sq_head > as->cq_tail)
		r = submit(o, true, as->sq_head - as->cq_tail, e);
	if (r < 0)
		return r;
	list_call(o->l, "unmap an io_uring", SYS_munmap, o->at, o->u.ring_size, 0, 0, 0, 0);
	r = run(o, e);
	return r == 0 ? ckpt_uring_finish(&o->u, as, e) : r;
}

static int own(struct owning *o, struct err *e)
{
	int r = ckpt_uring_take(&o->u, o->as, o->p->threads[o->thread].tid, (int)o->fd, e);

	if (r == 0)
		r = advance(o, e);
	ckpt_uring_give_up(&o->u);
	return r;
}

int restore_uring_owned(struct restore *r, struct restoring *p, size_t thread, struct list *l, struct err *e)
{
	const Ckpt__Thread *th = p->task->threads[thread];
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->ring_count; i++) {
		const Ckpt__File *f = r->rings[i];
		struct owning o = { .p = p, .thread = thread, .l = l };
		Ckpt__Uring as;

		if (f->uring->owner != th->tid)
			continue;
		list_init(l, r);
		as = ckpt_uring_before(f->uring);
		o.as = &as;
		o.fd = (uint64_t)ckpt_uring_find(&r->tree, ckpt_uring_table(p->task, th), f);
		n = own(&o, e);
	}
	return n;
}
