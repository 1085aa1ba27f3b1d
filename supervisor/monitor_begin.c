/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A monitor is started before there is a VPS for it (spare.h), and waits for the packet that gives it
 * one: monitor.h, `begin`.
 */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

/* What may come with it; those not there are -EBADF. */
struct begin {
	int spec, lock, session, image;
	int stdio[3];
};

static int *find_place(struct begin *b, const char *name)
{
	const struct {
		const char *name;
		int *at;
	} places[] = {
		{ "spec", &b->spec },	    { "lock", &b->lock },      { "image", &b->image },
		{ "session", &b->session }, { "stdin", &b->stdio[0] }, { "stdout", &b->stdio[1] },
		{ "stderr", &b->stdio[2] },
	};

	for (size_t i = 0; name && i < ARRAY_SIZE(places); i++)
		if (STREQ(places[i].name, name) && *places[i].at < 0)
			return places[i].at;
	return NULL;
}

/* Each fd to its place; what has none stays where it is, close-on-exec, until the monitor ends. */
static int place_fds(struct begin *b, json_t *names, const int *fds, size_t count, struct err *e)
{
	if (json_array_size(names) != count)
		return err_set(e, ERR_DAEMON, "told to begin with %zu fds, got %zu",
			       json_array_size(names), count);
	for (size_t i = 0; i < count; i++) {
		int *at = find_place(b, json_string_value(json_array_get(names, i)));

		if (!at)
			return err_set(e, ERR_DAEMON, "told to begin with an fd of no use");
		*at = fds[i];
	}
	if (b->spec < 0 || b->lock < 0)
		return err_set(e, ERR_DAEMON, "told to begin without a spec or a lock");
	return 0;
}

static int load_spec(struct mon *m, int fd, struct err *e)
{
	cleanup_free char *text = malloc(RT_SPEC_MAX);
	ssize_t n;

	if (!text)
		return err_code(e, -ENOMEM, "read the spec");
	n = fd_read_full(fd, text, RT_SPEC_MAX);
	close(fd);
	if (n < 0)
		return err_code(e, (int)n, "read the spec");
	n = rt_spec_parse(&m->spec, text, (size_t)n, e);
	/* vps-init passes it on to the command; the template's signal is for its init. */
	if (n == 0 && !m->spec.boot)
		m->spec.stop_signal = SIGTERM;
	return (int)n;
}

static int take_session(struct mon *m, int fd, struct err *e)
{
	struct mon_session *s;

	if (fd < 0)
		return 0;
	s = mon_session_new(m, fd);
	if (!s)
		return err_code(e, -ENOMEM, "take the session");
	s->run = true;
	s->console = s->input = m->spec.tty;
	return 0;
}

static void show_name(char *arg, const char *name)
{
	size_t room = strlen(arg);

	memset(arg, 0, room);
	strncpy(arg, name, room);
	prctl(PR_SET_NAME, "vps-monitor");
}

static int begin(struct mon *m, json_t *msg, const int *fds, size_t count, char *arg, struct err *e)
{
	struct begin b = { -EBADF, -EBADF, -EBADF, -EBADF, { -EBADF, -EBADF, -EBADF } };
	const char *name = json_string_value(json_object_get(msg, "begin"));
	int r;

	if (!name || !name_is_valid(name)) {
		err_set(e, ERR_DAEMON, "told to begin without a name");
		return err_hint(e, "vpsd is of another version than vps-monitor: restart vpsd");
	}
	show_name(arg, name);
	r = place_fds(&b, json_object_get(msg, "fds"), fds, count, e);
	if (r == 0)
		r = load_spec(m, b.spec, e);
	memcpy(m->stdio.fd, b.stdio, sizeof(b.stdio));
	m->image = b.image;
	m->restored = b.image >= 0;
	return r < 0 ? r : take_session(m, b.session, e);
}

int mon_begin(struct mon *m, char *arg, struct err *e)
{
	char packet[4096];
	int fds[8], r;
	size_t count;
	ssize_t n;
	json_t *msg;

	if (fcntl(MONITOR_FD_CONTROL, F_GETFD) < 0 || fd_cloexec_from(3) < 0)
		return err_set(e, ERR_USAGE, "vps-monitor is run by vpsd");
	m->control = MONITOR_FD_CONTROL;
	prctl(PR_SET_NAME, MONITOR_COMM_SPARE);
	json_object_seed(0); /* opens a file: not when somebody waits for the start */
	n = fd_recv(m->control, packet, sizeof(packet), fds, ARRAY_SIZE(fds), &count);
	if (n == 0 || n == -ECONNRESET)
		return MON_NOT_NEEDED;
	if (n < 0)
		return err_code(e, (int)n, "wait for a VPS");
	fd_set_nonblock(m->control, true);
	msg = json_loadb(packet, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	r = begin(m, msg, fds, count, arg, e);
	json_decref(msg);
	return r;
}
