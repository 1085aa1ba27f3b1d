/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore.h"

#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>


static bool is_free(const struct ckpt_tree *t, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < t->task_count; i++) {
		const Ckpt__Mm *mm = t->tasks[i].mm;

		if (mm->vdso < end + MIB(1) && start < mm->vdso + MIB(2))
			return false;
		for (size_t k = 0; k < mm->n_area; k++)
			if (mm->area[k]->start < end + MIB(1) && start < mm->area[k]->end + MIB(1))
				return false;
	}
	return true;
}

/* A place for our own memory that none of the processes uses. */
static int find_region(struct restore *r, struct err *e)
{
	for (uint64_t at = 0x10000000000ull; at < RESTORE_ADDRESS_MAX - MIB(64); at += 0x1000000000ull)
		if (is_free(&r->tree, at, at + RESTORE_REGION)) {
			r->region = at;
			return 0;
		}
	return err_set(e, ERR_FAIL, "no address is free in all processes");
}

/* The index of a path among those to be opened for mapping. */
static int add_mapped(struct restore *r, char *path, uint32_t space, bool write, struct err *e)
{
	struct mapped *m;

	for (size_t i = 0; i < r->mapped_count; i++)
		if (r->mapped[i]->write == write && r->mapped[i]->space == space && STREQ(r->mapped[i]->path, path))
			return (int)i;
	m = ckpt_alloc(&r->tree.arena, sizeof(*m));
	if (m)
		*m = (struct mapped){ path, write, space };
	if (!m || path[0] != '/' || ckpt_push(&r->tree.arena, &r->mapped, &r->mapped_count, m) < 0)
		return err_set(e, ERR_FAIL, "the image is damaged: a path %s", path);
	return (int)r->mapped_count - 1;
}

/* All numbers of the fds that the first process opens. */
static int plan_fds(struct restore *r, struct err *e)
{
	uint32_t highest = 63;

	r->procs = ckpt_alloc(&r->tree.arena, r->tree.task_count * sizeof(*r->procs));
	if (!r->procs)
		return err_code(e, -ENOMEM, "restore");
	for (size_t i = 0; i < r->tree.task_count; i++)
		for (size_t k = 0; k < r->tree.tasks[i].fds->n_fd; k++)
			if (r->tree.tasks[i].fds->fd[k]->fd > highest)
				highest = r->tree.tasks[i].fds->fd[k]->fd;
	r->base = (int)highest + 1;
	for (size_t i = 0; i < r->tree.task_count; i++) {
		struct restoring *p = &r->procs[i];
		const Ckpt__Mm *mm;
		int n;

		p->task = &r->tree.tasks[i];
		p->batch.mem = -EBADF;
		mm = p->task->mm;
		p->threads = ckpt_alloc(&r->tree.arena, p->task->thread_count * sizeof(*p->threads));
		p->area_fd = ckpt_alloc(&r->tree.arena, (mm->n_area + 1) * sizeof(int));
		if (!p->threads || !p->area_fd)
			return err_code(e, -ENOMEM, "restore");
		for (size_t k = 0; k < mm->n_area; k++) {
			const Ckpt__Area *a = mm->area[k];

			if (!a->path[0])
				continue;
			n = add_mapped(r, a->path, a->space, (a->flags & MAP_SHARED) && (a->prot & PROT_WRITE), e);
			if (n < 0)
				return n;
			p->area_fd[k] = n; /* the number when all are known */
		}
		n = add_mapped(r, mm->exe, mm->exe_space, false, e);
		if (n < 0)
			return n;
		p->exe_fd = n;
		p->place = -1;
		if (restore_is_elsewhere(r, p->task)) {
			p->place = (int)r->place_count;
			r->place_count += 2;
		}
	}
	for (size_t i = 0; i < r->tree.task_count; i++) {
		struct restoring *p = &r->procs[i];

		p->exe_fd = restore_fd_mapped(r, (size_t)p->exe_fd);
		for (size_t k = 0; k < p->task->mm->n_area; k++)
			p->area_fd[k] = restore_fd_mapped(r, (size_t)p->area_fd[k]);
	}
	return 0;
}

static int check_host(const struct restore *r, struct err *e)
{
	const Ckpt__Header *h = r->tree.header;

	if (h->page_size != CKPT_PAGE)
		return err_set(e, ERR_UNSUPPORTED, "the image has pages of %u bytes", h->page_size);
	if (h->xsave_mask & ~ckpt_xsave_mask())
		return err_set(e, ERR_UNSUPPORTED, "this processor lacks registers that the image has "
			       "(XCR0 is %#llx, not %#llx)", (unsigned long long)ckpt_xsave_mask(),
			       (unsigned long long)h->xsave_mask);
	return 0;
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
	    (mm->area[lo]->flags & MAP_SHARED))
		return false;
	*ret_zero = !mm->area[lo]->path[0];
	return true;
}

static int put_pages(struct restore *r, const struct ckpt_pages *pg, int *shmem_fd, struct err *e)
{
	static const uint8_t zeros[CKPT_PAGES_MAX * CKPT_PAGE];
	uint64_t at = pg->first * CKPT_PAGE, len = (uint64_t)pg->count * CKPT_PAGE;
	uint64_t shm = pg->mm - CKPT_SHMEM_MM;
	const struct ckpt_task *k;
	bool fresh = false;
	int n = 0;

	if (pg->encoding == CKPT_PAGES_REF)
		return err_set(e, ERR_UNSUPPORTED, "the image refers to pages, which is not built yet");
	if (pg->mm >= CKPT_SHMEM_MM) {
		if (shm >= r->tree.shmem_count ||
		    at + len > ((r->tree.shmems[shm]->size + CKPT_PAGE - 1) & ~(uint64_t)(CKPT_PAGE - 1)))
			return err_set(e, ERR_FAIL, "the image is damaged: pages of shared memory %llu",
				       (unsigned long long)shm);
		if (!pg->data)
			return 0;
		if (at + len > r->tree.shmems[shm]->size)
			len = r->tree.shmems[shm]->size - at;
		return pwrite(shmem_fd[shm], pg->data, len, (off_t)at) == (ssize_t)len
			? 0 : err_sys(e, "fill shared memory");
	}
	if (pg->mm == 0 || pg->mm > r->tree.task_count)
		return err_set(e, ERR_FAIL, "the image is damaged: pages of no process");
	k = &r->tree.tasks[pg->mm - 1];
	/* A run may go over the border of two areas that touch. */
	for (uint64_t done = 0; n == 0 && done < len; done += CKPT_PAGE)
		if (!has_area(k->mm, at + done, at + done + CKPT_PAGE, &fresh))
			n = err_set(e, ERR_FAIL, "the image is damaged: pages where process %u has no memory",
				    k->process->pid);
		else if (!pg->data && !fresh)
			n = ckpt_mem_write(k->pid, at + done, zeros, CKPT_PAGE) < 0
				? err_sys(e, "fill the memory of process %u", k->process->pid) : 0;
	if (n == 0 && pg->data)
		n = ckpt_mem_write(k->pid, at, pg->data, len);
	return n == -EFAULT ? err_code(e, n, "fill the memory of process %u", k->process->pid) : n;
}

static int fill_memory(struct restore *r, struct ckpt_record *rec, int more, struct err *e)
{
	cleanup_close int pidfd = pidfd_open_pid(r->procs[0].task->pid);
	int *fds = ckpt_alloc(&r->tree.arena, (r->tree.shmem_count + 1) * sizeof(int));
	int n = 0;

	if (!fds || pidfd < 0)
		return err_sys(e, "restore shared memory");
	for (uint32_t i = 0; i < r->tree.shmem_count; i++) {
		fds[i] = (int)syscall(SYS_pidfd_getfd, pidfd, restore_fd_shmem(r, i + 1), 0);
		if (fds[i] < 0)
			n = err_sys(e, "take shared memory");
	}
	while (n == 0 && more > 0) {
		struct ckpt_pages pg;

		if (rec->type != CKPT_REC_PAGES)
			n = err_set(e, ERR_FAIL, "the image is damaged: a record behind the pages");
		if (n == 0)
			n = ckpt_read_pages(r->reader, rec, &pg, e);
		if (n == 0)
			n = put_pages(r, &pg, fds, e);
		if (n == 0)
			more = ckpt_read(r->reader, rec, e);
	}
	for (uint32_t i = 0; i < r->tree.shmem_count; i++) {
		if (n == 0 && r->tree.shmems[i]->seals && fcntl(fds[i], F_ADD_SEALS, (int)r->tree.shmems[i]->seals) < 0)
			n = err_sys(e, "seal shared memory");
		fd_close(&fds[i]);
	}
	return n < 0 ? n : more < 0 ? more : 0;
}

/* Everything that is there is stopped; nothing of it has run. */
static int build(struct restore *r, pid_t init, const struct cgroup *c, struct ckpt_record *rec, int more,
		 struct err *e)
{
	cleanup_free struct list *l = malloc(sizeof(*l));
	cleanup_close int group = cgroup_open(c, e), user = ckpt_space_open((int)init, "user", e);
	int n = group < 0 || user < 0 ? -ENOENT : 0;

	if (n == 0)
		n = l ? restore_take_over(r, init, l, e) : err_code(e, -ENOMEM, "restore");
	if (n == 0)
		n = restore_fork_tree(r, l, e);
	/* Before they have memory, which is charged to the group. */
	if (n == 0)
		n = ckpt_groups_place(&r->tree, group, user, e);
	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		n = restore_join(r, &r->procs[i], l, e);
	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		n = restore_memory(r, &r->procs[i], l, e);
	if (n == 0)
		n = fault_point("restore", "pages", e);
	if (n == 0)
		n = fill_memory(r, rec, more, e);
	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		n = restore_process(r, &r->procs[i], l, e);
	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		n = restore_threads(r, &r->procs[i], l, e);
	if (n == 0)
		n = restore_settle_groups(r, group, user, e);
	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		n = restore_registers(r, &r->procs[i], e);
	if (n == 0)
		n = fault_point("restore", "commit", e);
	return n;
}

static int let_run(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->tree.task_count; i++)
		for (size_t k = 0; k < r->procs[i].task->thread_count; k++)
			if (ckpt_trace_detach(r->procs[i].threads[k].tid) < 0)
				return err_sys(e, "let process %u run", r->procs[i].task->process->pid);
	return 0;
}

/* Traced zombies keep the first process from ending. */
static void end_all(struct restore *r, struct rt_vps *v)
{
	struct err ignored;
	size_t n = 0, room = r->standin_count;
	pid_t *tids;

	rt_kill(v, &ignored);
	for (size_t i = 0; i < r->tree.task_count; i++)
		room += r->procs[i].task->thread_count;
	tids = ckpt_alloc(&r->tree.arena, room * sizeof(*tids));
	for (size_t i = 0; tids && i < r->tree.task_count; i++)
		for (size_t k = 0; k < r->procs[i].task->thread_count; k++)
			if (r->procs[i].threads[k].tid)
				tids[n++] = r->procs[i].threads[k].tid;
	for (size_t i = 0; tids && i < r->standin_count; i++) {
		if (r->standins[i]->p.threads[0].tid)
			tids[n++] = r->standins[i]->p.threads[0].tid;
		fd_close(&r->standins[i]->p.batch.mem);
	}
	ckpt_trace_reap_all(tids, n);
}

static int restore(struct restore *r, const struct rt_spec *spec, const struct rt_stdio *stdio,
		   struct rt_vps **ret, struct err *e)
{
	struct rt_restore how = { 0, 0, restore_open, restore_stay, r };
	struct ckpt_record rec;
	int more = ckpt_tree_read(&r->tree, r->reader, &rec, e), n;

	if (more < 0)
		return more;
	n = check_host(r, e);
	if (n == 0)
		n = plan_fds(r, e);
	if (n == 0)
		n = find_region(r, e);
	if (n < 0)
		return n;
	how.monotonic_ns = (int64_t)r->tree.header->monotonic_ns;
	how.boottime_ns = (int64_t)r->tree.header->boottime_ns;
	n = rt_start_restore(spec, stdio, &how, ret, e);
	if (n < 0)
		return n;
	n = build(r, rt_init_pid(*ret), rt_cgroup(*ret), &rec, more, e);
	if (n == 0)
		n = let_run(r, e);
	for (size_t i = 0; i < r->tree.task_count; i++)
		fd_close(&r->procs[i].batch.mem);
	if (n < 0) {
		end_all(r, *ret);
		rt_finish(*ret);
		*ret = NULL;
	}
	return n;
}

int ckpt_restore(const struct rt_spec *spec, const struct rt_stdio *stdio, int fd, struct rt_vps **ret,
		 struct err *e)
{
	struct restore r = { .reader = ckpt_reader_new(fd, e) };
	int n;

	if (!r.reader)
		return -EIO;
	n = restore(&r, spec, stdio, ret, e);
	ckpt_reader_free(r.reader);
	ckpt_tree_done(&r.tree);
	return n;
}
