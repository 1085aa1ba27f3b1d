/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The pages of an image go where they belong. Records are taken from the stream in order, and several at a
 * time are checked, decoded and copied into the processes; a record of another kind waits for all before it.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/beside.h"
#include "checkpoint/fdless.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/memfd_attributes.h"
#include "checkpoint/ipc.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define ALONE MIB(4) /* less than this is not worth a thread */

struct section {
	struct restore *r;
	restore_put *put;
	pthread_mutex_t lock;
	bool stopped;               /* `next` is no pages, or nothing */
	int result;                 /* as ckpt_read() */
	struct ckpt_record next;
	struct ckpt_decoder *holder; /* of `next` */
	_Atomic uint64_t filled;
	struct err err;
};

struct filler {
	struct section *s;
	struct ckpt_decoder *decoder;
};

static void fail(struct section *s, int result, const struct err *e)
{
	pthread_mutex_lock(&s->lock);
	if (s->result >= 0)
		s->err = *e;
	s->result = result;
	s->stopped = true;
	pthread_mutex_unlock(&s->lock);
}

/* False when there is none for this thread. */
static bool next(struct section *s, struct ckpt_decoder *d, struct ckpt_record *rec)
{
	bool mine = false;
	struct err e;

	pthread_mutex_lock(&s->lock);
	if (!s->stopped) {
		int n = ckpt_read_next(d, rec, &e);

		mine = n > 0 && rec->type == CKPT_REC_PAGES;
		if (n < 0)
			s->err = e;
		if (!mine) {
			s->stopped = true;
			s->result = n;
			s->next = *rec;
			s->holder = d;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return mine;
}

static int fill_one(struct section *s, struct ckpt_decoder *d, struct ckpt_record *rec, struct err *e)
{
	struct ckpt_pages pg;
	int n = ckpt_decode_pages(d, rec, &pg, e);

	if (n == 0)
		n = s->put(s->r, &pg, e);
	s->filled += (uint64_t)pg.count * CKPT_PAGE;
	return n;
}

/* `limit`: bytes; 0: all. The calling thread alone tells of progress. */
static void fill(struct filler *f, bool tell, uint64_t limit)
{
	struct section *s = f->s;
	struct ckpt_record rec;
	struct err e;

	while ((!limit || s->filled < limit) && next(s, f->decoder, &rec)) {
		uint64_t before = s->filled;
		int n = ckpt_decode(f->decoder, &rec, &e);

		if (n == 0)
			n = fill_one(s, f->decoder, &rec, &e);
		if (n == 0 && tell)
			n = ckpt_progress(s->r->progress, &s->r->done, s->filled - before, s->r->total, &e);
		if (n < 0)
			fail(s, n, &e);
	}
}

static void *fill_thread(void *filler)
{
	fill(filler, false, 0);
	return NULL;
}

/* Made when it is needed, as a small image needs one. */
static int filler_init(struct filler *f, struct section *s, size_t i, struct err *e)
{
	if (!s->r->decoders[i])
		s->r->decoders[i] = ckpt_decoder_new(s->r->reader, e);
	*f = (struct filler){ s, s->r->decoders[i] };
	return f->decoder ? 0 : -ENOMEM;
}

static int fill_all(struct section *s, struct err *e)
{
	struct filler f[RESTORE_FILLERS];
	pthread_t threads[RESTORE_FILLERS];
	size_t started = 1, n = RESTORE_FILLERS;
	struct err ignored;
	cpu_set_t set;

	if (filler_init(&f[0], s, 0, e) < 0)
		return -ENOMEM;
	fill(&f[0], true, ALONE);
	if (s->stopped)
		return 0;
	if (sched_getaffinity(0, sizeof(set), &set) == 0 && (size_t)CPU_COUNT(&set) < n)
		n = (size_t)CPU_COUNT(&set);
	while (started < n && filler_init(&f[started], s, started, &ignored) == 0 &&
	       ckpt_beside(&threads[started], fill_thread, &f[started]))
		started++;
	fill(&f[0], true, 0);
	for (size_t i = 1; i < started; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

int restore_fill(struct restore *r, struct ckpt_record *rec, restore_put *put, struct err *e)
{
	struct section s = { .r = r, .put = put, .lock = PTHREAD_MUTEX_INITIALIZER, .result = 1 };
	struct ckpt_pages pg;
	int n = ckpt_read_pages(r->reader, rec, &pg, e), known;

	if (n == 0)
		n = put(r, &pg, e);
	do {
		s.stopped = false;
		if (n == 0)
			n = fill_all(&s, e);
		if (n == 0 && s.result < 0) {
			*e = s.err;
			n = s.result;
		}
		known = n == 0 && s.result > 0 ? ckpt_decode(s.holder, &s.next, e) : 0;
	} while (known > 0);
	*rec = s.next;
	return n < 0 ? n : known < 0 ? known : s.result;
}

static bool has_area(const Ckpt__Mm *mm, uint64_t start, uint64_t end, bool *ret_zero)
{
	size_t lo = 0, hi = mm->n_area;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (mm->area[mid]->end <= start)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == mm->n_area || mm->area[lo]->start > start || mm->area[lo]->end < end ||
	    (mm->area[lo]->flags & MAP_SHARED) || !ckpt_huge_has_page(mm->area[lo], start))
		return false;
	*ret_zero = !mm->area[lo]->path[0] && !mm->area[lo]->shmem;
	return true;
}

bool restore_has_private(const Ckpt__Mm *mm, uint64_t at)
{
	bool zero;

	return has_area(mm, at, at + CKPT_PAGE, &zero);
}

struct restoring *restore_find_mm(struct restore *r, uint64_t mm)
{
	/* Mostly numbered in order. */
	if (mm > 0 && mm <= r->tree.task_count && r->tree.tasks[mm - 1].process->mm == mm)
		return &r->procs[mm - 1];
	for (size_t i = 0; i < r->tree.task_count; i++)
		if (r->tree.tasks[i].process->mm == mm)
			return &r->procs[i];
	return NULL;
}

static int put_shared(struct restore *r, const struct ckpt_pages *pg, struct err *e)
{
	uint64_t at = pg->first * CKPT_PAGE, len = (uint64_t)pg->count * CKPT_PAGE;
	uint64_t shm = pg->mm - CKPT_SHMEM_MM, size;

	size = shm < r->tree.shmem_count ? r->tree.shmems[shm]->size : 0;
	/* A file has its place by then. */
	if (shm >= r->tree.shmem_count || r->tree.shmems[shm]->tmpfs || at + len > ((size + CKPT_PAGE - 1) & ~(uint64_t)(CKPT_PAGE - 1)))
		return err_set(e, ERR_FAIL, "the image is damaged: pages of shared memory %llu",
			       (unsigned long long)shm);
	if (at + len > size)
		len = size - at;
	return ckpt_shared_put(r->shmem_fd[shm], r->tree.shmems[shm]->huge, r->tree.shmems[shm], at, pg->data, len, e);
}

/*
 * Zeros go into memory that may have something in it: of a file, or filled before, while it was not known or from what
 * was held till then (`placed`). Where it is nobody's file they are only written over what is none, as such a page may
 * be shared with others (copy.h). `*mem`, the process's memory, stays open for the next one.
 */
static int put_zeros(const struct restoring *p, uint64_t at, bool fresh, int *mem, struct err *e)
{
	static const uint8_t zeros[CKPT_PAGE];
	uint8_t page[CKPT_PAGE];

	if (fresh && *mem < 0)
		*mem = ckpt_proc_open(p->task->pid, "mem");
	if (fresh && pread(*mem, page, CKPT_PAGE, (off_t)at) == CKPT_PAGE &&
	    memcmp(page, zeros, CKPT_PAGE) == 0)
		return 0;
	return ckpt_mem_write(p->task->pid, at, zeros, CKPT_PAGE) < 0
		? err_sys(e, "fill the memory of process %u", p->task->process->pid) : 0;
}

static int put_pages(struct restore *r, const struct ckpt_pages *pg, struct err *e)
{
	uint64_t at = pg->first * CKPT_PAGE, len = (uint64_t)pg->count * CKPT_PAGE;
	cleanup_close int mem = -EBADF;
	const struct restoring *p;
	bool fresh = false;
	int n = 0;

	if (pg->encoding == CKPT_PAGES_REF)
		return err_set(e, ERR_UNSUPPORTED, "the image refers to pages, which is not built yet");
	if (pg->mm >= CKPT_SHMEM_MM)
		return put_shared(r, pg, e);
	p = restore_find_mm(r, pg->mm);
	if (!p)
		return err_set(e, ERR_FAIL, "the image is damaged: pages of no process");
	/* A run may go over the border of two areas that touch. */
	for (uint64_t done = 0; n == 0 && done < len; done += CKPT_PAGE)
		if (!has_area(p->task->mm, at + done, at + done + CKPT_PAGE, &fresh))
			n = err_set(e, ERR_FAIL, "the image is damaged: pages where process %u has no memory",
				    p->task->process->pid);
		else if (!pg->data && (!fresh || p->early || p->placed))
			n = put_zeros(p, at + done, fresh, &mem, e);
	if (n < 0 || !pg->data)
		return n;
	n = ckpt_mem_write(p->task->pid, at, pg->data, len);
	return n < 0 ? err_code(e, n, "fill the memory of process %u", p->task->process->pid) : 0;
}

static int take_sysv(const struct restore *r, const Ckpt__IpcObject *o, struct err *e)
{
	cleanup_close int early = restore_early_shmem(r, o->shmem);
	int fd = restore_shm_take(r, o, e), n = fd >= 0 && early >= 0 ? ckpt_copy_data(early, fd) : 0;

	if (n < 0)
		close(fd);
	return n < 0 ? err_code(e, n, "fill shared memory %d", o->id) : fd;
}

/* The file of shared memory, ours. */
static int take_shmem(const struct restore *r, uint32_t id, struct err *e)
{
	char path[64];
	int fd;

	for (size_t i = 0; i < r->tree.ipc_count; i++)
		if (r->tree.ipc[i]->kind == CKPT_IPC_SHM && r->tree.ipc[i]->shmem == id)
			return take_sysv(r, r->tree.ipc[i], e);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)r->procs[0].task->pid, restore_fd_shmem(r, id));
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "take shared memory") : fd;
}

static int open_shmems(struct restore *r, struct err *e)
{
	r->shmem_fd = ckpt_alloc(&r->tree.arena, (r->tree.shmem_count + 1) * sizeof(int));
	if (!r->shmem_fd)
		return err_code(e, -ENOMEM, "restore shared memory");
	for (uint32_t i = 0; i < r->tree.shmem_count; i++)
		r->shmem_fd[i] = -EBADF;
	for (uint32_t i = 0; i < r->tree.shmem_count; i++) {
		r->shmem_fd[i] = take_shmem(r, i + 1, e);
		if (r->shmem_fd[i] < 0)
			return r->shmem_fd[i];
	}
	return 0;
}

static int close_shmems(struct restore *r, struct err *e)
{
	int n = 0;

	for (uint32_t i = 0; r->shmem_fd && i < r->tree.shmem_count; i++) {
		if (n == 0 && r->tree.shmems[i]->seals &&
		    fcntl(r->shmem_fd[i], F_ADD_SEALS, (int)r->tree.shmems[i]->seals) < 0)
			n = err_sys(e, "seal shared memory");
		if (n == 0 && !r->tree.shmems[i]->memfd && !r->tree.shmems[i]->tmpfs)
			ckpt_fdless_note(r->shmem_fd[i]);
		fd_close(&r->shmem_fd[i]);
		if (r->tree.shmems[i]->executed)
			restore_early_leave_shmem(r, i + 1);
	}
	return n;
}

int restore_contents(struct restore *r, struct ckpt_record *rec, int more, struct list *l, struct err *e)
{
	struct err ignored;
	int n = open_shmems(r, e), closed;

	while (n == 0 && more > 0) {
		if (rec->type == CKPT_REC_PAGES)
			more = restore_fill(r, rec, put_pages, e);
		else if (rec->type == CKPT_REC_POPULATED && r->early)
			more = restore_populated(r, rec, l, e);
		else
			n = err_set(e, ERR_FAIL, "the image is damaged: a record behind the pages");
	}
	if (n == 0 && more == 0)
		n = restore_memfd_attributes(r, e);
	closed = close_shmems(r, n < 0 || more < 0 ? &ignored : e);
	return n < 0 ? n : more < 0 ? more : closed;
}
