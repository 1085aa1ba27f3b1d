/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What a process has done to semaphores with SEM_UNDO, and they get back when it ends. The kernel keeps it
 * (semadj) and tells nobody, but lets it have 16 bits: a list of operations whose last must fail leaves all
 * as it was (semop(2)), and fails with ERANGE instead of EAGAIN when one before it would have taken the
 * adjustment out of range. So it is searched for, by the process itself.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/ipc.h"
#include "checkpoint/ipc_users.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TOP 32767 /* of a value and of an adjustment; the least adjustment is one less than minus that */
#define OPS 6
#define SCRATCH (CKPT_BATCH_LIST + 4096)

struct probe {
	struct sembuf op[OPS];
	size_t count;
};

struct asking {
	struct ckpt_batch *b;
	struct ckpt_thread *th;
	const Ckpt__IpcObject *set;
	uint16_t number;
	struct err *e;
};

static void put(struct probe *p, uint16_t number, int by, int flags)
{
	if (by)
		p->op[p->count++] = (struct sembuf){ number, (short)by, (short)(flags | IPC_NOWAIT) };
}

/* 1: an operation was out of range; 0: none was; -EACCES: it may not touch these. */
static int ask(const struct asking *q, struct probe *p)
{
	uint64_t at = q->b->scratch + CKPT_BATCH_LIST;
	struct ckpt_call c = { SYS_semop, { (uint64_t)q->set->id, at, 0 }, 0 };
	int r;

	put(p, q->number, -TOP - 1, 0); /* never possible */
	c.args[2] = p->count;
	r = ckpt_mem_write(q->b->pid, at, p->op, p->count * sizeof(p->op[0]));
	if (r < 0)
		return err_code(q->e, r, "ask process %d for its semaphores", (int)q->b->pid);
	r = ckpt_batch_run(q->b, q->th, &c, 1, q->e);
	if (r < 0)
		return r;
	return c.ret == -ERANGE ? 1 : c.ret == -EAGAIN ? 0 : -EACCES;
}

/* Whether the adjustment plus `by` is too much, or minus `by` too little. */
static int is_beyond(const struct asking *q, int by, bool up)
{
	int value = (int)q->set->values[q->number];
	struct probe p = { .count = 0 };

	put(&p, q->number, up ? TOP - value : -value, 0);
	put(&p, q->number, up ? -by : by, SEM_UNDO);
	return ask(q, &p);
}

static int is_negative(const struct asking *q)
{
	struct probe p = { .count = 0 };

	put(&p, q->number, -(int)q->set->values[q->number], 0);
	put(&p, q->number, TOP, SEM_UNDO);
	put(&p, q->number, -TOP, 0);
	put(&p, q->number, 1, SEM_UNDO);
	return ask(q, &p);
}

/* The least of 1 to TOP that is beyond; TOP + 1: none is. */
static int search(const struct asking *q, bool up)
{
	int lo = 1, hi = TOP + 1;

	while (lo < hi) {
		int mid = (lo + hi) / 2, r = is_beyond(q, mid, up);

		if (r < 0)
			return r;
		if (r)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static int find_adjustment(const struct asking *q, int *ret)
{
	int up = is_beyond(q, TOP, true), down = up == 0 ? is_negative(q) : 0, at;

	*ret = 0;
	if (up < 0 || down < 0 || (!up && !down))
		return up < 0 ? up : down;
	at = search(q, up);
	if (at < 0)
		return at;
	*ret = up ? TOP + 1 - at : at - TOP - 2;
	return 0;
}

static int find_all(struct ckpt_dump *d, struct ckpt_task *k, struct asking *q, uint32_t space)
{
	for (size_t i = 0; i < d->tree.ipc_count; i++) {
		q->set = d->tree.ipc[i];
		for (size_t n = 0; q->set->kind == CKPT_IPC_SEM && q->set->space == space && n < q->set->n_values;
		     n++) {
			Ckpt__Undo *u;
			int adjust, r;

			q->number = (uint16_t)n;
			r = find_adjustment(q, &adjust);
			if (r == -EACCES)
				break; /* not its own */
			if (r < 0)
				return r;
			if (!adjust)
				continue;
			u = ckpt_alloc(&d->tree.arena, sizeof(*u));
			if (!u || ckpt_push(&d->tree.arena, &k->process->undos, &k->process->n_undos, u) < 0)
				return err_code(q->e, -ENOMEM, "collect semaphores");
			ckpt__undo__init(u);
			*u = (Ckpt__Undo){ u->base, q->set->id, (uint32_t)n, adjust };
		}
	}
	return 0;
}

/* A process that never asked for it has no list of them, as we have none. */
static bool may_have(const struct ckpt_dump *d, pid_t pid, uint32_t space)
{
	bool sets = false;

	for (size_t i = 0; i < d->tree.ipc_count; i++)
		sets = sets || (d->tree.ipc[i]->kind == CKPT_IPC_SEM && d->tree.ipc[i]->space == space);
	return sets && syscall(SYS_kcmp, getpid(), pid, KCMP_SYSVSEM, 0, 0) != 0;
}

/* The ipc namespace of a process. */
static uint32_t space_of(const struct ckpt_task *k)
{
	return k->threads[0]->n_spaces == CKPT_SPACE_COUNT ? k->threads[0]->spaces[CKPT_SPACE_IPC] : 0;
}

int ckpt_undo_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, struct err *e)
{
	struct ckpt_thread th;
	struct asking q = { .b = b, .th = &th, .e = e };
	struct err ignored;
	int r, left;

	if (!may_have(d, k->pid, space_of(k)))
		return 0;
	r = ckpt_thread_enter(b, &th, k->pid, NULL, e);
	if (r < 0)
		return r;
	r = ckpt_batch_map(b, &th, SCRATCH, e);
	if (r == 0)
		r = find_all(d, k, &q, space_of(k));
	left = ckpt_batch_unmap(b, &th, r < 0 ? &ignored : e);
	r = r < 0 ? r : left;
	left = ckpt_thread_leave(b, &th, r < 0 ? &ignored : e);
	return r < 0 ? r : left;
}

static const Ckpt__IpcObject *find_set(const struct ckpt_tree *t, const struct ckpt_task *k, int id)
{
	for (size_t i = 0; i < t->ipc_count; i++)
		if (t->ipc[i]->kind == CKPT_IPC_SEM && t->ipc[i]->id == id && t->ipc[i]->space == space_of(k))
			return t->ipc[i];
	return NULL;
}

int ckpt_undo_check(const struct ckpt_tree *t, const struct ckpt_task *k, struct err *e)
{
	for (size_t i = 0; i < k->process->n_undos; i++) {
		const Ckpt__Undo *u = k->process->undos[i];
		const Ckpt__IpcObject *set = find_set(t, k, u->id);

		if (!set || u->number >= set->n_values || u->adjust > TOP || u->adjust < -TOP - 1)
			return err_set(e, ERR_FAIL, "the image is damaged: semaphores of process %u", k->process->pid);
	}
	return 0;
}

/* Two operations that leave the value as it was: possible in one order or the other. */
static int twice(struct restoring *p, struct list *l, int id, uint16_t number, int value, int by, int flags,
		 struct err *e)
{
	struct sembuf op[2] = { { number, (short)by, (short)flags }, { number, (short)-by, 0 } };
	int n = list_fits(l, 1, sizeof(op)) ? 0 : list_run(l, &p->batch, &p->threads[0], e);

	if (value + by < 0 || value + by > TOP) {
		struct sembuf first = op[1];

		op[1] = op[0];
		op[0] = first;
	}
	list_call(l, "adjust a semaphore", SYS_semop, (uint64_t)id, list_put(l, op, sizeof(op)), 2, 0, 0, 0);
	return n;
}

static int adjust(const struct ckpt_tree *t, struct restoring *p, struct list *l, const Ckpt__Undo *u,
		  struct err *e)
{
	int value = (int)find_set(t, p->task, u->id)->values[u->number], left = u->adjust, n = 0;
	int most = value > TOP - value ? value : TOP - value; /* that one operation can do */

	while (n == 0 && left) {
		int step = left > most ? most : left < -most ? -most : left;

		n = twice(p, l, u->id, (uint16_t)u->number, value, -step, SEM_UNDO, e);
		left -= step;
	}
	return n;
}

/* Who changed a semaphore last: once all adjustments are there. */
static int touch(const struct ckpt_tree *t, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; i < t->ipc_count; i++) {
		const Ckpt__IpcObject *o = t->ipc[i];

		for (size_t k = 0; n == 0 && o->kind == CKPT_IPC_SEM && o->space == space_of(p->task) && k < o->n_pids;
		     k++)
			if (o->pids[k] == p->task->process->pid)
				n = twice(p, l, o->id, (uint16_t)k, (int)o->values[k], 1, 0, e);
	}
	return n == 0 && l->count ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

int restore_sem(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++) {
		struct restoring *p = &r->procs[i];

		for (size_t k = 0; n == 0 && k < p->task->process->n_undos; k++)
			n = adjust(&r->tree, p, l, p->task->process->undos[k], e);
		if (n == 0 && l->count)
			n = list_run(l, &p->batch, &p->threads[0], e);
	}
	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		n = touch(&r->tree, &r->procs[i], l, e);
	return n == 0 ? restore_ipc_users(r, l, e) : n;
}
