/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/kinds/pty.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>

#define QUEUE_MAX 131072 /* the kernel's buffers hold 64 KiB and a page */

#define GET_DEVICE 0x80045432u /* TIOCGDEV */
#define GET_EXCLUSIVE 0x80045440u
#define GET_PACKET 0x80045438u
#define GET_LOCK 0x80045439u

/* What runs in ckpt_outlive() may not allocate: a thread that was killed may hold the lock of malloc(3). */
struct taking {
	int slave, master;
	const struct ckpt_pty_modes *m;
	Ckpt__Pty *pty;
	uint8_t *data; /* QUEUE_MAX */
	size_t len;
};

/* What is queued, and read without waiting. */
static int drain(struct taking *t, int fd, const char *what, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (t->len < QUEUE_MAX && poll(&p, 1, 0) > 0 && (p.revents & POLLIN)) {
		ssize_t n = read(fd, t->data + t->len, QUEUE_MAX - t->len);

		if (n < 0 && errno != EIO && errno != EAGAIN)
			return err_sys(e, "read %s", what);
		if (n <= 0)
			break;
		t->len += (size_t)n;
	}
	return 0;
}

/* As if it were typed. An end of file in a line is read as a zero; `end` is what ends one. */
static int type_again(const struct taking *t, bool lines, uint8_t end)
{
	for (size_t i = 0; i < t->len; i++) {
		char c = (char)(lines && t->data[i] == 0 ? end : t->data[i]);

		if (ioctl(t->slave, TIOCSTI, &c) < 0)
			return -errno;
	}
	return 0;
}

static int take(struct ckpt_dump *d, int (*run)(void *arg, struct err *e), struct taking *t, ProtobufCBinaryData *ret,
		struct err *e)
{
	int r;

	t->data = malloc(QUEUE_MAX);
	if (!t->data)
		return err_code(e, -ENOMEM, "collect terminals");
	r = ckpt_outlive(run, t, e);
	if (r == 0 && t->len) {
		ret->data = ckpt_memdup(ckpt_dump_arena(d), t->data, t->len);
		ret->len = ret->data ? t->len : 0;
		r = ret->data ? 0 : err_code(e, -ENOMEM, "collect terminals");
	}
	free(t->data);
	return r;
}

/*
 * A line that is not complete cannot be seen before the terminal is without lines, and would be a complete one when it
 * has them again: so all is taken out, and typed again.
 */
static int take_input(struct taking *t, struct err *e)
{
	bool lines = t->m->lflag & ICANON;
	struct ckpt_pty_modes bare = ckpt_pty_transparent(t->m, false, 0, true), again;
	unsigned waiting = 0;
	uint8_t end;
	int r = 0, back;

	if (ioctl(t->slave, CKPT_PTY_SET, &bare) < 0)
		return err_sys(e, "set the modes of a terminal");
	if (ioctl(t->slave, FIONREAD, &waiting) == 0 && waiting)
		r = drain(t, t->slave, "a terminal", e);
	end = ckpt_pty_unused(t->data, t->len, 0);
	end = end ? end : CKPT_PTY_END;
	again = ckpt_pty_transparent(t->m, lines, end, false);
	back = ioctl(t->slave, CKPT_PTY_SET, &again) < 0 ? -errno : type_again(t, lines, end);
	if (ioctl(t->slave, CKPT_PTY_SET, t->m) < 0)
		back = -errno;
	return r == 0 && back < 0 ? err_code(e, back, "put back what was typed") : r;
}

/* Other modes let one that was stopped go on. */
static int take_input_stopped(void *arg, struct err *e)
{
	struct taking *t = arg;
	int r;

	t->pty->stopped = ckpt_pty_stopped(t->slave);
	r = take_input(t, e);
	ckpt_pty_stop(-EBADF, t->slave, t->m, t->pty->stopped);
	return r;
}

/* An engine that dies in between would leave it without lines, and its reader without what was typed. */
int ckpt_pty_input(struct ckpt_dump *d, int slave, Ckpt__Pty *pty, struct err *e)
{
	struct taking t = { .slave = slave, .master = -EBADF, .m = (const void *)pty->modes.data, .pty = pty };
	unsigned waiting = 0;

	if (!(t.m->lflag & ICANON) && ioctl(slave, FIONREAD, &waiting) == 0 && waiting == 0) {
		pty->stopped = ckpt_pty_stopped(slave);
		return 0;
	}
	return take(d, take_input_stopped, &t, &pty->input, e);
}

static Ckpt__Pty *new_pty(struct ckpt_dump *d, Ckpt__File *out, const struct ckpt_pty_modes *m,
			  const struct winsize *ws)
{
	Ckpt__Pty *pty = ckpt_alloc(ckpt_dump_arena(d), sizeof(*pty));

	if (!pty)
		return NULL;
	ckpt__pty__init(pty);
	pty->modes.data = ckpt_memdup(ckpt_dump_arena(d), m, sizeof(*m));
	pty->size.data = ckpt_memdup(ckpt_dump_arena(d), ws, sizeof(*ws));
	pty->modes.len = sizeof(*m);
	pty->size.len = sizeof(*ws);
	out->pty = pty;
	return pty->modes.data && pty->size.data ? pty : NULL;
}

/* Whether one of the pair has been seen by now: of its masters, or of its other files. */
static bool is_first(const struct ckpt_tree *t, const Ckpt__Pty *pty, bool master)
{
	for (size_t i = 0; i < t->file_count; i++) {
		const Ckpt__Pty *p = t->files[i]->pty;

		if (p && p != pty && ckpt_pty_same(p, pty) &&
		    (t->files[i]->kind == CKPT_FILE_PTY_MASTER) == master)
			return false;
	}
	return true;
}

static int look(const struct ckpt_fd *f, struct ckpt_pty_modes *m, struct winsize *ws,
		struct err *e)
{
	int line = 0;

	if (ioctl(f->own, CKPT_PTY_GET, m) < 0 || ioctl(f->own, TIOCGWINSZ, ws) < 0)
		return err_sys(e, "look at terminal %s of process %d", f->link, (int)f->pid);
	if (ioctl(f->own, TIOCGETD, &line) == 0 && line != 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "terminal %s of process %d has line discipline %d, which cannot "
			       "be saved",
			       f->link, (int)f->pid, line);
	return 0;
}

int ckpt_pty_state(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct winsize ws = { 0 };
	struct ckpt_pty_modes m = { 0 };
	cleanup_close int again = -EBADF;
	unsigned device = 0;
	Ckpt__Pty *pty;
	char path[64];
	int r;

	if (ioctl(f->own, CKPT_PTY_GET, &m) < 0 && errno == EIO) {
		pty = new_pty(d, out, &m, &ws);
		if (!pty)
			return err_code(e, -ENOMEM, "collect terminals");
		pty->hung_up = 1;
		return 0;
	}
	r = look(f, &m, &ws, e);
	if (r < 0)
		return r;
	/* Of /dev/tty and /dev/console: what is behind it. */
	if (ioctl(f->own, GET_DEVICE, &device) < 0)
		return err_sys(e, "look at terminal %s of process %d", f->link, (int)f->pid);
	pty = new_pty(d, out, &m, &ws);
	if (!pty)
		return err_code(e, -ENOMEM, "collect terminals");
	pty->index = ckpt_pty_index(
		makedev(device >> 8 & 0xfff, (device & 0xff) | (device >> 12 & 0xfff00)));
	if (ioctl(f->own, GET_EXCLUSIVE, &pty->exclusive) < 0)
		pty->exclusive = 0;
	r = ckpt_pty_instance(d, f, pty, e);
	if (r < 0 || pty->devpts == CKPT_PTY_UNKNOWN || !is_first(ckpt_dump_tree(d), pty, false))
		return r;
	/* By a file of ours: theirs may be for writing alone. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->own);
	again = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (again < 0)
		return err_sys(e, "open terminal %s of process %d", f->link, (int)f->pid);
	return ckpt_pty_input(d, again, pty, e);
}

bool ckpt_pty_is_console(struct ckpt_dump *d, const Ckpt__Pty *pty)
{
	cleanup_close int fd = path_open_in_root(ckpt_space_root(d, 0), "/dev/console", O_PATH, 0);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && ckpt_pty_is_device(st.st_rdev) && !pty->devpts &&
	       ckpt_pty_index(st.st_rdev) == pty->index;
}

static bool is_slave(const struct ckpt_fd *f)
{
	return S_ISCHR(f->st.st_mode) && !STREQ(f->link, "/dev/console") &&
	       (ckpt_pty_is_device(f->st.st_rdev) || f->st.st_rdev == makedev(5, 0));
}

int ckpt_pty_dump_slave(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	char proc[64];
	struct err ignored;
	uint64_t id;
	int r = ckpt_pty_state(d, f, out, e);

	if (r < 0 || out->pty->hung_up)
		return r;
	out->pty->console = ckpt_pty_is_console(d, out->pty);
	snprintf(proc, sizeof(proc), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	if (ckpt_mount_space(d, proc, f->link, &id, &out->space, &ignored) < 0)
		out->path = ckpt_strdup(ckpt_dump_arena(d), "unmounted"); /* no way leads to it */
	return out->path ? 0 : err_code(e, -ENOMEM, "collect terminals");
}

static bool is_master(const struct ckpt_fd *f)
{
	return S_ISCHR(f->st.st_mode) && f->st.st_rdev == makedev(5, 2);
}

static int put_back(const struct taking *t, int slave, struct err *e)
{
	struct ckpt_pty_modes bare = ckpt_pty_transparent(t->m, t->m->lflag & ICANON, CKPT_PTY_END, false);
	ssize_t n;

	bare.lflag = t->m->lflag;
	ioctl(t->master, CKPT_PTY_SET, &bare);
	n = write(slave, t->data, t->len);
	ioctl(t->master, CKPT_PTY_SET, t->m);
	return n == (ssize_t)t->len ? 0 : err_sys(e, "put back what a terminal said");
}

/* What was written to the terminal and its master has not read: taken out, and written again. And what stops more of it. */
static int take_output(void *arg, struct err *e)
{
	struct taking *t = arg;
	Ckpt__Pty *pty = t->pty;
	int off = 0, on = 1, r, n, slave;
	struct err ignored;

	if (pty->packet)
		ioctl(t->master, TIOCPKT, &off);
	r = drain(t, t->master, "a terminal's output", e);
	if (t->len) {
		if (pty->locked)
			ioctl(t->master, TIOCSPTLCK, &off);
		slave = ioctl(t->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
		pty->stopped = slave < 0 ? CKPT_PTY_RUNS : ckpt_pty_start(slave);
		n = put_back(t, slave, r < 0 ? &ignored : e);
		ckpt_pty_stop(t->master, slave, t->m, pty->stopped);
		r = r < 0 ? r : n;
		fd_close(&slave);
		if (pty->locked)
			ioctl(t->master, TIOCSPTLCK, &on);
	}
	if (pty->packet)
		ioctl(t->master, TIOCPKT, &on);
	return r;
}

static int output(struct ckpt_dump *d, int master, const struct ckpt_pty_modes *m, Ckpt__Pty *pty, struct err *e)
{
	struct taking t = { .slave = -EBADF, .master = master, .m = m, .pty = pty };
	struct pollfd p = { .fd = master, .events = POLLIN };

	if (poll(&p, 1, 0) == 0 || !(p.revents & POLLIN))
		return 0;
	return take(d, take_output, &t, &pty->output, e);
}

static int dump_master(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct pollfd p = { .fd = f->own };
	struct winsize ws;
	struct ckpt_pty_modes m;
	Ckpt__Pty *pty;
	int r = look(f, &m, &ws, e);

	if (r < 0)
		return r;
	pty = new_pty(d, out, &m, &ws);
	if (!pty)
		return err_code(e, -ENOMEM, "collect terminals");
	if (ioctl(f->own, TIOCGPTN, &pty->index) < 0)
		return err_sys(e, "look at a terminal of process %d", (int)f->pid);
	if (ioctl(f->own, GET_PACKET, &pty->packet) < 0 ||
	    ioctl(f->own, GET_LOCK, &pty->locked) < 0 ||
	    ioctl(f->own, GET_EXCLUSIVE, &pty->exclusive) < 0)
		return err_sys(e, "look at terminal %u of process %d", pty->index, (int)f->pid);
	pty->other_closed = poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
	r = ckpt_pty_instance(d, f, pty, e);
	return r == 0 ? output(d, f->own, &m, pty, e) : r;
}

/* Of those that nobody in the VPS has: only its own devpts is where the holder makes terminals. */
static int add_master(struct ckpt_dump *d, const Ckpt__File *f, struct err *e)
{
	Ckpt__File *out;

	if (f->pty->devpts)
		return err_set(e, ERR_UNSUPPORTED,
			       "terminal %s has a master outside the VPS, which cannot be saved", f->path);
	out = ckpt_alloc(ckpt_dump_arena(d), sizeof(*out));
	if (!out)
		return err_code(e, -ENOMEM, "collect terminals");
	ckpt__file__init(out);
	out->kind = CKPT_FILE_PTY_MASTER;
	out->flags = O_RDWR | O_NONBLOCK;
	out->path = ckpt_strdup(ckpt_dump_arena(d), "/dev/pts/ptmx");
	out->pty = ckpt_memdup(ckpt_dump_arena(d), f->pty, sizeof(*f->pty));
	if (!out->path || !out->pty || ckpt_file_push(d, out) < 0)
		return err_code(e, -ENOMEM, "collect terminals");
	out->pty->input.len = out->pty->exclusive = 0;
	out->pty->outside = 1;
	return 0;
}

int ckpt_pty_resolve(struct ckpt_dump *d, struct err *e)
{
	const struct ckpt_tree *t = ckpt_dump_tree(d);
	int r = ckpt_pty_tell_apart(d, e);

	for (size_t i = 0; r == 0 && i < t->file_count; i++) {
		const Ckpt__File *f = t->files[i];

		if (f->kind == CKPT_FILE_PTY_SLAVE && !f->pty->hung_up && !f->pty->console &&
		    is_first(t, f->pty, true))
			r = add_master(d, f, e);
	}
	return r;
}

int ckpt_pty_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e)
{
	const Ckpt__Pty *p = f->pty;

	if (!p)
		return f->kind == CKPT_FILE_PTY_MASTER || f->kind == CKPT_FILE_PTY_SLAVE ?
			       err_set(e, ERR_FAIL,
				       "the image is damaged: a terminal without modes") :
			       0;
	if (p->index >= CKPT_PTY_MAX || p->modes.len != sizeof(struct ckpt_pty_modes) ||
	    p->size.len != sizeof(struct winsize) || p->input.len > QUEUE_MAX ||
	    p->output.len > QUEUE_MAX || p->stopped >= CKPT_PTY_STOPPED_COUNT || p->mode > 07777 || p->uid > 65535 || p->gid > 65535 ||
	    p->devpts > t->super_count || p->mount > t->mount_count ||
	    (p->devpts && !STREQ(t->supers[p->devpts - 1]->type, "devpts")))
		return err_set(e, ERR_FAIL, "the image is damaged: terminal %u", p->index);
	return 0;
}

uint32_t ckpt_pty_find(const struct ckpt_tree *t, uint32_t devpts, uint32_t index)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < t->file_count; i++) {
		const Ckpt__File *f = t->files[i];

		if ((f->kind != CKPT_FILE_PTY_SLAVE && f->kind != CKPT_FILE_CONSOLE) || !f->pty ||
		    f->pty->hung_up || f->pty->index != index || f->pty->devpts != devpts)
			continue;
		if ((f->flags & O_ACCMODE) != O_WRONLY)
			return i + 1;
		found = i + 1;
	}
	return found;
}

const struct ckpt_kind ckpt_kind_pty_master = { "terminal-master", is_master, dump_master,
						ckpt_pty_open_master, .complete = false };
const struct ckpt_kind ckpt_kind_pty_slave = { "terminal", is_slave, ckpt_pty_dump_slave,
					       ckpt_pty_open_slave, .complete = false };
