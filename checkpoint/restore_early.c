/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The VPS and its processes while only their memory is known. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/family.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/netstate.h"
#include "checkpoint/registrations.h"
#include "checkpoint/restore_early.h"
#include "checkpoint/restore_phases.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define EARLY_MAX 4096 /* others are born when the tree is there */
#define FILES 1024     /* of a VPS of some services; 8 KiB that it keeps */

struct early *early_by_pid(const struct early_set *s, uint32_t pid)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->all[i]->pid == pid)
			return s->all[i];
	return NULL;
}

struct early *early_by_mm(const struct early_set *s, uint64_t mm)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->all[i]->mm == mm)
			return s->all[i];
	return NULL;
}

/* In the first process: nothing is to be opened yet. */
static int open_nothing(void *arg, struct err *e)
{
	(void)arg;
	(void)e;
	return 0;
}

static void stay(void *arg)
{
	(void)arg;
	/* All that are born share its table, which gets every open file in the pause. */
	fd_reserve(FILES);
	restore_wait(3, 3);
}

static int read_inherited(const Ckpt__Layout *m, struct ckpt_ranges *ret)
{
	long most = 2 * sysconf(_SC_PHYS_PAGES); /* they are in memory, or swapped out */
	uint64_t pages = 0;
	int n = ckpt_runs_read(m->inherited, m->n_inherited, 0, RESTORE_ADDRESS_MAX / CKPT_PAGE, ret);

	for (size_t i = 0; n == 0 && i < ret->count; i++)
		pages += (ret->r[i].end - ret->r[i].start) / CKPT_PAGE;
	return n == 0 && most > 0 && pages > (uint64_t)most ? -EPROTO : n;
}

/* One that will not be born early. */
static int copy_unborn(struct restore *r, const Ckpt__Layout *m, struct err *e)
{
	struct ckpt_ranges l = { 0 };
	int n = read_inherited(m, &l);

	n = n < 0 ? err_code(e, n, "restore") : early_copy_inherited(r, m->mm, m->heir_of, &l, e);
	ckpt_ranges_done(&l);
	return n;
}

static int take_layout(struct restore *r, const Ckpt__Layout *m, struct err *e)
{
	struct early_set *s = r->early;
	struct early *w = early_by_mm(s, m->mm);
	uint64_t last = 0;

	if (!w && s->count == EARLY_MAX)
		return copy_unborn(r, m, e);
	s->changed = true;
	if (!w) {
		w = ckpt_alloc(&r->tree.arena, sizeof(*w));
		if (!w || ckpt_push(&r->tree.arena, &s->all, &s->count, w) < 0)
			return err_code(e, -ENOMEM, "restore");
		*w = (struct early){ .mm = m->mm, .pid = m->pid, .ppid = m->ppid, .sid = m->sid,
				     .terminal = m->terminal, .login = m->login };
		w->p.task = &w->task;
		w->p.threads = &w->thread;
		w->p.batch.mem = -EBADF;
		w->p.early = w;
		w->heir_of = m->heir_of;
		if (read_inherited(m, &w->inherited) < 0)
			return err_set(e, ERR_FAIL, "the image is damaged: what process %u inherits", m->pid);
	}
	w->wanted.count = w->huge.count = 0;
	for (size_t i = 0; i < m->n_area; i++) {
		const Ckpt__Area *a = m->area[i];

		if (a->start < last || a->end <= a->start || a->end > RESTORE_ADDRESS_MAX ||
		    (a->start | a->end) % CKPT_PAGE || !ckpt_huge_area_fits(a))
			return err_set(e, ERR_FAIL, "the image is damaged: memory of process %u", m->pid);
		last = a->end;
		if (r->region && a->start < r->region + RESTORE_REGION && r->region < a->end)
			continue; /* its pages stay loose, and the end finds out */
		if (ckpt_ranges_add_how(&w->wanted, a->start, a->end, ckpt_huge_map_flags(a)) < 0 ||
		    ckpt_runs_read(a->present, a->n_present, 0, RESTORE_ADDRESS_MAX / CKPT_PAGE, &w->huge) < 0)
			return err_code(e, -ENOMEM, "restore");
	}
	return 0;
}

static bool is_free(const struct early_set *s, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < s->count; i++)
		for (size_t k = 0; k < s->all[i]->wanted.count; k++)
			if (s->all[i]->wanted.r[k].start < end + MIB(1) &&
			    start < s->all[i]->wanted.r[k].end + MIB(1))
				return false;
	return true;
}

static int bear_first(struct restore *r, struct early *w, struct list *l, struct err *e)
{
	for (uint64_t at = 0x10000000000ull; !r->region && at < RESTORE_ADDRESS_MAX / 2; at += 0x1000000000ull)
		if (is_free(r->early, at, at + RESTORE_REGION))
			r->region = at;
	w->session = 1;
	return restore_take_over(r, &w->p, rt_init_pid(r->vps), 1, l, e);
}

/* A failure is none: its number is taken, perhaps, and its memory finds its place later. */
static int bear(struct restore *r, struct early *w, struct early *parent, struct list *l, struct err *e)
{
	struct restore_numbers number = { { (int32_t)w->pid }, 1 };
	struct err ignored;
	pid_t pid = 0;
	int n = early_bequeath(r, w, parent, l, e);

	if (n < 0)
		return n;
	list_init(l, r);
	if (restore_clone(l, &parent->p.batch, &parent->p.threads[0], CLONE_FILES, SIGCHLD, &number, &pid, &ignored) <
		    0 &&
	    pid == 0)
		return 1;
	ckpt_batch_copy(&w->p.batch, &parent->p.batch, pid);
	n = ckpt_thread_adopt(&w->p.threads[0], pid, (pid_t)w->pid, (pid_t)w->pid, e);
	w->task.pid = pid;
	w->session = parent->session;
	if (n == 0)
		n = early_inherit(r, w, parent, l, e);
	if (n == 0)
		n = restore_login(r, &w->p, w->login, parent->p.login, l, e);
	if (n < 0 || w->sid != w->pid)
		return n;
	w->leads = true;
	w->session = w->pid;
	list_init(l, r);
	list_call(l, "begin a session", SYS_setsid, 0, 0, 0, 0, 0, 0);
	return list_run(l, &w->p.batch, &w->p.threads[0], e);
}

/* Its huge pages are taken, so that they are there, filled or not. */
static int take_huge(struct early *w, struct list *l, struct err *e)
{
	int n = restore_huge_pages(&w->p, &w->mapped, &w->huge, l, e);

	for (size_t i = 0; n == 0 && i < w->huge.count; i++)
		if (early_note_filled(w, w->huge.r[i].start, w->huge.r[i].end) < 0)
			n = err_code(e, -ENOMEM, "restore");
	return n;
}

/* Those whose parent is there, in the session it had. */
static int bear_all(struct restore *r, struct list *l, struct err *e)
{
	struct early_set *s = r->early;
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < s->count; i++) {
			struct early *w = s->all[i], *parent = early_by_pid(s, w->ppid);
			int n;

			if (w->tried || (w->pid != 1 && (!parent || !parent->born)))
				continue;
			w->tried = more = true;
			if (w->pid != 1 && (w->terminal || (w->sid != w->pid && w->sid != parent->sid)))
				continue;
			n = w->pid == 1 ? bear_first(r, w, l, e) : bear(r, w, parent, l, e);
			if (n < 0)
				return n;
			w->born = n == 0;
		}
	}
	for (size_t i = 0; i < s->count; i++) {
		int n = early_copy_inherited(r, s->all[i]->mm, s->all[i]->heir_of, &s->all[i]->inherited, e);

		ckpt_ranges_done(&s->all[i]->inherited);
		if (n < 0)
			return n;
	}
	for (size_t i = 0; i < s->count; i++)
		if (s->all[i]->born && s->all[i]->wanted.count) {
			int n = early_sync(r, s->all[i], &s->all[i]->p, false, l, e);

			if (n == 0)
				n = take_huge(s->all[i], l, e);
			if (n < 0)
				return n;
		}
	return 0;
}

int early_take_fd(const struct early *first, int its, struct err *e)
{
	cleanup_close int pidfd = pidfd_open_pid(first->task.pid);
	int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, its, 0);

	return fd < 0 ? err_sys(e, "take an open file") : fd;
}

/* In the first process, so that it is the VPS's own; and here. */
static int make_shmem(struct restore *r, const Ckpt__Shmem *m, int *ret_its, struct err *e)
{
	struct early *first = early_by_pid(r->early, 1);
	uint64_t huge = m->huge ? MFD_HUGETLB | ckpt_huge_bits(m->huge) : 0;
	struct ckpt_call c = { SYS_memfd_create, { 0, MFD_CLOEXEC | MFD_ALLOW_SEALING | huge }, 0 };
	char name[250];
	int64_t its;
	int n, fd;

	if (!first || !first->born)
		return err_set(e, ERR_FAIL, "the image is damaged: no process 1");
	snprintf(name, sizeof(name), "%s", m->name);
	c.args[0] = r->region + CKPT_PAGE + CKPT_BATCH_LIST;
	n = ckpt_mem_write(first->task.pid, c.args[0], name, sizeof(name));
	if (n == 0)
		n = ckpt_batch_one(&first->p.batch, &first->p.threads[0], &c, &its, e);
	if (n < 0 || its < 0)
		return err_code(e, n < 0 ? n : (int)its, "make shared memory");
	fd = early_take_fd(first, (int)its, e);
	*ret_its = (int)its;
	if (fd < 0)
		return fd;
	/* Unless its pages are taken by that, ours is enough; what is a program must not be open for writing. */
	if (!m->huge && !m->place[0])
		n = ckpt_batch_one(&first->p.batch, &first->p.threads[0],
				   &(struct ckpt_call){ SYS_close, { (uint64_t)its }, 0 }, &its, e);
	if (n < 0)
		close(fd);
	return n < 0 ? n : fd;
}

/* Process 1 takes the huge pages that there are, so that the VPS pays for them. */
static int take_huge_shared(struct restore *r, const struct early_shmem *s, const Ckpt__Shmem *m, struct list *l,
			    struct err *e)
{
	struct early *first = early_by_pid(r->early, 1);
	uint64_t page = 0;
	int n = 0;

	list_init(l, r);
	for (size_t i = 0; n == 0 && i + 1 < m->n_present; i += 2) {
		page += m->present[i];
		n = list_fits(l, 1, 0) ? 0 : list_run(l, &first->p.batch, &first->p.threads[0], e);
		list_call(l, CKPT_HUGE_TAKE, SYS_fallocate, (uint64_t)s->its, 0, page * CKPT_PAGE,
			  m->present[i + 1] * CKPT_PAGE, 0, 0);
		page += m->present[i + 1];
	}
	return n == 0 ? list_run(l, &first->p.batch, &first->p.threads[0], e) : n;
}

static int take_shmem(struct restore *r, uint64_t id, const Ckpt__Shmem *m, struct list *l, struct err *e)
{
	struct early_set *s = r->early;
	struct early_shmem *grown;
	int fd, its = -1;

	if (id == 0 || id > s->shmem_count + 1 || id > EARLY_MAX || !ckpt_huge_shmem_fits(m) ||
	    (id <= s->shmem_count && s->shmems[id - 1].huge != m->huge))
		return err_set(e, ERR_FAIL, "the image is damaged: shared memory %llu", (unsigned long long)id);
	if (id > s->shmem_count) {
		fd = m->place[0] ? early_file_make(r, m, id, &its, l, e) : -EXDEV;
		if (fd == -EXDEV)
			fd = make_shmem(r, m, &its, e);
		if (fd < 0)
			return fd;
		grown = reallocarray(s->shmems, id, sizeof(*grown));
		if (!grown) {
			close(fd);
			return err_code(e, -ENOMEM, "restore");
		}
		s->shmems = grown;
		s->shmems[s->shmem_count++] = (struct early_shmem){ .fd = fd, .huge = m->huge, .its = its,
									.file = m->place[0] };
	}
	if (ftruncate(s->shmems[id - 1].fd, (off_t)m->size) < 0)
		return err_sys(e, "make %llu bytes of shared memory", (unsigned long long)m->size);
	s->shmems[id - 1].size = m->size;
	if (s->shmems[id - 1].file)
		return early_file_take(r, &s->shmems[id - 1], m, l, e);
	return take_huge_shared(r, &s->shmems[id - 1], m, l, e);
}

static int early_new(struct restore *r, struct err *e)
{
	long pages = sysconf(_SC_PHYS_PAGES);

	r->early = calloc(1, sizeof(*r->early));
	if (!r->early)
		return err_code(e, -ENOMEM, "restore");
	pthread_mutex_init(&r->early->lock, NULL);
	/* What has no place is held here: a bound against a peer that lies. */
	r->early->loose = ckpt_loose_new(pages > 0 ? (size_t)pages / 2 : 1 << 20);
	return r->early->loose ? 0 : err_code(e, -ENOMEM, "restore");
}

int restore_early_begin(struct restore *r, struct ckpt_record *rec, const struct rt_spec *spec,
			const struct rt_stdio *stdio, int (*network)(void *r, int netns_fd, struct err *e),
			struct err *e)
{
	struct rt_restore how = { .network = network, .open = open_nothing, .stay = stay, .arg = r };
	struct rt_vps *prepared;
	int n = early_new(r, e);

	if (n == 0)
		n = restore_clocks_read(r, rec, &how, e);
	if (n > 0)
		n = restore_ahead_take(r, &prepared, e);
	if (n == 0)
		n = rt_start_restore(spec, stdio, prepared, &how, &r->vps, e);
	if (n < 0 || r->netns < 0)
		return n;
	r->early->look = ckpt_netlook_new(r->netns, e);
	return r->early->look ? 0 : -EIO;
}

const struct ckpt_netlook *restore_early_look(const struct restore *r)
{
	return r->early ? r->early->look : NULL;
}

int restore_early_read(struct restore *r, struct ckpt_record *rec, struct list *l, struct err *e)
{
	int n = 1, done = 0;

	while (n > 0 && done == 0 && rec->type != CKPT_REC_HEADER) {
		bool pages = rec->type == CKPT_REC_PAGES;

		if (pages || rec->type == CKPT_REC_SHMEM)
			done = bear_all(r, l, e);
		if (rec->type == CKPT_REC_LAYOUT)
			done = take_layout(r, rec->message, e);
		else if (rec->type == CKPT_REC_SHMEM && done == 0)
			done = take_shmem(r, rec->id, rec->message, l, e);
		else if (!pages && rec->type != CKPT_REC_PRECOPY)
			done = err_set(e, ERR_FAIL, "the image is damaged: a record before the header");
		if (done == 0)
			n = pages ? restore_fill(r, rec, early_put, e) : ckpt_read(r->reader, rec, e);
	}
	if (done == 0 && n == 0)
		done = err_set(e, ERR_FAIL, "the image is damaged: no header");
	/* Those that were told of last, and have no pages. */
	if (done == 0 && n > 0)
		done = bear_all(r, l, e);
	return done < 0 ? done : n;
}

int restore_early_shmem(const struct restore *r, uint32_t id)
{
	return r->early && id <= r->early->shmem_count ? fcntl(r->early->shmems[id - 1].fd, F_DUPFD_CLOEXEC, 0)
						       : -EBADF;
}

size_t restore_early_tids(const struct restore *r, pid_t *tids)
{
	size_t n = 0;

	for (size_t i = 0; r->early && i < r->early->count; i++)
		if (!r->early->all[i]->kept && r->early->all[i]->task.pid) {
			if (tids)
				tids[n] = r->early->all[i]->task.pid;
			n++;
		}
	return n;
}

void restore_early_leave_shmem(struct restore *r, uint32_t id)
{
	if (r->early && id <= r->early->shmem_count)
		fd_close(&r->early->shmems[id - 1].fd);
}

void restore_early_done(struct restore *r)
{
	struct early_set *s = r->early;

	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++) {
		ckpt_ranges_done(&s->all[i]->wanted);
		ckpt_ranges_done(&s->all[i]->mapped);
		ckpt_ranges_done(&s->all[i]->huge);
		ckpt_ranges_done(&s->all[i]->inherited);
		ckpt_ranges_done(&s->all[i]->filled);
		if (!s->all[i]->kept)
			fd_close(&s->all[i]->p.batch.mem);
	}
	for (size_t i = 0; i < s->shmem_count; i++) {
		fd_close(&s->shmems[i].fd);
		ckpt_ranges_done(&s->shmems[i].taken);
	}
	free(s->shmems);
	early_mounts_done(s);
	ckpt_netlook_free(s->look);
	ckpt_loose_free(s->loose);
	pthread_mutex_destroy(&s->lock);
	free(s);
	r->early = NULL;
}
