/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which devpts a terminal is of: each nested container has one of its own, with its own numbers. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kinds/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

#define SLAVE_MAJOR 136 /* and seven more */
#define DEVPTS_MAGIC 0x1cd1

bool ckpt_pty_is_device(dev_t rdev)
{
	return major(rdev) >= SLAVE_MAJOR && major(rdev) < SLAVE_MAJOR + 8;
}

uint32_t ckpt_pty_index(dev_t rdev)
{
	return (major(rdev) - SLAVE_MAJOR) * 256 + minor(rdev);
}

bool ckpt_pty_same(const Ckpt__Pty *a, const Ckpt__Pty *b)
{
	return a->index == b->index && a->devpts == b->devpts && a->devpts != CKPT_PTY_UNKNOWN &&
	       !a->hung_up && !b->hung_up;
}

/* The record of the devpts that a restore finds mounted; 0: process 1 has taken it away. */
static uint32_t own_super(const struct ckpt_dump *d)
{
	const struct ckpt_tree *t = &d->tree;
	char path[4096];

	for (uint32_t i = 0; i < t->mount_count; i++) {
		path[0] = '\0';
		if (t->mounts[i]->space == d->spaces.main[CKPT_SPACE_MNT] &&
		    STREQ(t->supers[t->mounts[i]->super - 1]->type, "devpts") &&
		    ckpt_mount_path(t, i + 1, path, sizeof(path)) == 0 && STREQ(path, "/dev/pts"))
			return t->mounts[i]->super;
	}
	return 0;
}

/* Its device by a path in one of the namespaces where the file system is mounted. */
static int open_node(const struct ckpt_dump *d, uint32_t super, uint32_t index, struct stat *ret)
{
	const struct ckpt_tree *t = &d->tree;
	char path[4200];

	for (uint32_t i = 0; i < t->mount_count; i++) {
		cleanup_close int fd = -EBADF;
		size_t len;

		path[0] = '\0';
		if (t->mounts[i]->super != super || !STREQ(t->mounts[i]->root, "/") ||
		    ckpt_mount_path(t, i + 1, path, 4096) < 0)
			continue;
		len = strlen(path);
		snprintf(path + len, sizeof(path) - len, "/%u", index);
		fd = path_open_in_root(ckpt_space_root(d, t->mounts[i]->space), path, O_PATH | O_NOFOLLOW, 0);
		if (fd >= 0 && fstat(fd, ret) == 0 && ret->st_dev == d->spaces.super[super - 1].dev &&
		    ckpt_pty_is_device(ret->st_rdev) && ckpt_pty_index(ret->st_rdev) == index)
			return TAKE_FD(fd);
	}
	return -ENOENT;
}

static void set_owner(const struct ckpt_dump *d, Ckpt__Pty *pty, const struct stat *st)
{
	pty->mode = st->st_mode & 07777;
	pty->uid = ckpt_dump_id(d, st->st_uid);
	pty->gid = ckpt_dump_id(d, st->st_gid);
}

static bool is_master(const struct ckpt_fd *f)
{
	return f->st.st_rdev == makedev(5, 2);
}

/* A master may have been opened by a device that lies beside the file system (TIOCGPTPEER would tell which that is, but
 * the other end must not be opened by us). */
static int check_device(const struct ckpt_fd *f, struct err *e)
{
	struct statfs fs;

	if (fstatfs(f->own, &fs) < 0)
		return err_sys(e, "look at terminal %s of process %d", f->link, (int)f->pid);
	return fs.f_type == DEVPTS_MAGIC ? 0 :
					   err_set(e, ERR_UNSUPPORTED,
						   "fd %d of process %d, %s, is a terminal whose devpts "
						   "cannot be told",
						   f->fd, (int)f->pid, f->link);
}

static void note_master(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__Pty *pty)
{
	struct err ignored;
	char proc[64];
	uint32_t space;
	uint64_t id;
	int session = 0;

	snprintf(proc, sizeof(proc), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	if (ckpt_mount_space(d, proc, f->link, &id, &space, &ignored) == 0)
		pty->mount = d->spaces.mount[d->spaces.last].record;
	if (ioctl(f->own, TIOCGSID, &session) == 0 && session > 0)
		pty->session = (uint32_t)session;
}

int ckpt_pty_instance(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__Pty *pty, struct err *e)
{
	cleanup_close int node = -EBADF;
	uint32_t super = 0;
	struct stat st;
	int r;

	if (f->st.st_rdev == makedev(5, 0)) {
		pty->devpts = CKPT_PTY_UNKNOWN;
		return 0;
	}
	r = check_device(f, e);
	if (r == 0)
		r = ckpt_super_of(d, f->st.st_dev, "devpts", &super, e);
	if (r < 0)
		return r;
	pty->devpts = super == own_super(d) ? 0 : super;
	if (is_master(f))
		note_master(d, f, pty);
	else
		set_owner(d, pty, &f->st);
	node = is_master(f) ? open_node(d, super, pty->index, &st) : -EBADF;
	if (node >= 0)
		set_owner(d, pty, &st);
	return 0;
}

uint32_t ckpt_pty_of_session(const struct ckpt_tree *t, uint32_t index, pid_t session)
{
	for (size_t i = 0; i < t->file_count; i++) {
		const Ckpt__Pty *p = t->files[i]->pty;

		if (p && t->files[i]->kind == CKPT_FILE_PTY_MASTER && p->index == index &&
		    p->session == (uint32_t)session)
			return p->devpts;
	}
	return 0;
}

/* One of those with the number; CKPT_PTY_UNKNOWN: there are several, or none. */
static uint32_t only_instance(const struct ckpt_tree *t, uint32_t index)
{
	uint32_t found = CKPT_PTY_UNKNOWN;

	for (size_t i = 0; i < t->file_count; i++) {
		const Ckpt__Pty *p = t->files[i]->pty;

		if (!p || p->index != index || p->hung_up || p->devpts == CKPT_PTY_UNKNOWN || p->devpts == found)
			continue;
		if (found != CKPT_PTY_UNKNOWN)
			return CKPT_PTY_UNKNOWN;
		found = p->devpts;
	}
	return found;
}

static bool is_there(const struct ckpt_dump *d, uint32_t devpts, uint32_t index)
{
	cleanup_close int node = -EBADF;
	uint32_t super = devpts ? devpts : own_super(d);
	struct stat st;

	for (size_t i = 0; i < d->tree.file_count; i++) {
		const Ckpt__Pty *p = d->tree.files[i]->pty;

		if (p && p->index == index && p->devpts == devpts && !p->hung_up)
			return true;
	}
	node = super ? open_node(d, super, index, &st) : -EBADF;
	return node >= 0;
}

/* What controls the session of the process that has it; what was handed on from another session, when there is but
 * one with the number. */
static int tell(struct ckpt_dump *d, Ckpt__Pty *p, const struct ckpt_seen *s, struct err *e)
{
	p->devpts = ckpt_pty_of_session(&d->tree, p->index, getsid(s->pid));
	if (!is_there(d, p->devpts, p->index))
		p->devpts = only_instance(&d->tree, p->index);
	if (p->devpts == CKPT_PTY_UNKNOWN)
		return err_set(e, ERR_UNSUPPORTED,
			       "fd %d of process %d, /dev/tty, is one of several terminals, which cannot be "
			       "told apart",
			       s->fd, (int)s->pid);
	p->console = ckpt_pty_is_console(d, p);
	return 0;
}

/* As another file of the terminal has it; else by one of ours, as /dev/tty itself would be our own terminal. */
static int find_input(struct ckpt_dump *d, Ckpt__Pty *p, const struct ckpt_seen *s, struct err *e)
{
	cleanup_close int node = -EBADF, fd = -EBADF, pidfd = -EBADF;
	char path[64];
	struct stat st;

	for (size_t i = 0; i < d->tree.file_count; i++) {
		const Ckpt__File *f = d->tree.files[i];

		if (f->pty && f->pty != p && f->kind != CKPT_FILE_PTY_MASTER && ckpt_pty_same(f->pty, p)) {
			p->input = f->pty->input;
			return 0;
		}
	}
	node = open_node(d, p->devpts ? p->devpts : own_super(d), p->index, &st);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", node);
	if (node >= 0)
		fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	else if ((pidfd = pidfd_open_task(s->pid)) >= 0)
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, s->fd, 0);
	return fd < 0 ? err_sys(e, "open terminal %u of process %d", p->index, (int)s->pid) :
			ckpt_pty_input(d, fd, p, e);
}

int ckpt_pty_tell_apart(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++) {
		Ckpt__Pty *p = d->tree.files[i]->pty;

		if (!p || p->devpts != CKPT_PTY_UNKNOWN)
			continue;
		r = tell(d, p, d->files.by_file[i], e);
		if (r == 0)
			r = find_input(d, p, d->files.by_file[i], e);
	}
	return r;
}

void ckpt_pty_forget_sessions(const struct ckpt_tree *t)
{
	for (size_t i = 0; i < t->file_count; i++)
		if (t->files[i]->pty)
			t->files[i]->pty->session = 0;
}
