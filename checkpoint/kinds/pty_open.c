/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Terminals, put back. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>

#define FILL_US 20000000
#define FLOOD_US 1000000
#define LOOK_US 20000 /* at most, what is slept between two looks */
#define PIECE 1024
#define SETTLES_MAX 4000 /* what a terminal can hold for its reader, but a few bytes (N_TTY_BUF_SIZE) */

uint8_t ckpt_pty_unused(const uint8_t *data, size_t len, uint8_t but)
{
	bool used[256] = { [0] = true, ['\n'] = true, [0xff] = true };

	used[but] = true;
	for (size_t i = 0; i < len; i++)
		used[data[i]] = true;
	for (unsigned c = 1; c < sizeof(used); c++)
		if (!used[c])
			return (uint8_t)c;
	return 0;
}

struct ckpt_pty_modes ckpt_pty_transparent(const struct ckpt_pty_modes *m, bool lines, uint8_t end, bool in_reading)
{
	struct ckpt_pty_modes t = *m;

	t.iflag = t.oflag = 0;
	t.lflag = lines ? ICANON : 0;
	memset(t.cc, 0, sizeof(t.cc));
	if (lines)
		t.cc[VEOF] = end;
	else
		t.cc[VMIN] = !in_reading;
	return t;
}

/* Its file system: that of the runtime's, which the VPS may cover later, or one that was made for it. */
static int open_instance(const struct ckpt_opening *o, const Ckpt__Pty *pty, struct err *e)
{
	int fd = pty->devpts ? fcntl(o->devpts[pty->devpts - 1], F_DUPFD_CLOEXEC, 3) :
			       open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open the devpts of terminal %u", pty->index) : fd;
}

/*
 * A pair gets the lowest number that is free: those in the way are held until it has come.
 */
static int open_pair(int devpts, uint32_t index, struct err *e)
{
	cleanup_free int *held = malloc(CKPT_PTY_MAX * sizeof(*held));
	size_t count = 0;
	uint32_t got = 0;
	int fd = -EBADF, r = 0;

	while (held && count < CKPT_PTY_MAX) {
		struct stat st;

		fd = openat(devpts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
		if (fd < 0)
			r = err_sys(e, "open a terminal");
		else if (fstat(fd, &st) < 0 || st.st_rdev != makedev(5, 2) ||
			 ioctl(fd, TIOCGPTN, &got) < 0)
			r = err_set(e, ERR_FAIL, "ptmx is no terminal multiplexer");
		if (r < 0 || got >= index)
			break;
		held[count++] = fd;
		fd = -EBADF;
	}
	while (count)
		close(held[--count]);
	if (r == 0 && (fd < 0 || got != index))
		r = err_set(e, ERR_FAIL, "terminal %u is not free", index);
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}

int ckpt_pty_open_master(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	cleanup_close int devpts = -EBADF;
	uint32_t id = 0;
	int off = 0, fd;

	while (o->tree->files[id] != f)
		id++;
	if (o->mates[id] >= 0)
		return TAKE_FD(o->mates[id]);
	devpts = open_instance(o, f->pty, e);
	fd = devpts < 0 ? devpts : open_pair(devpts, f->pty->index, e);
	if (fd >= 0 && ioctl(fd, TIOCSPTLCK, &off) < 0) {
		err_sys(e, "unlock terminal %u", f->pty->index);
		fd_close(&fd);
		return -EIO;
	}
	return fd;
}

/* Its master's fd, which may be there, or has to be made now and kept for it. */
static int master_of(struct ckpt_opening *o, const Ckpt__Pty *pty, struct err *e)
{
	for (size_t i = 0; i < o->tree->file_count; i++) {
		const Ckpt__File *f = o->tree->files[i];

		if (f->kind != CKPT_FILE_PTY_MASTER || !ckpt_pty_same(f->pty, pty))
			continue;
		if (o->fds[i] >= 0)
			return o->fds[i];
		if (o->mates[i] < 0) {
			int fd = ckpt_pty_open_master(o, f, e);

			if (fd < 0)
				return fd;
			/* Above all that is placed. */
			o->mates[i] = fcntl(fd, F_DUPFD_CLOEXEC, o->end);
			close(fd);
		}
		return o->mates[i] < 0 ? err_sys(e, "keep a terminal") : o->mates[i];
	}
	return err_set(e, ERR_FAIL, "the image is damaged: terminal %u has no other end",
		       pty->index);
}

int ckpt_pty_open_slave(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int flags = (int)(f->flags & O_ACCMODE) | O_NOCTTY | O_CLOEXEC | O_NONBLOCK, fd, master;

	if (f->pty->hung_up) /* in its place for now */
		fd = open("/dev/null", flags);
	else if (f->pty->console)
		fd = path_open_no_magic(!f->space && strncmp(f->path, "/dev/pts/", 9) == 0 ? f->path : "/dev/console",
					flags);
	else {
		master = master_of(o, f->pty, e);
		if (master < 0)
			return master;
		fd = ioctl(master, TIOCGPTPEER, flags);
	}
	return fd < 0 ? err_sys(e, "open terminal %u", f->pty->index) : fd;
}

static int give_away(const struct ckpt_opening *o, const Ckpt__Pty *pty, struct err *e)
{
	cleanup_close int devpts = open_instance(o, pty, e);
	char name[16];

	snprintf(name, sizeof(name), "%u", pty->index);
	/* Whoever has the number may have been chosen freely by the image; the kernel bounds it. */
	if (devpts < 0)
		return devpts;
	if (fchownat(devpts, name, pty->uid, pty->gid, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fchmodat(devpts, name, pty->mode, 0) < 0)
		return err_sys(e, "give terminal %u away", pty->index);
	return 0;
}

/*
 * How much the kernel takes depends on the pieces: 15 KiB at once, 22 KiB of this size (6.18); 4 KiB of it not before a
 * worker of its own has put them where they are read, of which nobody is told. With `flood` what it then does not take
 * is let go: a client typed on while the terminal was emptied to be saved.
 */
static int write_all(int fd, const ProtobufCBinaryData *data, uint8_t end, bool flood)
{
	struct wait_limit limit = wait_limit(flood ? FLOOD_US : FILL_US);
	size_t done = 0;

	for (size_t i = 0; end && i < data->len; i++)
		if (data->data[i] == 0)
			data->data[i] = end;
	while (done < data->len) {
		size_t left = data->len - done;
		ssize_t n = write(fd, data->data + done, left < PIECE ? left : PIECE);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0) {
			done += (size_t)n;
			limit = wait_limit(flood ? FLOOD_US : FILL_US);
		} else if (wait_limit_is_over(&limit, LOOK_US)) {
			return flood ? 0 : -EAGAIN;
		} else {
			poll(NULL, 0, 1);
		}
	}
	return 0;
}

/* An end of file in a line was read as a zero. */
static int type(int master, int slave, const Ckpt__Pty *pty, struct ckpt_pty_modes *bare, bool outside)
{
	bool lines = bare->lflag & ICANON;
	uint8_t end = ckpt_pty_unused(pty->input.data, pty->input.len, 0), key;
	int r;

	key = end && pty->input.len < SETTLES_MAX ? ckpt_pty_unused(pty->input.data, pty->input.len, end) : 0;
	bare->cc[VEOF] = !lines ? bare->cc[VEOF] : end ? end : CKPT_PTY_END;
	if (ioctl(master, CKPT_PTY_SET, bare) < 0)
		return -errno;
	r = write_all(master, &pty->input, lines ? bare->cc[VEOF] : 0, outside);
	if (r == 0)
		ckpt_pty_settle(master, slave, bare, key);
	return r;
}

/* `pty` is of an open file of the terminal, or of the master when there is none. What was typed comes first: while
 * nothing waits at its master it shows when that has come. */
static int fill(int master, const Ckpt__Pty *pty, const ProtobufCBinaryData *said, bool outside, struct err *e)
{
	struct ckpt_pty_modes m, bare;
	cleanup_close int slave = -EBADF;
	int r = 0;

	memcpy(&m, pty->modes.data, sizeof(m));
	bare = ckpt_pty_transparent(&m, m.lflag & ICANON, CKPT_PTY_END, false);
	if (ioctl(master, CKPT_PTY_SET, &bare) < 0)
		return err_sys(e, "set the modes of terminal %u", pty->index);
	if (said->len || pty->input.len) {
		slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
		r = slave < 0 ? -errno : 0;
	}
	if (r == 0 && pty->input.len)
		r = type(master, slave, pty, &bare, outside);
	if (r == 0 && said->len)
		r = write_all(slave, said, 0, false);
	if (r == 0 &&
	    (ioctl(master, CKPT_PTY_SET, &m) < 0 || ioctl(master, TIOCSWINSZ, pty->size.data) < 0))
		r = -errno;
	return r < 0 ? err_code(e, r, "fill terminal %u", pty->index) : 0;
}

/* Only one that is open can have been stopped. */
static int stop_again(int master, const Ckpt__Pty *pty, unsigned how, struct err *e)
{
	cleanup_close int slave = -EBADF;
	struct ckpt_pty_modes m;

	if (how == CKPT_PTY_RUNS)
		return 0;
	memcpy(&m, pty->modes.data, sizeof(m));
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (slave < 0)
		return err_sys(e, "stop terminal %u", pty->index);
	ckpt_pty_stop(master, slave, &m, how);
	return 0;
}

static int fill_pair(struct ckpt_opening *o, uint32_t id, struct err *e)
{
	const Ckpt__Pty *pty = o->tree->files[id]->pty;
	uint32_t slave = ckpt_pty_find(o->tree, pty->devpts, pty->index);
	const Ckpt__Pty *other = slave ? o->tree->files[slave - 1]->pty : pty;
	int r = fill(o->fds[id], other, &pty->output, pty->outside, e), fd;

	if (r == 0)
		r = give_away(o, pty->mode ? pty : other, e);
	if (r == 0)
		r = stop_again(o->fds[id], other, pty->output.len ? pty->stopped : other->stopped, e);
	if (r == 0 && !slave && pty->other_closed) {
		fd = ioctl(o->fds[id], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
		fd_close(&fd);
	}
	return r;
}

/* From here on it may not be opened any more. */
static int close_up(struct ckpt_opening *o, uint32_t id, struct err *e)
{
	const Ckpt__Pty *pty = o->tree->files[id]->pty;
	uint32_t slave = ckpt_pty_find(o->tree, pty->devpts, pty->index);
	int on = 1;

	if (slave && o->tree->files[slave - 1]->pty->exclusive)
		ioctl(o->fds[slave - 1], TIOCEXCL);
	if (pty->exclusive)
		ioctl(o->fds[id], TIOCEXCL);
	if ((pty->packet && ioctl(o->fds[id], TIOCPKT, &on) < 0) ||
	    (pty->locked && ioctl(o->fds[id], TIOCSPTLCK, &on) < 0))
		return err_sys(e, "set up terminal %u", pty->index);
	return 0;
}

/* A terminal whose master is gone: it can be had by taking one away. */
static int finish_hung_up(struct ckpt_opening *o, uint32_t id, struct err *e)
{
	int off = 0, master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), fd = -EBADF, r;

	if (master >= 0 && ioctl(master, TIOCSPTLCK, &off) == 0)
		fd = ioctl(master, TIOCGPTPEER,
			   (int)(o->tree->files[id]->flags & O_ACCMODE) | O_NOCTTY | O_CLOEXEC);
	r = fd < 0 || dup3(fd, o->fds[id], O_CLOEXEC) < 0 ? err_sys(e, "open a terminal") : 0;
	fd_close(&fd);
	fd_close(&master);
	return r;
}

int ckpt_pty_fill(struct ckpt_opening *o, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < o->tree->file_count; i++)
		if (o->tree->files[i]->kind == CKPT_FILE_PTY_MASTER)
			r = fill_pair(o, i, e);
	for (uint32_t i = 0; r == 0 && i < o->tree->file_count; i++)
		if (o->tree->files[i]->kind == CKPT_FILE_PTY_SLAVE &&
		    o->tree->files[i]->pty->hung_up)
			r = finish_hung_up(o, i, e);
	for (uint32_t i = 0; r == 0 && i < o->tree->file_count; i++) {
		const Ckpt__Pty *pty = o->tree->files[i]->pty;

		if (pty && (pty->console || o->tree->files[i]->kind == CKPT_FILE_CONSOLE))
			r = give_away(o, pty, e);
	}
	return r;
}

/* Where its path leads to the same terminal; else it stays as it is. */
static int open_by_path(const struct ckpt_opening *o, uint32_t id, struct err *e)
{
	const Ckpt__File *f = o->tree->files[id];
	cleanup_close int fd = -EBADF;
	struct stat a, b;

	if (f->path[0] != '/' || ckpt_opening_enter(o, f->space, e) < 0)
		return f->path[0] != '/' ? 0 : -EPERM;
	fd = path_open_no_magic(f->path, (int)(f->flags & O_ACCMODE) | O_NOCTTY | O_NONBLOCK);
	if (ckpt_opening_enter(o, 0, e) < 0)
		return -EPERM;
	if (fd < 0 || fstat(fd, &a) < 0 || fstat(o->fds[id], &b) < 0 || a.st_dev != b.st_dev ||
	    a.st_ino != b.st_ino || !S_ISCHR(a.st_mode))
		return 0;
	if (fcntl(fd, F_SETFL, fcntl(o->fds[id], F_GETFL)) < 0 || dup3(fd, o->fds[id], O_CLOEXEC) < 0)
		return err_sys(e, "open terminal %s", f->path);
	return 0;
}

int ckpt_pty_finish(struct ckpt_opening *o, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < o->tree->file_count; i++) {
		const Ckpt__File *f = o->tree->files[i];

		if (f->kind == CKPT_FILE_PTY_SLAVE && !f->pty->hung_up && (f->space || f->pty->devpts))
			r = open_by_path(o, i, e);
	}
	for (uint32_t i = 0; r == 0 && i < o->tree->file_count; i++)
		if (o->tree->files[i]->kind == CKPT_FILE_PTY_MASTER)
			r = close_up(o, i, e);
	return r;
}

int ckpt_pty_console(const struct ckpt_tree *t, int master, struct err *e)
{
	const ProtobufCBinaryData nothing = { 0 };

	for (size_t i = 0; master >= 0 && i < t->file_count; i++) {
		const Ckpt__File *f = t->files[i];

		/* The first: it has what was typed. */
		if (f->pty && (f->kind == CKPT_FILE_CONSOLE || f->pty->console))
			return fill(master, f->pty, &nothing, true, e);
	}
	return 0;
}
