/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Locks on files, as fdinfo shows them. Those of flock(2), of open files (F_OFD_SETLK) and leases belong to
 * the open file. Those of fcntl(2) belong to a process's table of open files, and go with the first fd of
 * the file that it closes. Who waits for a lock asks again by itself.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/syscall.h>

enum { FLOCK = 1, POSIX, OFD, LEASE };

static const struct {
	const char *name;
	uint32_t kind;
} kinds[] = { { "FLOCK", FLOCK }, { "POSIX", POSIX }, { "OFDLCK", OFD }, { "LEASE", LEASE } };

static int refuse(struct err *e, const struct ckpt_fd *f, const char *what)
{
	return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d, %s, has a lock that cannot be saved (%.*s)", f->fd,
		       (int)f->pid, f->link, (int)strcspn(what, "\n"), what);
}

static int parse(const struct ckpt_fd *f, const char *line, Ckpt__Lock *l, struct err *e)
{
	char kind[8], state[12], type[8], last[24];
	unsigned long long start;

	ckpt__lock__init(l);
	if (sscanf(line, "%*d: %7s %11s %7s %*d %*s %llu %23s", kind, state, type, &start, last) != 5)
		return refuse(e, f, line);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (STREQ(kind, kinds[i].name))
			l->kind = kinds[i].kind;
	if (!l->kind || (l->kind == LEASE && !STREQ(state, "ACTIVE")) || !(STREQ(type, "READ") || STREQ(type, "WRITE")))
		return refuse(e, f, line);
	l->type = STREQ(type, "WRITE") ? F_WRLCK : F_RDLCK;
	l->start = start;
	l->len = STREQ(last, "EOF") ? 0 : strtoull(last, NULL, 10) - start + 1;
	l->fd = (uint32_t)f->fd;
	return 0;
}

static int collect(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, Ckpt__FdTable *t, struct err *e)
{
	for (const char *line = strstr(f->info, "\nlock:\t"); line; line = strstr(line + 1, "\nlock:\t")) {
		Ckpt__Lock *l = ckpt_alloc(&d->tree.arena, sizeof(*l));
		int r = l ? parse(f, line + 7, l, e) : err_code(e, -ENOMEM, "collect locks");

		if (!l || r < 0)
			return r;
		if (l->kind == POSIX && t)
			r = ckpt_push(&d->tree.arena, &t->locks, &t->n_locks, l);
		else if (l->kind != POSIX && out)
			r = ckpt_push(&d->tree.arena, &out->locks, &out->n_locks, l);
		if (r < 0)
			return err_code(e, r, "collect locks");
	}
	return 0;
}

int ckpt_file_locks(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	return collect(d, f, out, NULL, e);
}

/*
 * Whether anybody holds locks of fcntl(2) on the file, but through this open file (F_OFD_SETLK): what would
 * stand in the way of one on all of it. /proc/locks tells it too, but whoever reads that waits for an RCU grace
 * period, 5 to 10 ms (Linux 6.18). Nobody locks a place (O_PATH). True when it cannot be told.
 */
static bool is_locked(int fd)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_GETLK, &whole) < 0 ? errno != EBADF : whole.l_type != F_UNLCK;
}

int ckpt_fd_locks(struct ckpt_dump *d, struct ckpt_fd *f, Ckpt__FdTable *t, struct err *e)
{
	cleanup_free char *info = NULL;
	int r;

	if (!is_locked(f->own))
		return 0;
	r = ckpt_fd_info(f->pid, f->fd, &info, e);
	if (r < 0)
		return r;
	f->info = info;
	r = collect(d, f, NULL, t, e);
	f->info = "";
	return r;
}

static bool is_good(const Ckpt__Lock *l, bool of_process)
{
	return l->kind >= FLOCK && l->kind <= LEASE && (l->kind == POSIX) == of_process && l->type <= F_WRLCK &&
	       l->start <= LLONG_MAX && l->len <= LLONG_MAX && l->fd <= CKPT_FD_MAX;
}

int ckpt_locks_check(const Ckpt__File *f, const Ckpt__FdTable *t, struct err *e)
{
	bool good = true;

	for (size_t i = 0; f && i < f->n_locks; i++)
		good = good && is_good(f->locks[i], false);
	for (size_t i = 0; t && i < t->n_locks; i++)
		good = good && is_good(t->locks[i], true);
	return good ? 0 : err_set(e, ERR_FAIL, "the image is damaged: a lock");
}

static struct flock range(const Ckpt__Lock *l)
{
	return (struct flock){ .l_type = (short)l->type, .l_start = (off_t)l->start, .l_len = (off_t)l->len };
}

static int take(int fd, const Ckpt__Lock *l)
{
	struct flock lk = range(l);

	switch (l->kind) {
	case FLOCK: return flock(fd, (l->type == F_WRLCK ? LOCK_EX : LOCK_SH) | LOCK_NB);
	case OFD:   return fcntl(fd, F_OFD_SETLK, &lk);
	default:    return fcntl(fd, F_SETLEASE, (int)l->type);
	}
}

int restore_file_locks(const struct restore *r, struct err *e)
{
	for (uint32_t id = 1; id <= r->tree.file_count; id++) {
		const Ckpt__File *f = r->tree.files[id - 1];

		for (size_t i = 0; !ckpt_file_opens_late(f) && i < f->n_locks; i++)
			if (take(restore_fd_file(r, id), f->locks[i]) < 0)
				return err_sys(e, "lock %s again", f->path);
	}
	return 0;
}

int restore_late_locks(struct ckpt_late *q, uint32_t id, const Ckpt__File *f)
{
	int n = 0;

	for (size_t i = 0; n == 0 && ckpt_file_opens_late(f) && i < f->n_locks; i++) {
		const Ckpt__Lock *k = f->locks[i];
		struct flock lk = range(k);
		uint64_t fd = (uint64_t)ckpt_late_fd_of(q, id);

		n = ckpt_late_room(q, 1, sizeof(lk));
		if (n == 0 && k->kind == FLOCK)
			ckpt_late_call(q, "lock a file again", SYS_flock, fd,
				       (k->type == F_WRLCK ? LOCK_EX : LOCK_SH) | LOCK_NB, 0, 0);
		else if (n == 0 && k->kind == OFD)
			ckpt_late_call(q, "lock a file again", SYS_fcntl, fd, F_OFD_SETLK,
				       ckpt_late_put(q, &lk, sizeof(lk)), 0);
	}
	return n;
}

int restore_table_locks(struct restoring *p, size_t thread, const Ckpt__FdTable *t, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < t->n_locks; i++) {
		struct flock lk = range(t->locks[i]);

		if (!list_fits(l, 1, sizeof(lk)))
			n = list_run(l, &p->batch, &p->threads[thread], e);
		list_call(l, "lock a file again", SYS_fcntl, t->locks[i]->fd, F_SETLK, list_put(l, &lk, sizeof(lk)), 0, 0,
			  0);
	}
	return n;
}
