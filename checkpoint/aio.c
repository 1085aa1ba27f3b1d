/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/aio.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/drain.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kernel.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#define MAGIC 0xa10a10a1u
#define EVENT sizeof(struct io_event)
#define PER_PAGE (CKPT_PAGE / EVENT)
#define EVENTS_MAX 32768u /* that were not taken out: a record must hold them */
#define CHUNK 256u        /* requests at once */

/* The first bytes of a ring; slots follow. (fs/aio.c) */
struct ring {
	uint32_t id, slots, head, tail, magic, compat, incompat, header;
};

static uint64_t slots_of(const Ckpt__Area *a)
{
	return (a->end - a->start - sizeof(struct ring)) / EVENT;
}

/* Between the head and the tail. */
static uint64_t waiting(const Ckpt__Area *a)
{
	uint64_t n = slots_of(a);

	return (a->aio->tail + n - a->aio->head) % n;
}

int ckpt_aio_area(struct ckpt_dump *d, Ckpt__Area *a, struct err *e)
{
	a->aio = ckpt_alloc(&d->tree.arena, sizeof(*a->aio));
	if (!a->aio)
		return err_code(e, -ENOMEM, "collect memory areas");
	ckpt__aio_ring__init(a->aio);
	a->offset = 0;
	return 0;
}

bool ckpt_aio_fits(const Ckpt__Area *a)
{
	if (!a->aio)
		return true;
	return (a->flags & MAP_SHARED) && !a->path[0] && !a->shmem && !a->ghost && !a->memfd_file &&
	       a->aio->head < slots_of(a) && a->aio->tail < slots_of(a) &&
	       a->aio->events.len == waiting(a) * EVENT;
}

/* Copies slots from a position on, around the ring's end, out of it or into it. */
static int copy_events(pid_t pid, const Ckpt__Area *a, bool in)
{
	uint64_t first = waiting(a), from = a->start + sizeof(struct ring), left;
	uint8_t *data = a->aio->events.data;

	if (first > slots_of(a) - a->aio->head)
		first = slots_of(a) - a->aio->head;
	left = waiting(a) - first;
	if (in)
		return ckpt_mem_write(pid, from + a->aio->head * EVENT, data, first * EVENT) < 0 ||
		       ckpt_mem_write(pid, from, data + first * EVENT, left * EVENT) < 0 ? -EFAULT : 0;
	return ckpt_mem_read(pid, from + a->aio->head * EVENT, data, first * EVENT) < 0 ||
	       ckpt_mem_read(pid, from, data + first * EVENT, left * EVENT) < 0 ? -EFAULT : 0;
}

/* Where a program may write what it likes, the kernel takes positions modulo the slots. */
static int read_ring(struct ckpt_dump *d, const struct ckpt_task *k, Ckpt__Area *a, struct err *e)
{
	struct ring ring;
	size_t len;

	if (ckpt_mem_read(k->pid, a->start, &ring, sizeof(ring)) < 0)
		return err_set(e, ERR_FAIL, "read the ring of asynchronous I/O of process %d", (int)k->pid);
	if (ring.magic != MAGIC || ring.slots != slots_of(a) || ring.header != sizeof(ring))
		return err_set(e, ERR_UNSUPPORTED,
			       "process %d has written over its ring of asynchronous I/O at %#llx (io_setup), or "
			       "taken it apart",
			       (int)k->pid, (unsigned long long)a->start);
	a->aio->head = ring.head % ring.slots;
	a->aio->tail = ring.tail % ring.slots;
	if (waiting(a) > EVENTS_MAX)
		return err_set(e, ERR_UNSUPPORTED,
			       "process %d has more than %u completed requests of asynchronous I/O that it has not "
			       "taken (io_getevents)",
			       (int)k->pid, EVENTS_MAX);
	len = waiting(a) * EVENT;
	a->aio->events.data = ckpt_alloc(&d->tree.arena, len + 1);
	if (!a->aio->events.data)
		return err_code(e, -ENOMEM, "collect asynchronous I/O");
	a->aio->events.len = len;
	return copy_events(k->pid, a, false) < 0
		? err_set(e, ERR_FAIL, "read the ring of asynchronous I/O of process %d", (int)k->pid) : 0;
}

/* Asks for no event at all: EINVAL where there is no such context. */
static int find_contexts(struct ckpt_task *k, struct ckpt_batch *b, struct ckpt_thread *th, struct err *e)
{
	for (size_t i = 0; i < k->mm->n_area; i++) {
		Ckpt__Area *a = k->mm->area[i];
		struct ckpt_call c = { SYS_io_getevents, { a->start }, 0 };
		int r;

		if (!a->aio)
			continue;
		r = ckpt_batch_run(b, th, &c, 1, e);
		if (r < 0)
			return r;
		if (c.ret == 0)
			continue;
		a->aio = NULL;
		a->flags = MAP_PRIVATE | MAP_ANONYMOUS;
	}
	return 0;
}

static bool has_contexts(const struct ckpt_task *k)
{
	for (size_t i = 0; i < k->mm->n_area; i++)
		if (k->mm->area[i]->aio)
			return true;
	return false;
}

/*
 * A context's requests that are under way: each holds it until all that it does is done, the count of an eventfd included,
 * of which the slots that are free tell nothing; and the context itself once. (ioctx_alloc() in fs/aio.c; of struct
 * percpu_ref's pointer the lowest bits are flags)
 */
static int count_pending(struct ckpt_kernel *kn, uint64_t ctx, uint32_t *ret, struct err *e)
{
	uint64_t counts, sum = 0;
	int r = ckpt_kernel_member(kn, ctx, "kioctx", "reqs.percpu_count_ptr", 8, &counts, e);

	if (r == 0)
		r = ckpt_kernel_sum(kn, counts & ~(uint64_t)3, NULL, NULL, &sum, e);
	*ret = (uint32_t)sum - 1;
	return r;
}

/* The kernel's table of the contexts of a process; *ret_nr is 0 when there is none. */
static int find_contexts_of(struct ckpt_kernel *kn, pid_t pid, uint64_t *ret, uint64_t *ret_nr, struct err *e)
{
	cleanup_close int proc = ckpt_proc_open(pid, "stat");
	uint64_t at = 0;
	int r = proc < 0 ? err_code(e, proc, "look at process %d", (int)pid) : ckpt_kernel_task(kn, proc, &at, e);

	if (r == 0)
		r = ckpt_kernel_member(kn, at, "task_struct", "mm", 8, &at, e);
	if (r == 0 && at)
		r = ckpt_kernel_member(kn, at, "mm_struct", "ioctx_table", 8, &at, e);
	*ret = at;
	*ret_nr = 0;
	return r == 0 && at ? ckpt_kernel_member(kn, at, "kioctx_table", "nr", 4, ret_nr, e) : r;
}

int ckpt_aio_pending(struct ckpt_dump *d, pid_t pid, uint64_t *ret, struct err *e)
{
	uint64_t table, nr, ctx;
	int r = find_contexts_of(d->kernel, pid, &table, &nr, e);

	*ret = 0;
	for (uint64_t i = 0; r == 0 && i < nr; i++) {
		uint32_t pending = 0;

		r = ckpt_kernel_member(d->kernel, table + 8 * i, "kioctx_table", "table", 8, &ctx, e);
		if (r == 0 && ctx)
			r = count_pending(d->kernel, ctx, &pending, e);
		*ret += pending;
	}
	return r;
}

int ckpt_aio_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, struct ckpt_thread *th,
		     struct err *e)
{
	int r = find_contexts(k, b, th, e);

	if (r < 0 || !has_contexts(k))
		return r;
	r = d->kernel ? 0 : ckpt_kernel_open(&d->kernel, e); /* without it nothing has been waited for */
	for (size_t i = 0; r == 0 && i < k->mm->n_area; i++)
		if (k->mm->area[i]->aio)
			r = read_ring(d, k, k->mm->area[i], e);
	return r;
}

/* Makes a context of this size and moves it to its place, where memory was reserved. */
static int make_context(struct restoring *p, const Ckpt__Area *a, struct list *l, struct err *e)
{
	uint64_t pages = (a->end - a->start) / CKPT_PAGE, context = 0, at = list_put(l, &context, sizeof(context));
	uint64_t nr = pages > 1 ? (pages - 1) * (PER_PAGE / 2) : 1; /* it makes twice as many slots */
	struct ring ring;
	int n;

	list_call(l, "set up asynchronous I/O", SYS_io_setup, nr, at, 0, 0, 0, 0);
	n = list_run(l, &p->batch, &p->threads[0], e);
	if (n < 0)
		return n;
	if (ckpt_mem_read(p->batch.pid, at, &context, sizeof(context)) < 0 ||
	    ckpt_mem_read(p->batch.pid, context, &ring, sizeof(ring)) < 0)
		return err_set(e, ERR_FAIL, "look at asynchronous I/O of process %u", p->task->process->pid);
	/* There are never fewer than eight for each processor. */
	if (ring.slots != slots_of(a))
		return err_set(e, ERR_UNSUPPORTED,
			       "process %u has %llu slots for asynchronous I/O (io_setup), which are %u on this host",
			       p->task->process->pid, (unsigned long long)slots_of(a), ring.slots);
	list_call(l, "move a ring of asynchronous I/O", SYS_mremap, context, a->end - a->start, a->end - a->start,
		  MREMAP_MAYMOVE | MREMAP_FIXED, a->start, 0);
	return list_run(l, &p->batch, &p->threads[0], e);
}

/* So many requests that fail at once: an eventfd gives no single byte. */
static int complete(struct restoring *p, const Ckpt__Area *a, uint32_t count, bool take, int fd, struct list *l,
		    struct err *e)
{
	struct iocb request = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd, .aio_nbytes = 1 };
	uint64_t requests[CHUNK], at;
	int n;

	request.aio_buf = list_put(l, &request, 16);
	at = list_put(l, &request, sizeof(request));
	for (uint32_t i = 0; i < count; i++)
		requests[i] = at;
	list_call(l, "complete requests of asynchronous I/O", SYS_io_submit, a->start, count,
		  list_put(l, requests, count * sizeof(requests[0])), 0, 0, 0);
	if (take)
		list_call(l, "take completed requests", SYS_io_getevents, a->start, count, count,
			  l->room_at + l->used, 0, 0);
	n = list_run(l, &p->batch, &p->threads[0], e);
	if (n == 0 && l->calls[0].ret != count)
		n = err_set(e, ERR_FAIL, "process %u completed %lld of %u requests of asynchronous I/O",
			    p->task->process->pid, (long long)l->calls[0].ret, count);
	return n;
}

/* The positions as they were. What was taken up to the head, was so once; what follows gets its contents back. */
static int advance(struct restoring *p, const Ckpt__Area *a, int fd, struct list *l, struct err *e)
{
	uint64_t end = a->aio->head + waiting(a), step = slots_of(a) / 4 < CHUNK ? slots_of(a) / 4 : CHUNK;
	int n = 0;

	for (uint64_t done = 0; n == 0 && done < end;) {
		bool take = done < a->aio->head;
		uint64_t left = (take ? a->aio->head : end) - done, count = left < step ? left : step;

		n = complete(p, a, (uint32_t)count, take, fd, l, e);
		done += count;
	}
	return n;
}

static int restore_ring(struct restoring *p, const Ckpt__Area *a, int fd, struct list *l, struct err *e)
{
	struct ring ring;
	int n = make_context(p, a, l, e);

	if (n == 0)
		n = advance(p, a, fd, l, e);
	if (n < 0)
		return n;
	if (copy_events(p->batch.pid, a, true) < 0 ||
	    ckpt_mem_read(p->batch.pid, a->start, &ring, sizeof(ring)) < 0 ||
	    ring.head % ring.slots != a->aio->head || ring.tail % ring.slots != a->aio->tail)
		return err_set(e, ERR_FAIL, "asynchronous I/O of process %u is not where it was",
			       p->task->process->pid);
	if (a->prot != (PROT_READ | PROT_WRITE))
		list_call(l, "protect memory", SYS_mprotect, a->start, a->end - a->start, a->prot, 0, 0, 0);
	return list_run(l, &p->batch, &p->threads[0], e);
}

int restore_aio(struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	int n = 0, fd = -1;

	for (size_t i = 0; n == 0 && i < mm->n_area; i++) {
		if (!mm->area[i]->aio)
			continue;
		if (fd < 0) {
			list_call(l, "make an eventfd", SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0, 0, 0, 0);
			n = list_run(l, &p->batch, &p->threads[0], e);
			fd = (int)l->calls[0].ret;
		}
		if (n == 0)
			n = restore_ring(p, mm->area[i], fd, l, e);
	}
	if (n < 0 || fd < 0)
		return n;
	list_call(l, "close an eventfd", SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0);
	return list_run(l, &p->batch, &p->threads[0], e);
}
