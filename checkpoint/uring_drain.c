/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Requests of io_uring that are under way, by the threads that have made them. */
#include "base/macro.h"
#include "checkpoint/drain.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/uring_waiting.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>

/* Requests that a thread has made and that are not complete: as the kernel counts them, but for those that it has counted
 * in advance. */
static int count_pending(struct ckpt_dump *d, uint64_t tctx, uint32_t *ret, struct err *e)
{
	uint64_t ahead, all, counters, each;
	int r = ckpt_kernel_member(d->kernel, tctx, "io_uring_task", "cached_refs", 4, &ahead, e);

	if (r == 0)
		r = ckpt_kernel_member(d->kernel, tctx, "io_uring_task", "inflight.count", 8, &all, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, tctx, "io_uring_task", "inflight.counters", 8, &counters, e);
	if (r == 0)
		r = ckpt_kernel_sum(d->kernel, counters, NULL, NULL, &each, e);
	if (r == 0)
		*ret = (uint32_t)(all + each - ahead);
	return r;
}

/* What is complete is put into rings by the thread that asked for it, on its way out of a call; so is what had no
 * room there before. */
static int let_complete(const struct ckpt_uring_table *t, const struct ckpt_uring_wait *one, struct ckpt_batch *b,
			struct ckpt_thread *th, struct err *e)
{
	struct ckpt_call c = { SYS_getpid, { 0 }, 0 };
	int r = ckpt_batch_one(b, th, &c, &c.ret, e);

	for (size_t i = one->serves; r == 0 && i; i = t->ring[i - 1].next) {
		c = (struct ckpt_call){ SYS_io_uring_enter, { (uint64_t)t->ring[i - 1].fd, 0, 0, IORING_ENTER_GETEVENTS }, 0 };
		r = ckpt_batch_one(b, th, &c, &c.ret, e);
	}
	return r;
}

static int serve_thread(const struct ckpt_uring_waits *w, const struct ckpt_uring_wait *one, struct ckpt_batch *b,
			struct err *e)
{
	struct ckpt_thread th = { .entered = false };
	struct err ignored;
	int left, r = ckpt_thread_enter(b, &th, one->tid, NULL, e);

	if (r == 0)
		r = let_complete(&w->tables[one->table], one, b, &th, e);
	left = th.entered ? ckpt_thread_leave(b, &th, r < 0 ? &ignored : e) : 0;
	return r < 0 ? r : left;
}

/* The threads of a process, the first of which is `*i`; then that of the next one. */
static int serve_process(struct ckpt_dump *d, const struct ckpt_uring_waits *w, size_t *i, struct err *e)
{
	size_t process = w->list[*i].process;
	const struct ckpt_process *p = &d->frozen.procs[process];
	struct ckpt_batch b = { .mem = -EBADF };
	int r = ckpt_batch_open(&b, p->pid, p->tids, p->count, e);

	for (; *i < w->count && w->list[*i].process == process; ++*i)
		if (r == 0)
			r = serve_thread(w, &w->list[*i], &b, e);
	ckpt_batch_close(&b);
	return r;
}

int ckpt_uring_waits_serve(struct ckpt_dump *d, const struct ckpt_uring_waits *w, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->count;) {
		r = serve_process(d, w, &i, e);
		if (r < 0 && d->check && e->code == ERR_UNSUPPORTED)
			r = 0; /* of a process that runs no lists: who looks at it says so */
	}
	return r;
}

/* Each ring once, whoever has it open. */
static int find_left(struct ckpt_dump *d, const struct ckpt_uring_waits *w, struct ckpt_uring_left *ret,
		     const struct ckpt_uring_wait **ret_who, struct err *e)
{
	int r = 0;

	ret->ring = calloc(w->ring_count + 1, sizeof(*ret->ring));
	if (!ret->ring)
		return err_code(e, -ENOMEM, "look for io_urings");
	for (size_t i = 0; r == 0 && i < w->ring_count; i++) {
		struct ckpt_uring_left_ring *fresh = &ret->ring[ret->count++];

		*ret_who = &w->list[w->tables[w->rings[i].of].owner];
		fresh->ctx = w->rings[i].at;
		r = ckpt_uring_asked_find(d->kernel, fresh->ctx, &fresh->asked, e);
		ret->seen += fresh->asked.seen;
		if (r == 0 && ret->seen > CKPT_URING_ASKED_ALL)
			r = -E2BIG;
	}
	return r;
}

/* Of how many requests that are left each thread is the one that made them. */
static int count_left(const struct ckpt_uring_left *l, const struct ckpt_uring_waits *w, uint32_t **ret, struct err *e)
{
	uint32_t *n = *ret = calloc(w->count + 1, sizeof(*n));

	if (!n)
		return err_code(e, -ENOMEM, "look for io_urings");
	for (size_t i = 0; i < l->count; i++)
		for (size_t k = 0; k < l->ring[i].asked.count; k++) {
			const struct ckpt_uring_wait *by = ckpt_uring_waits_of(w, l->ring[i].asked.list[k].tctx);

			if (by)
				n[by - w->list]++;
		}
	return 0;
}

/* Rings that have yet to tell their eventfd: of what somebody has completed who was writing to another one (they might
 * wait for each other), the kernel does so after an RCU grace period. */
static int count_untold(struct ckpt_dump *d, const struct ckpt_uring_waits *w, uint64_t *ret,
			const struct ckpt_uring_wait **ret_who, struct err *e)
{
	uint64_t at, refs;
	bool tells = w->ring_count && ckpt_kernel_has(d->kernel, "io_ev_fd", "refs");
	int r = 0;

	for (size_t i = 0; r == 0 && tells && i < w->ring_count; i++) {
		r = ckpt_kernel_member(d->kernel, w->rings[i].at, "io_ring_ctx", "io_ev_fd", 8, &at, e);
		if (r < 0 || !at)
			continue;
		/* A flag says so, too, but 6.18 does not take that back. */
		r = ckpt_kernel_member(d->kernel, at, "io_ev_fd", "refs", 4, &refs, e);
		if (r == 0 && refs > 1) {
			*ret += 1;
			*ret_who = &w->list[w->tables[w->rings[i].of].owner];
		}
	}
	return r;
}

int ckpt_uring_waits_count(struct ckpt_dump *d, const struct ckpt_uring_waits *w, uint64_t *ret,
			   const struct ckpt_uring_wait **ret_who, struct ckpt_uring_left *ret_left, struct err *e)
{
	cleanup_free uint32_t *left = NULL;
	uint32_t pending = 0, any = 0;
	int r = 0;

	*ret = 0;
	*ret_left = (struct ckpt_uring_left){ 0 };
	r = count_untold(d, w, ret, ret_who, e);
	for (size_t i = 0; r == 0 && !any && i < w->count; i++)
		r = count_pending(d, w->list[i].tctx, &any, e);
	if (r == 0 && any)
		r = find_left(d, w, ret_left, ret_who, e);
	if (r == 0 && any)
		r = count_left(ret_left, w, &left, e);
	for (size_t i = 0; r == 0 && any && i < w->count; i++) {
		r = count_pending(d, w->list[i].tctx, &pending, e);
		ret_left->all += pending;
		pending -= left[i];
		*ret += pending;
		if (pending)
			*ret_who = &w->list[i];
	}
	if (r < 0)
		ckpt_uring_left_done(ret_left);
	return r;
}

static int by_ring(const void *one, const void *other)
{
	const struct ckpt_uring_left_ring *a = one, *b = other;

	return a->ctx < b->ctx ? -1 : a->ctx > b->ctx;
}

const struct ckpt_uring_asked *ckpt_uring_left_of(const struct ckpt_uring_left *l, uint64_t ctx)
{
	struct ckpt_uring_left_ring key = { .ctx = ctx };
	const struct ckpt_uring_left_ring *found = l->count ? bsearch(&key, l->ring, l->count, sizeof(key), by_ring) : NULL;

	return found ? &found->asked : NULL;
}

bool ckpt_uring_left_same(const struct ckpt_uring_left *a, const struct ckpt_uring_left *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++) {
		const struct ckpt_uring_asked *x = &a->ring[i].asked, *y = &b->ring[i].asked;

		same = a->ring[i].ctx == b->ring[i].ctx && ckpt_uring_asked_same(x, y);
	}
	return same;
}

void ckpt_uring_left_done(struct ckpt_uring_left *l)
{
	for (size_t i = 0; i < l->count; i++)
		ckpt_uring_asked_done(&l->ring[i].asked);
	free(l->ring);
	*l = (struct ckpt_uring_left){ 0 };
}
