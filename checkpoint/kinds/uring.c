/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/uring.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/drain.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "runtime/value.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>

#define CONTENTS_MAX (CKPT_PAYLOAD_MAX - 65536) /* of a record, for both memories */

/* What is in no ring that can be made again (yet), by the kernel's flags and what it has of each. */
static const struct {
	unsigned flag;
	const char *what;
} refused_flags[] = {
	{ IORING_SETUP_IOPOLL, "polls for completions (IORING_SETUP_IOPOLL)" },
	{ IORING_SETUP_SQPOLL, "has a thread of the kernel's (IORING_SETUP_SQPOLL)" },
	{ IORING_SETUP_ATTACH_WQ, "shares workers with another (IORING_SETUP_ATTACH_WQ)" },
	{ CKPT_URING_NO_MMAP, "lies in memory of the program's (IORING_SETUP_NO_MMAP)" },
	{ ~(unsigned)CKPT_URING_SAVED, "has flags that are not known" },
};
static const struct {
	const char *member;
	unsigned size;
	const char *what;
	bool newer; /* than some kernels, which have no such thing */
} refused_members[] = {
	{ "restrictions.registered", 1, "has restrictions", false },
	{ "personalities.xa_head", 8, "has personalities", false },
	{ "io_bl_xa.xa_head", 8, "has buffers to choose from", false },
	{ "param_region.ptr", 8, "has registered memory for what calls wait for", true },
	{ "zcrx_ctxs.xa_head", 8, "receives into its memory (zcrx)", true },
};

static bool is(const struct ckpt_fd *f)
{
	return STREQ(f->link, CKPT_URING_NAME);
}

static int refuse(struct err *e, const struct ckpt_fd *f, const char *what)
{
	return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is an io_uring that %s, which cannot be saved", f->fd,
		       (int)f->pid, what);
}

static int kernel_open(struct ckpt_dump *d, struct err *e)
{
	int r = ckpt_drained(d, e);

	return r < 0 || d->kernel ? r : ckpt_kernel_open(&d->kernel, e);
}

/* As the kernel tells in fdinfo unless the ring is busy, in which case another try may find it. */
static int count(const struct ckpt_fd *f, const char *key, int base, uint64_t *ret, struct err *e)
{
	if (ckpt_info_number(f, key, base, ret) == 0)
		return 0;
	err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is an io_uring that does not tell what it has", f->fd,
		(int)f->pid);
	return -EAGAIN;
}

static int check_registered(struct ckpt_dump *d, const struct ckpt_fd *f, uint64_t ctx, struct err *e)
{
	uint64_t v, files = 0, buffers = 0;
	int r = count(f, "UserFiles", 10, &files, e);

	if (r == 0)
		r = count(f, "UserBufs", 10, &buffers, e);
	if (r == 0 && files && !ckpt_kernel_has(d->kernel, "io_rsrc_data", "nodes")) /* Linux 6.13 */
		return refuse(e, f, "has registered files");
	if (r == 0 && buffers)
		return refuse(e, f, "has registered buffers");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(refused_members); i++) {
		if (refused_members[i].newer &&
		    !ckpt_kernel_has(d->kernel, "io_ring_ctx", refused_members[i].member))
			continue;
		r = ckpt_kernel_member(d->kernel, ctx, "io_ring_ctx", refused_members[i].member,
				       refused_members[i].size, &v, e);
		if (r == 0 && v)
			return refuse(e, f, refused_members[i].what);
	}
	return r;
}

static int read_workers(struct ckpt_dump *d, uint64_t ctx, Ckpt__Uring *u, struct err *e)
{
	uint64_t both;
	int r = ckpt_kernel_member(d->kernel, ctx, "io_ring_ctx", "iowq_limits", 8, &both, e);

	if (r < 0 || !both)
		return r;
	u->workers = ckpt_alloc(&d->tree.arena, 2 * sizeof(uint32_t));
	if (!u->workers)
		return err_code(e, -ENOMEM, "collect files");
	u->n_workers = 2;
	u->workers[0] = (uint32_t)both;
	u->workers[1] = (uint32_t)(both >> 32);
	return 0;
}

/* How long calls look for what comes by the network before they sleep. */
static int read_napi(const struct ckpt_fd *f, Ckpt__Uring *u, struct err *e)
{
	uint64_t ns = 0;

	u->napi = strstr(f->info, "\nNAPI:\tenabled") != NULL;
	if (!u->napi)
		return 0;
	if (strstr(f->info, "\nnapi tracking:\tstatic"))
		return refuse(e, f, "looks for what certain network devices get (NAPI)");
	u->napi_prefer = strstr(f->info, "\nnapi_prefer_busy_poll:\ttrue") != NULL;
	if (ckpt_info_number(f, "napi_busy_poll_dt", 10, &ns) < 0 || ns / 1000 > UINT32_MAX)
		return refuse(e, f, "looks for what comes by the network (NAPI)");
	u->napi_us = (uint32_t)(ns / 1000);
	return 0;
}

static int read_clock(struct ckpt_dump *d, uint64_t ctx, Ckpt__Uring *u, struct err *e)
{
	uint64_t clock = CLOCK_MONOTONIC;
	int r = 0;

	if (ckpt_kernel_has(d->kernel, "io_ring_ctx", "clockid")) /* Linux 6.12 */
		r = ckpt_kernel_member(d->kernel, ctx, "io_ring_ctx", "clockid", 4, &clock, e);
	u->clock = clock == CLOCK_MONOTONIC ? 0 : (uint32_t)clock;
	return r;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	Ckpt__Uring *u = ckpt_alloc(&d->tree.arena, sizeof(*u));
	uint64_t ctx, flags, sq = 0, cq = 0;
	int r = u ? kernel_open(d, e) : err_code(e, -ENOMEM, "collect files");

	if (r < 0)
		return r;
	ckpt__uring__init(u);
	r = ckpt_kernel_file(d->kernel, f->own, &ctx, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, ctx, "io_ring_ctx", "flags", 4, &flags, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(refused_flags); i++)
		if (flags & refused_flags[i].flag)
			return refuse(e, f, refused_flags[i].what);
	r = count(f, "SqMask", 16, &sq, e);
	if (r == 0)
		r = count(f, "CqMask", 16, &cq, e);
	if (r == 0)
		r = check_registered(d, f, ctx, e);
	if (r == 0)
		r = read_workers(d, ctx, u, e);
	if (r == 0)
		r = read_clock(d, ctx, u, e);
	if (r == 0)
		r = read_napi(f, u, e);
	u->flags = (uint32_t)flags;
	u->sq_entries = (uint32_t)sq + 1;
	u->cq_entries = (uint32_t)cq + 1;
	out->uring = u;
	out->value = f->st.st_ino;
	d->urings = true;
	return r;
}

int ckpt_uring_thread(struct ckpt_dump *d, pid_t tid, uint64_t *ret, struct err *e)
{
	cleanup_close int fd = -EBADF;
	char path[64];
	int r = kernel_open(d, e);

	snprintf(path, sizeof(path), "/proc/%d", (int)tid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && fd < 0)
		r = err_sys(e, "open %s", path);
	if (r == 0)
		r = ckpt_kernel_task(d->kernel, fd, ret, e);
	return r;
}

int ckpt_uring_task(struct ckpt_dump *d, pid_t tid, uint64_t *ret, struct err *e)
{
	uint64_t task;
	int r = ckpt_uring_thread(d, tid, &task, e);

	return r == 0 ? ckpt_kernel_member(d->kernel, task, "task_struct", "io_uring", 8, ret, e) : r;
}

int ckpt_uring_notice(struct ckpt_dump *d, struct ckpt_batch *b, struct ckpt_thread *th, struct err *e)
{
	struct ckpt_call c = { SYS_io_uring_enter, { 0, 0, 0, IORING_ENTER_REGISTERED_RING }, 0 };
	int r;

	if (!d->blind || d->urings || !(d->spec->features & RT_FEATURE_IO_URING))
		return 0;
	r = ckpt_batch_one(b, th, &c, &c.ret, e);
	d->urings = r == 0 && c.ret != -EINVAL && c.ret != -ENOSYS; /* one may be there and not be enabled */
	return r;
}

/* Without zeros at the end. */
static int keep(struct ckpt_dump *d, const uint8_t *at, size_t len, ProtobufCBinaryData *ret, struct err *e)
{
	while (len && !at[len - 1])
		len--;
	ret->data = ckpt_memdup(&d->tree.arena, at, len);
	ret->len = len;
	return len && !ret->data ? err_code(e, -ENOMEM, "collect files") : 0;
}

static int has_overflown(struct ckpt_dump *d, uint64_t ctx, struct err *e)
{
	uint64_t list, first;
	int r = ckpt_kernel_place(d->kernel, ctx, "io_ring_ctx", "cq_overflow_list", &list, e);

	if (r == 0)
		r = ckpt_kernel_member(d->kernel, ctx, "io_ring_ctx", "cq_overflow_list", 8, &first, e);
	return r < 0 ? r : first != list;
}

/* By a ring of ours, which is laid out in the same way. */
static int read_contents(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__Uring *out, struct err *e)
{
	struct ckpt_uring u = { .fd = -EBADF };
	int r = ckpt_uring_setup(&u, out, e);

	fd_close(&u.fd);
	u.fd = f->own;
	if (r == 0)
		r = ckpt_uring_map(&u, e);
	out->array = u.params.sq_off.array;
	out->cqes = u.params.cq_off.cqes;
	if (r == 0)
		r = keep(d, u.ring, u.ring_size, &out->ring, e);
	if (r == 0)
		r = keep(d, u.sqes, u.sqes_size, &out->sqes, e);
	ckpt_uring_unmap(&u);
	if (r == 0 && out->ring.len + out->sqes.len > CONTENTS_MAX)
		return refuse(e, f, "is too large");
	return r;
}

/* f->pid, fd and own are filled. */
static int collect(struct ckpt_dump *d, struct ckpt_fd *f, Ckpt__Uring *u, struct err *e)
{
	cleanup_free char *info = NULL;
	uint64_t ctx, head = 0, tail = 0;
	int r = ckpt_fd_info(f->pid, f->fd, &info, e);

	f->info = info ? info : "";
	if (r == 0)
		r = count(f, "CachedSqHead", 10, &head, e);
	if (r == 0)
		r = count(f, "CachedCqTail", 10, &tail, e);
	if (r == 0)
		r = ckpt_kernel_file(d->kernel, f->own, &ctx, e);
	if (r == 0)
		r = has_overflown(d, ctx, e);
	if (r > 0)
		return refuse(e, f, "has more completions than it has room for");
	if (r == 0 && (head > CKPT_URING_AGE_MAX || tail > CKPT_URING_AGE_MAX))
		return refuse(e, f, "has served so many requests that it takes too long to make up for them");
	u->sq_head = (uint32_t)head;
	u->cq_tail = (uint32_t)tail;
	return r == 0 ? read_contents(d, f, u, e) : r;
}

static int find_areas(struct ckpt_dump *d, const struct ckpt_task *k, struct err *e)
{
	for (size_t i = 0; i < k->mm->n_area; i++) {
		Ckpt__Area *a = k->mm->area[i];
		uint32_t id = 1;

		if (!a->uring)
			continue;
		while (id <= d->tree.file_count && (d->tree.files[id - 1]->kind != CKPT_FILE_URING ||
						    d->tree.files[id - 1]->value != a->uring))
			id++;
		a->uring = 0;
		a->memfd_file = id <= d->tree.file_count ? id : 0;
		if (!a->memfd_file || !ckpt_uring_fits(&d->tree, a))
			return err_set(e, ERR_UNSUPPORTED,
				       "process %d has mapped an io_uring at %#llx that nobody has open, or a part of "
				       "one, which cannot be saved",
				       (int)k->pid, (unsigned long long)a->start);
	}
	return 0;
}

int ckpt_uring_resolve(struct ckpt_dump *d, struct err *e)
{
	cleanup_free struct ckpt_fd *f = calloc(1, sizeof(*f));
	struct ckpt_uring_cost cost = { 0 };
	int r = f ? 0 : err_code(e, -ENOMEM, "collect files");

	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++) {
		const struct ckpt_seen *s = d->files.by_file[i];
		cleanup_close int pidfd = -EBADF;

		if (d->tree.files[i]->kind != CKPT_FILE_URING)
			continue;
		pidfd = pidfd_open_task(s->pid);
		*f = (struct ckpt_fd){ .pid = s->pid, .fd = s->fd,
				       .own = (int)syscall(SYS_pidfd_getfd, pidfd, s->fd, 0) };
		if (f->own < 0)
			return err_sys(e, "take fd %d of process %d", s->fd, (int)s->pid);
		r = collect(d, f, d->tree.files[i]->uring, e);
		if (r == 0 && !ckpt_uring_afford(&cost, d->tree.files[i]->uring))
			r = refuse(e, f, "has, with others, served so many requests that it takes too long to make up for "
					 "them");
		r = ckpt_note(d, r, s->pid, s->fd, e);
		fd_close(&f->own);
	}
	for (size_t i = 0; r == 0 && i < d->tree.task_count; i++)
		r = ckpt_note(d, find_areas(d, &d->tree.tasks[i], e), d->tree.tasks[i].pid, -1, e);
	for (size_t i = 0; i < d->tree.file_count; i++)
		if (d->tree.files[i]->kind == CKPT_FILE_URING)
			d->tree.files[i]->value = 0;
	return r;
}

/* Whether it is a 32-bit program's: of the first process that has it open, which has made it as a rule. */
static bool is_compat(const struct ckpt_tree *t, const Ckpt__File *f)
{
	for (size_t i = 0; i < t->task_count; i++)
		if (t->tasks[i].fds && ckpt_uring_find(t, t->tasks[i].fds, f) >= 0)
			return t->tasks[i].mm->compat_vdso.len > 0;
	return false;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	return ckpt_uring_open(f->uring, is_compat(o->tree, f), e);
}

const struct ckpt_kind ckpt_kind_uring = { "io_uring", is, dump, open_again, false,
					   .late = ckpt_uring_late };
