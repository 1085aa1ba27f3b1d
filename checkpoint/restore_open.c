/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Runs in the first process of the VPS, as its root, in its root: every open file and every shared
 * memory is made once, at a number above those of the guest, and inherited by the whole tree.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/step.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds/pty.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_spaces.h"
#include "checkpoint/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int place(int fd, int at, struct err *e)
{
	int r = dup3(fd, at, O_CLOEXEC);

	if (r < 0)
		err_sys(e, "place fd %d", at);
	close(fd);
	return r < 0 ? -EBADF : 0;
}

static int make_memfd(const char *name, uint32_t huge)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | ckpt_huge_bits(huge) : 0);
	char part[250];
	int fd;

	snprintf(part, sizeof(part), "%s", name);
	fd = memfd_create(part, flags | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create(part, flags);
	return fd;
}

/* That of a pre-copy, which has been filled, or a new one. */
static int open_shmem(const struct restore *r, uint32_t id, struct err *e)
{
	const Ckpt__Shmem *s = r->tree.shmems[id - 1];
	int early = restore_early_shmem(r, id), at = restore_fd_shmem(r, id), again;
	cleanup_close int fd = early < 0 ? make_memfd(s->name, s->huge) : early;
	char path[64];

	if (fd < 0)
		return err_sys(e, "make shared memory");
	if (ckpt_huge_of(fd) != s->huge)
		return err_set(e, ERR_FAIL, "the image is damaged: shared memory %u", id);
	if (s->tmpfs) /* it has been put where it belongs (restore_tmpfs.c) */
		return place(TAKE_FD(fd), at, e);
	if (ftruncate(fd, (off_t)s->size) < 0 ||
	    (s->memfd && (fchown(fd, s->uid, s->gid) < 0 || fchmod(fd, s->mode & 07777) < 0)))
		return err_sys(e, "make %llu bytes of shared memory", (unsigned long long)s->size);
	if (ckpt_huge_take(fd, s, e) < 0)
		return -ENOSPC;
	if (!(s->seals & F_SEAL_WRITE) && !s->executed)
		return place(TAKE_FD(fd), at, e);
	/* It is sealed, or a program, when it is filled, which what could be written to would prevent. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	return again < 0 ? err_sys(e, "open shared memory") : place(again, at, e);
}

static bool is_terminal(const Ckpt__File *f)
{
	return f->kind == CKPT_FILE_CONSOLE || f->kind == CKPT_FILE_PTY_MASTER || f->kind == CKPT_FILE_PTY_SLAVE;
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
		uint32_t space = is_terminal(f) ? 0 : f->space;

		fd = space ? restore_enter(r, space, e) : 0;
		if (fd == 0)
			fd = k->open(o, f, e);
		if (fd >= 0 && space && restore_enter(r, 0, e) < 0)
			return -EPERM;
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
	if (f->hint) /* which may be lost where it is a file of nobody's here */
		fcntl(at, F_SET_RW_HINT, &(uint64_t){ f->hint });
	if (!k->complete && f->pos && lseek(at, (off_t)f->pos, SEEK_SET) < 0 && errno != ESPIPE)
		return err_sys(e, "seek in %s", f->path);
	return 0;
}

int restore_too_many_files(const struct restore *r, struct err *e)
{
	int most = restore_fd_end(r);

	err_set(e, ERR_STATE, "%d open files, all that the VPS has, are more than one process of it may have", most);
	return err_hint(e, "vps set NAME rlimit=nofile=%d:%d until it runs; each process gets its own limit back",
			most + 64, most + 64);
}

static int raise_limit(const struct restore *r, struct err *e)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(e, "read the limit of open files");
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(e, "raise the limit of open files");
	return (rlim_t)restore_fd_end(r) + 64 > lim.rlim_max ? restore_too_many_files(r, e) : 0;
}

/* The numbers that are planned are taken from the start, so that nothing else that is opened meanwhile gets
 * one of them. */
static int reserve(const struct restore *r, struct err *e)
{
	cleanup_close int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null < 0)
		return err_sys(e, "open /dev/null");
	for (int fd = r->base; fd < restore_fd_end(r); fd++)
		if (dup3(null, fd, O_CLOEXEC) < 0)
			return err_sys(e, "reserve fd %d", fd);
	return 0;
}

/* For tasks whose numbers nobody who bears them may choose: see restore_bear_thread(). */
static int open_last_pid(const struct restore *r, struct err *e)
{
	int fd;

	if (!restore_counts_up(r))
		return 0;
	fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open /proc/sys/kernel/ns_last_pid (CONFIG_CHECKPOINT_RESTORE)")
		      : place(fd, restore_fd_last_pid(r), e);
}

static bool is_same(int a, int b)
{
	struct stat s, t;

	return fstat(a, &s) == 0 && fstat(b, &t) == 0 && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

/* What is mounted without a name was made in the workshop: from now on it is what one of its mounts shows, as a file
 * that was opened there cannot be saved again. */
static int find_mounted(const struct restore *r, uint32_t ghost, struct err *e)
{
	const struct ckpt_tree *t = &r->tree;
	uint32_t mode = t->ghosts[ghost - 1]->mode;
	int how = S_ISDIR(mode)  ? O_RDONLY | O_DIRECTORY :
		  !S_ISREG(mode) ? O_PATH :
		  t->ghosts[ghost - 1]->executed ? O_RDONLY :
						   O_RDWR;

	for (uint32_t id = 1; id <= t->mount_count; id++) {
		cleanup_close int fd = -EBADF;
		char path[4096] = "";
		bool found;

		if (t->mounts[id - 1]->ghost != ghost || ckpt_mount_path(t, id, path, sizeof(path)) < 0)
			continue;
		if (restore_enter(r, t->mounts[id - 1]->space, e) < 0)
			return -EPERM;
		fd = path_open_no_magic(path, how | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
		found = fd >= 0 && is_same(fd, restore_fd_ghost(r, ghost));
		if (restore_enter(r, 0, e) < 0)
			return -EPERM;
		if (found)
			return place(TAKE_FD(fd), restore_fd_ghost(r, ghost), e);
	}
	return 0;
}

static int open_pair(const struct restore *r, struct err *e)
{
	int pair[2], n;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "make a pair of sockets");
	n = place(pair[0], restore_fd_pair(r, 0), e);
	return n == 0 ? place(pair[1], restore_fd_pair(r, 1), e) : n;
}

static int open_ghosts(const struct restore *r, struct ckpt_opening *o, struct err *e)
{
	/* Out of the way of what is placed. */
	int spool = fcntl(r->tree.spool, F_DUPFD_CLOEXEC, restore_fd_end(r)), n = 0;

	if (spool < 0)
		return err_sys(e, "keep what deleted files hold");
	for (uint32_t i = 1; n == 0 && i <= r->tree.ghost_count; i++) {
		const Ckpt__Ghost *g = r->tree.ghosts[i - 1];
		uint32_t space = g->space;
		int fd;

		o->ghosts[i - 1] = restore_fd_ghost(r, i);
		if (g->hidden) /* opened already (restore_hidden.c) */
			continue;
		if (g->super) {
			n = find_mounted(r, i, e);
			continue;
		}
		fd = space ? restore_enter(r, space, e) : 0;
		if (fd == 0)
			fd = ckpt_ghost_make(&r->tree, i - 1, spool, e);
		n = fd < 0 ? fd : place(fd, o->ghosts[i - 1], e);
		if (n == 0 && space)
			n = restore_enter(r, 0, e);
	}
	close(spool);
	return n;
}

static int begin(const struct restore *r, struct ckpt_opening *o, struct err *e)
{
	int n = raise_limit(r, e);

	*o = (struct ckpt_opening){ .tree = &r->tree, .base = r->base, .spaces = restore_fd_space(r, 1),
				    .end = restore_fd_end(r), .lender = -EBADF, .paired = r->paired, .scratch = restore_fd_scratch(r) };
	o->fds = malloc((r->tree.file_count + 1) * sizeof(int));
	o->mates = malloc((r->tree.file_count + 1) * sizeof(int));
	o->shmems = malloc((r->tree.shmem_count + 1) * sizeof(int));
	o->ghosts = malloc((r->tree.ghost_count + 1) * sizeof(int));
	o->devpts = malloc((r->tree.super_count + 1) * sizeof(int));
	if (!o->fds || !o->shmems || !o->mates || !o->ghosts || !o->devpts)
		return err_code(e, -ENOMEM, "open files");
	for (size_t i = 0; i < r->tree.super_count; i++)
		o->devpts[i] = -1;
	for (size_t i = 0; i < r->tree.file_count; i++)
		o->fds[i] = o->mates[i] = -1;
	return n;
}

/* What processes are born into: it comes before them when others come after (restore_births.h). */
static int open_grounds(struct restore *r, struct err *e)
{
	int n = reserve(r, e);

	if (n == 0)
		n = open_last_pid(r, e);
	if (n == 0)
		n = open_pair(r, e);
	return n == 0 ? restore_spaces(r, e) : n;
}

/* Before anything is mounted, as sessions need them before that. */
static int open_terminals(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	int n = restore_devpts_make(r, o->devpts, e);

	for (uint32_t i = 1; n == 0 && i <= r->tree.file_count; i++)
		if (is_terminal(r->tree.files[i - 1]))
			n = open_file(r, o, i, e);
	return n == 0 ? ckpt_pty_fill(o, e) : n;
}

static int open_shmems(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	int n = 0;

	for (uint32_t i = 1; n == 0 && i <= r->tree.shmem_count; i++) {
		if (r->tree.shmems[i - 1]->sysv)
			continue;
		o->shmems[i - 1] = restore_fd_shmem(r, i);
		n = open_shmem(r, i, e);
	}
	return n;
}

static int open_read_only(const struct restore *r, size_t i, struct err *e)
{
	const struct mapped *m = r->mapped[i];
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d",
		 m->ghost ? restore_fd_ghost(r, m->ghost) : restore_fd_shmem(r, m->shmem));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open shared memory for reading") : place(fd, restore_fd_mapped(r, i), e);
}

static int open_mapped(const struct restore *r, size_t i, struct err *e)
{
	const struct mapped *m = r->mapped[i];
	int fd, n;

	if (m->shmem || m->ghost)
		return open_read_only(r, i, e);
	if (m->space && restore_enter(r, m->space, e) < 0)
		return -EPERM;
	fd = path_open_no_magic(m->path, (m->write == MAPPED_READ ? O_RDONLY : O_RDWR) | O_NOCTTY);
	/* Nobody writes to it now, and since it was mapped that may have become impossible (a read-only mount). */
	if (fd < 0 && m->write == MAPPED_MAY_WRITE)
		fd = path_open_no_magic(m->path, O_RDONLY | O_NOCTTY);
	if (fd < 0)
		return err_code(e, fd, "open %s", m->path);
	n = place(fd, restore_fd_mapped(r, i), e);
	return n == 0 && m->space ? restore_enter(r, 0, e) : n;
}

static int keep_mates(const struct restore *r, const struct ckpt_opening *o, struct err *e)
{
	for (size_t i = 0; i < r->tree.file_count; i++)
		if (o->mates[i] >= 0 && dup3(o->mates[i], restore_fd_mate(r, i), O_CLOEXEC) < 0)
			return err_sys(e, "keep the other end of a socket");
	return 0;
}

static int all_mounts(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	(void)o;
	return restore_all_mounts(r, e);
}

static int ghosts(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	return r->tree.ghost_count ? open_ghosts(r, o, e) : 0;
}

static int places(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	(void)o;
	return restore_places(r, e);
}

static int networks(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	(void)o;
	return restore_networks(r, e);
}

static int sockets(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	(void)r;
	return ckpt_sockets_make(o, e);
}

static int files(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	int n = 0;

	for (uint32_t i = 1; n == 0 && i <= r->tree.file_count; i++)
		if (!is_terminal(r->tree.files[i - 1]))
			n = open_file(r, o, i, e);
	return n == 0 ? ckpt_pty_finish(o, e) : n;
}

static int queues(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	return r->fills_late ? keep_mates(r, o, e) : ckpt_sockets_fill(o, e);
}

static int mapped(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	int n = 0;

	(void)o;
	for (size_t i = 0; n == 0 && i < r->mapped_count; i++)
		n = open_mapped(r, i, e);
	return n;
}

static int locks(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	(void)o;
	return restore_file_locks(r, e);
}

static int open_rest(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	static const struct {
		const char *mark;
		int (*open)(struct restore *r, struct ckpt_opening *o, struct err *e);
	} steps[] = {
		{ "open.mounts", all_mounts },	 { "open.shared memory", open_shmems }, { "open.ghosts", ghosts },
		{ "open.places", places },	 { "open.networks", networks },		{ "open.sockets", sockets },
		{ "open.files", files },	 { "open.queues", queues },		{ "open.mapped files", mapped },
		{ "open.locks", locks },
	};
	int n = 0;

	for (size_t i = 0; n == 0 && i < ARRAY_SIZE(steps); i++) {
		n = steps[i].open(r, o, e);
		step_mark(steps[i].mark);
	}
	return n;
}

static int keep_lender(const struct restore *r, struct ckpt_opening *o, struct err *e)
{
	o->lender = r->lender < 0 ? -EBADF : fcntl(r->lender, F_DUPFD_CLOEXEC, o->end);
	return r->lender >= 0 && o->lender < 0 ? err_sys(e, "keep the way to the engine") : 0;
}

int restore_open(void *restore, struct err *e)
{
	struct restore *r = restore;
	struct ckpt_opening o;
	int n = begin(r, &o, e);

	if (n == 0)
		n = keep_lender(r, &o, e);
	if (n == 0)
		n = open_grounds(r, e);
	if (n == 0)
		n = open_terminals(r, &o, e);
	if (n == 0)
		n = open_rest(r, &o, e);
	return n == 0 ? restore_settle_own_numbers(r, e) : n;
}

int restore_open_first(void *restore, struct err *e)
{
	struct restore *r = restore;
	struct ckpt_opening o;
	int n = begin(r, &o, e);

	if (n == 0)
		n = open_grounds(r, e);
	return n == 0 ? open_terminals(r, &o, e) : n;
}

/* From process 1, at the same numbers, what it has by now. */
static int take_first(const struct restore *r, struct ckpt_opening *o, struct err *e)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);

	for (int at = r->base; at < restore_fd_end(r); at++) {
		int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, at, 0);

		if (fd < 0)
			return err_sys(e, "take fd %d of process 1", at);
		if (place(fd, at, e) < 0)
			return -EBADF;
	}
	for (size_t i = 0; i < r->tree.file_count; i++)
		if (is_terminal(r->tree.files[i]))
			o->fds[i] = restore_fd_file(r, (uint32_t)i + 1);
	return 0;
}

int restore_open_last(void *restore, struct err *e)
{
	struct restore *r = restore;
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct ckpt_opening o;
	int n = begin(r, &o, e);

	if (n == 0)
		n = keep_lender(r, &o, e);
	if (n == 0)
		n = take_first(r, &o, e);
	if (n == 0)
		n = restore_take_pidspaces(r, proc, e);
	return n == 0 ? open_rest(r, &o, e) : n;
}

int restore_fill_sockets(void *restore, struct err *e)
{
	struct restore *r = restore;
	struct ckpt_opening o;
	struct stat st;
	int n = begin(r, &o, e);

	if (n == 0)
		n = keep_lender(r, &o, e);
	if (n == 0)
		n = take_first(r, &o, e);
	for (size_t i = 0; n == 0 && i < r->tree.file_count; i++) {
		int mate = restore_fd_mate(r, i);

		o.fds[i] = restore_fd_file(r, (uint32_t)i + 1);
		o.mates[i] = fstat(mate, &st) == 0 && S_ISSOCK(st.st_mode) ? mate : -1;
	}
	return n == 0 ? ckpt_sockets_fill(&o, e) : n;
}

void restore_stay(void *restore)
{
	const struct restore *r = restore;

	restore_wait(r->base, restore_fd_end(r));
}
