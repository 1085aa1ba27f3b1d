/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Runs in the first process of the VPS, as its root, in its root: every open file and every shared
 * memory is made once, at a number above those of the guest, and inherited by the whole tree. Here is in which
 * order, and how open files are.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/step.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds/pty.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_spaces.h"
#include "checkpoint/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int restore_place_fd(int fd, int at, struct err *e)
{
	int r = dup3(fd, at, O_CLOEXEC);

	if (r < 0)
		err_sys(e, "place fd %d", at);
	close(fd);
	return r < 0 ? -EBADF : 0;
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
		n = restore_place_fd(fd, at, e);
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
		      : restore_place_fd(fd, restore_fd_last_pid(r), e);
}

static int open_pair(const struct restore *r, struct err *e)
{
	int pair[2], n;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "make a pair of sockets");
	n = restore_place_fd(pair[0], restore_fd_pair(r, 0), e);
	return n == 0 ? restore_place_fd(pair[1], restore_fd_pair(r, 1), e) : n;
}

static int begin(const struct restore *r, struct ckpt_opening *o, struct err *e)
{
	int n = raise_limit(r, e);

	*o = (struct ckpt_opening){
		.tree = &r->tree, .base = r->base, .spaces = restore_fd_space(r, 1), .end = restore_fd_end(r),
		.lender = -EBADF, .paired = r->paired, .scratch = restore_fd_scratch(r),
	};
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
		{ "open.mounts", all_mounts },
		{ "open.shared memory", restore_open_shmems },
		{ "open.ghosts", restore_open_ghosts },
		{ "open.places", places },
		{ "open.networks", networks },
		{ "open.sockets", sockets },
		{ "open.files", files },
		{ "open.queues", queues },
		{ "open.mapped files", restore_open_mapped },
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
		if (restore_place_fd(fd, at, e) < 0)
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
