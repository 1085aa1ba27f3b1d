/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/watch.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/batch.h"
#include "checkpoint/internal.h"
#include "checkpoint/freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* Not in the headers of Linux 6.1. */
#define FEATURE_WP_ASYNC (1ull << 15)
#define FEATURE_WP_UNPOPULATED (1ull << 13)
#define FEATURE_WP_SHMEM (1ull << 12)
/* Needs no privilege; asynchronous protection never has a fault wait, the kernel's own included. */
#define FLAGS (O_CLOEXEC | O_NONBLOCK | 1) /* UFFD_USER_MODE_ONLY, Linux 5.11 */

static int enable(int uffd, bool moves)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED | FEATURE_WP_SHMEM |
			    (moves ? UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE : 0),
	};

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

int ckpt_watch_own(void)
{
	cleanup_close int fd = (int)syscall(SYS_userfaultfd, FLAGS);
	int r = fd < 0 ? -errno : enable(fd, false);

	return r < 0 ? r : TAKE_FD(fd);
}

bool ckpt_watch_known(void)
{
	cleanup_close int fd = ckpt_watch_own();

	return fd >= 0;
}

struct making {
	struct ckpt_batch *b;
	int pidfd, own;
	int why;    /* it could not be taken */
	int number; /* in the process; negative: it is not there yet */
};

enum { MAKE, COPY, CLOSE, CALLS };

static uint64_t in_list(const struct ckpt_batch *b, size_t call, size_t member)
{
	return b->scratch + call * sizeof(struct ckpt_call) + member;
}

static uint64_t to_close(const struct ckpt_batch *b)
{
	return in_list(b, CLOSE, offsetof(struct ckpt_call, args));
}

/* It is there: taken over. What is closed next is this one, also where the process could not copy its number (a kernel
 * without CONFIG_CROSS_MEMORY_ATTACH). */
static int take(void *arg, int64_t its)
{
	struct making *m = arg;
	uint64_t number = (uint64_t)m->number;

	if (m->number >= 0)
		return its == sizeof(number) ? 0 : ckpt_mem_write(m->b->pid, to_close(m->b), &number, sizeof(number));
	if (its < 0)
		return (int)its;
	m->number = (int)its;
	m->own = (int)syscall(SYS_pidfd_getfd, m->pidfd, m->number, 0);
	m->why = m->own < 0 ? -errno : 0;
	return 0;
}

/* From where to where in the process: what the first call has returned is what the last one closes. Behind the list. */
static int put_places(const struct ckpt_batch *b, uint64_t *ret_at, struct err *e)
{
	const struct iovec places[] = {
		{ (void *)in_list(b, MAKE, offsetof(struct ckpt_call, ret)), sizeof(uint64_t) },
		{ (void *)to_close(b), sizeof(uint64_t) },
	};
	int r;

	*ret_at = b->scratch + CKPT_BATCH_LIST - sizeof(places);
	r = ckpt_mem_write(b->pid, *ret_at, places, sizeof(places));
	return r < 0 ? err_code(e, r, "write to process %d", (int)b->pid) : 0;
}

/*
 * In the stopped process: makes the fd and closes it, in one list, so that it goes even if we do. Its number is known when it
 * is made: the process copies it to itself, so that when we are gone by then it closes none of its own.
 */
static int make(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	struct ckpt_call calls[CALLS] = { [MAKE] = { SYS_userfaultfd, { FLAGS }, 0 },
					  [CLOSE] = { SYS_close, { (uint64_t)-1 }, 0 } };
	cleanup_close int pidfd = pidfd_open_task(b->pid);
	struct making m = { b, pidfd, -EBADF, -EBADF, -EBADF };
	struct err ignored;
	uint64_t places;
	int r, left;

	if (pidfd < 0)
		return err_code(e, pidfd, "open process %d", (int)b->pid);
	r = ckpt_batch_map(b, t, CKPT_BATCH_LIST, e);
	if (r < 0)
		return r;
	t->between = take;
	t->between_arg = &m;
	r = put_places(b, &places, e);
	calls[COPY] = (struct ckpt_call){ SYS_process_vm_writev,
					  { (uint64_t)t->ns_tgid, places, 1, places + sizeof(struct iovec), 1, 0 }, 0 };
	if (r == 0)
		r = ckpt_batch_run(b, t, calls, CALLS, e);
	t->between = NULL;
	left = ckpt_batch_unmap(b, t, r < 0 ? &ignored : e);
	if (r == 0 && left < 0)
		r = left; /* killed meanwhile, perhaps: rounds want to know (-ESRCH) */
	if (r == 0 && m.own < 0)
		r = err_code(e, m.why, "take the userfaultfd of process %d", (int)b->pid);
	if (r < 0)
		fd_close(&m.own);
	return r < 0 ? r : m.own;
}

static int make_in(const struct ckpt_process *p, struct err *e)
{
	struct ckpt_thread t;
	struct ckpt_batch b;
	struct err ignored;
	int fd, r = ckpt_batch_open(&b, p->pid, p->tids, p->count, e);

	if (r < 0)
		return r;
	r = ckpt_thread_enter(&b, &t, p->tids[0], NULL, e);
	fd = r == 0 ? make(&b, &t, e) : r;
	r = r == 0 ? ckpt_thread_leave(&b, &t, fd < 0 ? &ignored : e) : 0;
	ckpt_batch_close(&b);
	if (r < 0 && fd >= 0) {
		close(fd); /* it was killed meanwhile: what asked must hear that */
		return r;
	}
	return fd;
}

int ckpt_watch_open(pid_t pid, bool moves, struct err *e)
{
	struct ckpt_frozen f;
	int fd, r = ckpt_freeze_one(pid, &f, e);

	if (r < 0)
		return r;
	fd = f.count && f.procs[0].count ? make_in(&f.procs[0], e)
					 : err_code(e, -ESRCH, "watch process %d", (int)pid);
	ckpt_unfreeze(&f);
	if (fd < 0)
		return fd;
	r = enable(fd, moves);
	if (r < 0) {
		close(fd);
		return err_code(e, r, "watch the memory of process %d", (int)pid);
	}
	return fd;
}

/*
 * Old marks are taken off first. When mremap(2) joins what it moves with memory that is watched, the kernel
 * forgets that all of this is, and leaves its marks (seen on Linux 6.18): a page that is written then is
 * writable and marked, which no scan would mend.
 */
int ckpt_watch_range(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = {
		.range = { start, end - start }, .mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect off = { .range = reg.range };

	if (ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 || ioctl(uffd, UFFDIO_WRITEPROTECT, &off) < 0)
		return -errno;
	return 0;
}
