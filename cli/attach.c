/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/attach.h"

#include "cli/cli.h"
#include "cli/history.h"
#include "cli/pump.h"
#include "cli/term.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "supervisor/session.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>

#define QUIET_MS 500 /* of a console before the end of input that is no terminal leaves it */

struct loop {
	const struct attach *a;
	int session;
	int master; /* of exec -t */
	struct pump in, out, err;
	bool started, input_ended, line_begun;
	bool ended, have_status, detached;
	int status;
	int clean; /* state of clean_console() */
	uint64_t keys_us[2]; /* when the last two Ctrl-] were pressed */
	struct history history;
	struct err *e;
	int failed;
};

static bool by_messages(const struct loop *l)
{
	return l->a->kind != ATTACH_COMMAND || (l->a->tty && l->a->run);
}

/* A background job that read from its terminal would be stopped (SIGTTIN). */
static bool may_read(void)
{
	return !isatty(0) || tcgetpgrp(0) == getpgrp();
}

static void send_size(struct loop *l)
{
	unsigned short rows, cols;

	if (!term_size(&rows, &cols))
		return;
	if (l->master >= 0) {
		struct winsize ws = { .ws_row = rows, .ws_col = cols };

		ioctl(l->master, TIOCSWINSZ, &ws);
	} else if (by_messages(l)) {
		session_send(l->session, SESSION_RESIZE, rows << 16 | cols, NULL, 0, -1);
	}
}

static void handle_signals(struct loop *l)
{
	struct signalfd_siginfo si;

	while (read(l->a->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		int sig = (int)si.ssi_signo;

		if (sig == SIGCONT && term_is_raw())
			term_raw(0); /* the shell has set its own modes meanwhile */
		if (sig == SIGWINCH)
			send_size(l);
		else if (l->a->kind == ATTACH_COMMAND)
			session_send(l->session, SESSION_SIGNAL, sig, NULL, 0, -1);
		else if (sig == SIGINT || sig == SIGTERM || sig == SIGHUP || sig == SIGQUIT)
			l->ended = l->detached = true;
	}
}

/*
 * The end of our input becomes the end of file that the pty's line discipline knows. It counts
 * only at the start of a line; elsewhere it first hands over what the line has.
 */
static void end_pty_input(struct loop *l)
{
	struct termios t;
	char eof[2];

	if (tcgetattr(l->master, &t) < 0 || !(t.c_lflag & ICANON))
		return;
	eof[0] = eof[1] = (char)t.c_cc[VEOF];
	if (write(l->master, eof, l->line_begun ? 2 : 1) < 0)
		return;
}

static void input_end(struct loop *l)
{
	l->input_ended = true;
	l->in.from = -EBADF;
	if (l->a->kind == ATTACH_COMMAND && l->master >= 0)
		end_pty_input(l);
	else if (l->a->kind == ATTACH_COMMAND && !l->a->tty)
		fd_close(&l->a->stdio->ours[0]);
}

static void send_input(struct loop *l)
{
	int r = session_send(l->session, SESSION_INPUT, 0, l->in.data, l->in.len, -1);

	if (r != -EAGAIN)
		l->in.len = 0;
}

static void handle_input(struct loop *l)
{
	/* 4 KiB: no more than a pty's queue has room for (n_tty), so that most writes are whole. */
	if (!pump_read(&l->in, 4096)) {
		input_end(l);
		return;
	}
	if (l->in.len)
		l->line_begun = l->in.data[l->in.len - 1] != '\n';
	if (l->a->kind == ATTACH_CONSOLE && isatty(0) && term_leaves(l->keys_us, l->in.data, l->in.len)) {
		l->ended = l->detached = true;
		return;
	}
	if (by_messages(l))
		send_input(l);
}

static void write_out(struct loop *l, char *data, size_t len)
{
	if (l->a->kind == ATTACH_FOLLOW && isatty(1))
		len = clean_console(data, len, &l->clean);
	if (pump_out(1, data, len))
		return;
	if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
		l->failed = err_sys(l->e, "write to standard output");
	l->ended = l->detached = true;
}

static void flush_history(struct loop *l)
{
	size_t len;
	char *text = history_close(&l->history, &len);

	if (len)
		write_out(l, text, len);
	history_done(&l->history);
}

static void take_output(struct loop *l, char *data, size_t len)
{
	if (history_add(&l->history, data, len))
		return;
	if (l->history.open)
		flush_history(l);
	write_out(l, data, len);
}

static void take_error(struct loop *l, const char *data, size_t len)
{
	struct err theirs;

	l->ended = true;
	if (len != sizeof(theirs)) {
		l->failed = err_set(l->e, ERR_DAEMON, "the session sent an error that is none");
		return;
	}
	memcpy(&theirs, data, sizeof(theirs));
	theirs.msg[sizeof(theirs.msg) - 1] = theirs.hint[sizeof(theirs.hint) - 1] = '\0';
	*l->e = theirs;
	l->failed = -EIO;
}

static void take_started(struct loop *l, int fd)
{
	l->started = true;
	if (l->a->held)
		session_send(l->session, SESSION_SIGNAL, l->a->held, NULL, 0, -1);
	if (fd < 0)
		return;
	fd_close(&l->master);
	l->master = fd;
	fd_set_nonblock(fd, true);
	l->in.to = l->out.from = fd;
	send_size(l);
}

static void handle_session(struct loop *l)
{
	char data[SESSION_DATA_MAX];
	struct session_header h;
	int fd;
	ssize_t n = session_recv(l->session, &h, data, sizeof(data), &fd);

	if (n == -EAGAIN)
		return;
	if (n < 0) {
		l->ended = true;
		l->failed = err_set(l->e, ERR_DAEMON, "%s", n == -EPIPE ?
				    "the VPS's monitor went away" : "the session sent garbage");
		return;
	}
	if (h.type == SESSION_STARTED) {
		take_started(l, TAKE_FD(fd));
	} else if (h.type == SESSION_OUTPUT) {
		take_output(l, data, (size_t)n);
	} else if (h.type == SESSION_DROPPED) {
		term_restore();
		fprintf(stderr, "\r\nvps: %d bytes of output were dropped here\r\n", h.value);
		if (l->a->kind == ATTACH_CONSOLE && isatty(0))
			term_raw(0);
	} else if (h.type == SESSION_ERROR) {
		take_error(l, data, (size_t)n);
	} else if (h.type == SESSION_EXIT) {
		l->ended = l->have_status = true;
		l->status = h.value & 0xff;
	} else if (h.type == SESSION_CLOSED) {
		l->ended = true;
	}
	fd_close(&fd);
}

/* The command's output from our pipe or the pty to our own. */
static void handle_output(struct pump *p, bool *gone)
{
	if (!pump_read(p, sizeof(p->data))) {
		p->from = -EBADF;
		return;
	}
	if (!pump_write(p)) {
		p->from = -EBADF;
		p->at = p->len = 0;
		*gone = true;
	}
}

static void copy(struct loop *l)
{
	bool gone = false;

	if (l->out.from >= 0)
		handle_output(&l->out, &gone);
	if (l->err.from >= 0)
		handle_output(&l->err, &gone);
	/* Nobody reads any more: the command is to notice, as it would without us. */
	if (gone && l->master >= 0) {
		fd_close(&l->master);
		l->in.from = l->in.to = -EBADF;
	} else if (gone && l->a->stdio) {
		fd_close(&l->a->stdio->ours[1]);
		fd_close(&l->a->stdio->ours[2]);
		l->out.from = l->err.from = -EBADF;
	}
}

/* When there is something to read, or room for what was read. */
static struct pollfd poll_pump(const struct pump *p)
{
	return (struct pollfd){ .fd = p->len ? p->to : p->from, .events = p->len ? POLLOUT : POLLIN };
}

/* poll(2) looks at them in this order: a signal that came before some input is seen no later. */
enum { P_SESSION, P_IN, P_TO, P_OUT, P_ERR, P_SIGNALS, P_READER, P_COUNT };

static void fill_polls(struct loop *l, struct pollfd *p)
{
	bool waiting = l->in.len > 0;

	for (int i = 0; i < P_COUNT; i++)
		p[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	p[P_SESSION].fd = l->session;
	if (by_messages(l) && waiting)
		p[P_SESSION].events |= POLLOUT;
	p[P_SIGNALS].fd = l->a->signals;
	if (l->a->kind == ATTACH_FOLLOW)
		p[P_READER] = (struct pollfd){ .fd = 1 }; /* its end is told unasked */
	if (!waiting && l->in.from >= 0 && may_read() &&
	    (l->started || l->a->kind == ATTACH_CONSOLE || !l->a->tty))
		p[P_IN].fd = l->in.from;
	if (waiting && !by_messages(l)) {
		p[P_TO].fd = l->in.to;
		p[P_TO].events = POLLOUT;
	}
	p[P_OUT] = poll_pump(&l->out);
	p[P_ERR] = poll_pump(&l->err);
}

static int poll_limit(const struct loop *l)
{
	if (l->a->kind == ATTACH_CONSOLE && l->input_ended)
		return QUIET_MS;
	if (l->history.open)
		return 100;
	if (l->in.from >= 0 && !may_read())
		return 500; /* asks again whether we are in the foreground */
	return -1;
}

static void turn(struct loop *l)
{
	struct pollfd p[P_COUNT];
	int n;

	fill_polls(l, p);
	n = poll(p, P_COUNT, poll_limit(l));
	if (n < 0 && errno != EINTR) {
		l->ended = true;
		l->failed = err_sys(l->e, "wait for the session");
	}
	if (n == 0 && l->history.open)
		flush_history(l);
	else if (n == 0 && l->a->kind == ATTACH_CONSOLE && l->input_ended)
		l->ended = l->detached = true;
	if (n <= 0)
		return;
	if (p[P_SIGNALS].revents)
		handle_signals(l);
	if (p[P_READER].revents)
		l->ended = l->detached = true;
	if (p[P_OUT].revents || p[P_ERR].revents)
		copy(l);
	if (p[P_SESSION].revents & (POLLIN | POLLHUP | POLLERR))
		handle_session(l);
	if (p[P_SESSION].revents & POLLOUT)
		send_input(l);
	if (p[P_IN].revents && !l->ended)
		handle_input(l);
	if (l->in.len && !by_messages(l) && l->in.to >= 0 && !pump_write(&l->in))
		input_end(l);
}

/* What the pump holds, or what there is to be read. */
static bool drain_once(struct pump *p)
{
	bool more = p->len || (p->from >= 0 && pump_read(p, sizeof(p->data)) && p->len);

	more = more && pump_out(p->to, p->data + p->at, p->len - p->at);
	p->at = p->len = 0;
	return more;
}

/* What the command wrote before it ended is there: reading a pty waits for the line discipline's
 * own queue (n_tty). A background process may hold the other end open, so EAGAIN is the end. */
static void drain(struct loop *l)
{
	struct pump *pumps[] = { &l->out, &l->err };

	for (size_t i = 0; i < ARRAY_SIZE(pumps); i++) {
		struct pump *p = pumps[i];

		/* More than a pipe holds was not there when the command ended. */
		for (size_t n = 0; n < MIB(1) && drain_once(p); n += sizeof(p->data) / 8)
			continue;
	}
}

/* What the command left of our file is there for who reads on: `while read line; do vps exec ...; done <file`. */
static void wind_back(const struct loop *l)
{
	int left;

	if (!l->a->stdio || l->a->stdio->unread < 0 || ioctl(l->a->stdio->unread, FIONREAD, &left) < 0)
		return;
	left += (int)(l->in.len - l->in.at);
	if (left > 0)
		lseek(0, -(off_t)left, SEEK_CUR);
}

static void begin(struct loop *l)
{
	const struct attach *a = l->a;

	if (a->kind == ATTACH_FOLLOW) {
		l->history = (struct history){ .open = a->lines >= 0, .lines = a->lines };
		return;
	}
	l->in.from = 0;
	l->out.to = 1;
	l->err.to = 2;
	if (a->kind == ATTACH_COMMAND && !a->tty) {
		l->in.from = a->stdio->ours[0] >= 0 ? 0 : -EBADF;
		l->in.to = a->stdio->ours[0];
		l->out.from = a->stdio->ours[1];
		l->err.from = a->stdio->ours[2];
	} else if (isatty(0) && may_read()) {
		term_raw(0);
	}
	send_size(l);
}

int attach_run(const struct attach *a, int *ret_status, struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_code(e, -ENOMEM, "attach");
	l->a = a;
	l->session = a->session;
	l->master = -EBADF;
	l->in.from = l->in.to = l->out.from = l->err.from = -EBADF;
	l->e = e;
	signal(SIGPIPE, SIG_IGN);
	fd_set_nonblock(l->session, true);
	begin(l);
	while (!l->ended)
		turn(l);
	if (l->history.open)
		flush_history(l);
	drain(l);
	wind_back(l);
	term_restore();
	fd_close(&l->master);
	fd_close(&l->session);
	*ret_status = l->status;
	r = l->failed ?: a->kind == ATTACH_COMMAND && !l->have_status;
	free(l);
	return r;
}
