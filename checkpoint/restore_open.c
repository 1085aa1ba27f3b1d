/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Runs in the first process of the VPS, as its root, in its root: every open file and every shared
 * memory is made once, at a number above those of the guest, and inherited by the whole tree.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/netstate.h"
#include "checkpoint/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

static int place(int fd, int at, struct err *e)
{
	int r = dup3(fd, at, O_CLOEXEC);

	if (r < 0)
		err_sys(e, "place fd %d", at);
	close(fd);
	return r < 0 ? -EBADF : 0;
}

static int open_shmem(const Ckpt__Shmem *s, int at, struct err *e)
{
	char name[250];
	int fd;

	snprintf(name, sizeof(name), "%s", s->name);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_sys(e, "make shared memory");
	if (ftruncate(fd, (off_t)s->size) < 0) {
		err_sys(e, "make %llu bytes of shared memory", (unsigned long long)s->size);
		close(fd);
		return -ENOMEM;
	}
	return place(fd, at, e);
}

static int open_file(const struct restore *r, struct ckpt_opening *o, uint32_t id, struct err *e)
{
	const Ckpt__File *f = r->tree.files[id - 1];
	const struct ckpt_kind *k = f->kind < CKPT_FILE_KIND_COUNT ? ckpt_kinds[f->kind] : NULL;
	int fd, at = restore_fd_file(r, id), n;
	unsigned settable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;

	if (!k)
		return err_set(e, ERR_UNSUPPORTED, "the image has a file of kind %u", f->kind);
	if (!k->open) /* later */
		return 0;
	if (o->fds[id - 1] < 0) { /* not made with others */
		fd = k->open(o, f, e);
		if (fd == CKPT_LATE)
			return 0;
		if (fd < 0)
			return fd;
		n = place(fd, at, e);
		if (n < 0)
			return n;
		o->fds[id - 1] = at;
	}
	if (f->flags & O_PATH)
		return 0;
	if (fcntl(at, F_SETFL, (int)(f->flags & settable)) < 0)
		return err_sys(e, "set the flags of %s", f->path);
	if (!k->complete && f->pos && lseek(at, (off_t)f->pos, SEEK_SET) < 0 && errno != ESPIPE)
		return err_sys(e, "seek in %s", f->path);
	return 0;
}

static int raise_limit(const struct restore *r, struct err *e)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(e, "read the limit of open files");
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(e, "raise the limit of open files");
	if ((rlim_t)restore_fd_end(r) + 64 > lim.rlim_max)
		return err_set(e, ERR_FAIL, "%d open files are more than the VPS may have",
			       restore_fd_end(r));
	return 0;
}

static int open_ghosts(const struct restore *r, struct ckpt_opening *o, struct err *e)
{
	/* Out of the way of what is placed. */
	int spool = fcntl(r->tree.spool, F_DUPFD_CLOEXEC, restore_fd_end(r)), n = 0;

	if (spool < 0)
		return err_sys(e, "keep what deleted files hold");
	for (uint32_t i = 1; n == 0 && i <= r->tree.ghost_count; i++) {
		int fd = ckpt_ghost_make(&r->tree, i - 1, spool, e);

		o->ghosts[i - 1] = restore_fd_ghost(r, i);
		n = fd < 0 ? fd : place(fd, o->ghosts[i - 1], e);
	}
	close(spool);
	return n;
}

int restore_open(void *restore, struct err *e)
{
	struct restore *r = restore;
	struct ckpt_opening o = { .tree = &r->tree, .base = r->base, .end = restore_fd_end(r) };
	int n = raise_limit(r, e);

	o.fds = malloc((r->tree.file_count + 1) * sizeof(int));
	o.mates = malloc((r->tree.file_count + 1) * sizeof(int));
	o.shmems = malloc((r->tree.shmem_count + 1) * sizeof(int));
	o.ghosts = malloc((r->tree.ghost_count + 1) * sizeof(int));
	if (!o.fds || !o.shmems || !o.mates || !o.ghosts)
		return err_code(e, -ENOMEM, "open files");
	for (size_t i = 0; i < r->tree.file_count; i++)
		o.fds[i] = o.mates[i] = -1;
	if (n == 0)
		n = ckpt_tmpfs_restore(&r->tree, e);
	for (uint32_t i = 1; n == 0 && i <= r->tree.shmem_count; i++) {
		o.shmems[i - 1] = restore_fd_shmem(r, i);
		n = open_shmem(r->tree.shmems[i - 1], o.shmems[i - 1], e);
	}
	if (n == 0 && r->tree.ghost_count)
		n = open_ghosts(r, &o, e);
	if (n == 0)
		n = ckpt_netstate_restore(r->tree.nets, r->tree.net_count, 0, e);
	if (n == 0)
		n = ckpt_sockets_make(&o, e);
	for (uint32_t i = 1; n == 0 && i <= r->tree.file_count; i++)
		n = open_file(r, &o, i, e);
	if (n == 0)
		n = ckpt_sockets_fill(&o, e);
	for (size_t i = 0; n == 0 && i < r->mapped_count; i++) {
		bool write = r->mapped[i][0] == '+';
		int fd = open(r->mapped[i] + write, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY);

		if (fd < 0)
			return err_sys(e, "open %s", r->mapped[i] + write);
		n = place(fd, restore_fd_mapped(r, i), e);
	}
	return n == 0 ? restore_file_locks(r, e) : n;
}

void restore_stay(void *restore)
{
	struct restore *r = restore;

	close_range((unsigned)restore_fd_end(r), ~0u, 0);
	if (r->base > 3)
		close_range(3, (unsigned)r->base - 1, 0);
	for (;;)
		pause();
}
