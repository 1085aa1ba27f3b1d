/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Files in memory that are filled before it is known where they lie (precopy_files.c): made by process 1, in a directory of
 * the file system that the source names by where it is mounted, so that the restore only has to rename them
 * (restore_tmpfs.c). Where the runtime has not mounted one, that is new (early_mounts.c); where none can be, they are memfds,
 * and are copied then.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/family.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_early.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000 /* Linux 5.8 */
#endif

/* Nothing is mounted there but by the runtime; what process 1 has open, which is not the VPS's, is no way. */
static int open_place(struct restore *r, struct early *first, const char *place, int *ret_its, struct list *l,
		      struct err *e)
{
	struct open_how how;
	struct statx sx;
	struct statfs fs;
	int fd, n;

	path_how_no_magic(O_PATH | O_DIRECTORY | O_NOFOLLOW, &how);
	list_init(l, r);
	list_call(l, NULL, SYS_openat2, (uint64_t)AT_FDCWD, list_put(l, place, strlen(place) + 1),
		  list_put(l, &how, sizeof(how)), sizeof(how), 0, 0);
	n = list_run(l, &first->p.batch, &first->p.threads[0], e);
	*ret_its = n < 0 ? -1 : (int)l->calls[0].ret;
	if (n < 0 || *ret_its < 0)
		return n < 0 ? n : 1;
	fd = early_take_fd(first, *ret_its, e);
	if (fd < 0)
		return fd;
	n = statx(fd, "", AT_EMPTY_PATH, 0, &sx) < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC ||
	    !(sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
	close(fd);
	return n;
}

/* 1: there is no room for it. */
static int make(struct restore *r, struct early *first, int place, uint64_t id, int *ret_its, struct list *l, struct err *e)
{
	char path[64];
	int n;

	snprintf(path, sizeof(path), "%s/%" PRIu64, r->early->dir, id);
	list_init(l, r);
	list_call(l, NULL, SYS_mkdirat, (uint64_t)place, list_put(l, r->early->dir, strlen(r->early->dir) + 1), 0700, 0, 0,
		  0);
	list_call(l, NULL, SYS_openat, (uint64_t)place, list_put(l, path, strlen(path) + 1),
		  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600, 0, 0);
	n = list_run(l, &first->p.batch, &first->p.threads[0], e);
	*ret_its = n < 0 ? -1 : (int)l->calls[1].ret;
	return n < 0 ? n : *ret_its < 0;
}

int early_file_make(struct restore *r, const Ckpt__Shmem *m, uint64_t id, int *ret_its, struct list *l, struct err *e)
{
	struct early *first = early_by_pid(r->early, 1);
	struct rlimit lim;
	int place = -1, n;

	*ret_its = -1;
	if (!first || !first->born || m->place[0] != '/')
		return err_set(e, ERR_FAIL, "the image is damaged: files of no process");
	if (!r->early->dir[0]) {
		uint64_t number;

		if (getrandom(&number, sizeof(number), 0) != sizeof(number))
			return err_sys(e, "take a random number");
		snprintf(r->early->dir, sizeof(r->early->dir), ".vps-early-%016" PRIx64, number);
	}
	/* They stay open in it; what it may have open is set in the end. */
	if (prlimit(first->task.pid, RLIMIT_NOFILE, NULL, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		prlimit(first->task.pid, RLIMIT_NOFILE, &lim, NULL);
	}
	n = open_place(r, first, m->place, &place, l, e);
	if (n == 0)
		n = make(r, first, place, id, ret_its, l, e);
	if (place >= 0 && n >= 0) {
		list_init(l, r);
		list_call(l, NULL, SYS_close, (uint64_t)place, 0, 0, 0, 0, 0);
		if (list_run(l, &first->p.batch, &first->p.threads[0], e) < 0)
			return -EIO;
	}
	if (n > 0)
		n = early_mount_open(r, first, m->place, &place, l, e);
	if (n == 0 && *ret_its < 0)
		n = make(r, first, place, id, ret_its, l, e);
	if (n)
		return n < 0 ? n : -EXDEV;
	return early_take_fd(first, *ret_its, e);
}

struct taking {
	struct restore *r;
	struct early *first;
	int its;
	struct list *l;
	struct err *e;
};

static int take(void *arg, const struct ckpt_range *part)
{
	struct taking *t = arg;
	int n = list_fits(t->l, 1, 0) ? 0 : list_run(t->l, &t->first->p.batch, &t->first->p.threads[0], t->e);

	list_call(t->l, "take memory for a file", SYS_fallocate, (uint64_t)t->its, FALLOC_FL_KEEP_SIZE, part->start,
		  part->end - part->start, 0, 0);
	return n;
}

int early_file_take(struct restore *r, struct early_shmem *s, const Ckpt__Shmem *m, struct list *l, struct err *e)
{
	struct taking t = { r, early_by_pid(r->early, 1), s->its, l, e };
	struct ckpt_ranges now = { 0 };
	int n = ckpt_runs_read(m->present, m->n_present, 0, (m->size + CKPT_PAGE - 1) / CKPT_PAGE, &now);

	if (n < 0)
		return err_set(e, ERR_FAIL, "the image is damaged: what there is of a file");
	list_init(l, r);
	n = ckpt_ranges_subtract(&now, &s->taken, take, &t);
	if (n == 0)
		n = list_run(l, &t.first->p.batch, &t.first->p.threads[0], e);
	ckpt_ranges_done(&s->taken);
	s->taken = now;
	return n;
}

bool early_file_has(const struct early_shmem *s, uint64_t at, uint64_t end)
{
	size_t lo = 0, hi = s->taken.count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->taken.r[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->taken.count && s->taken.r[lo].start <= at && end <= s->taken.r[lo].end;
}

int early_files_settle(struct restore *r, struct err *e)
{
	struct early_set *s = r->early;
	struct ckpt_placed *p;
	int *fds;

	if (!s->dir[0])
		return 0;
	p = ckpt_alloc(&r->tree.arena, sizeof(*p));
	fds = ckpt_alloc(&r->tree.arena, s->shmem_count * sizeof(*fds));
	if (!p || !fds)
		return err_code(e, -ENOMEM, "restore files");
	for (size_t i = 0; i < s->shmem_count; i++)
		fds[i] = s->shmems[i].fd;
	*p = (struct ckpt_placed){ .fd = fds, .count = s->shmem_count };
	snprintf(p->dir, sizeof(p->dir), "%s", s->dir);
	r->tree.placed = p;
	return 0;
}
