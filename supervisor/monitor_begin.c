/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A monitor is started before there is a VPS for it (spare.h), and waits for the packet that gives it
 * one: monitor.h, `begin`.
 */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

enum { MON_MORE = MON_NOT_NEEDED + 1 };

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
	return b->spec < 0 ? err_set(e, ERR_DAEMON, "told to begin without a spec") : 0;
}

static int load_spec(struct mon *m, int fd, struct err *e)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r = fd_read_all(fd, RT_SPEC_MAX, &text, &len);

	close(fd);
	if (r < 0)
		return err_code(e, r, "read the spec");
	r = rt_spec_parse(&m->spec, text, len, e);
	/* vps-init passes it on to the command; the template's signal is for its init. */
	if (r == 0 && !m->spec.boot)
		m->spec.stop_signal = SIGTERM;
	return r;
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

int mon_unprepare(struct mon *m)
{
	struct err e;
	int r = rt_prepare_undo(TAKE_PTR(m->prepared), &e);

	if (r < 0)
		log_error("%s", e.msg);
	return r;
}

/* What waits at the door: packets of vpsd, before there is a VPS. */
struct door {
	struct mon *m;
	char *arg;       /* where the name is shown */
	char name[64];   /* of `prepare`; "" before that */
	int lock;        /* it came; that it is open is all that it is for */
};

static int take_name(struct door *d, const char *name, struct err *e)
{
	if (!name || !name_is_valid(name) || (d->name[0] && !STREQ(d->name, name))) {
		err_set(e, ERR_DAEMON, "told to begin without a name");
		return err_hint(e, "vpsd is of another version than vps-monitor: restart vpsd");
	}
	if (!d->name[0])
		show_name(d->arg, name);
	snprintf(d->name, sizeof(d->name), "%s", name);
	return 0;
}

/* That the groups cannot be made is what the start will say. */
static int prepare(struct door *d, json_t *msg, const int *fds, size_t count, struct err *e)
{
	const char *parent = json_string_value(json_object_get(msg, "cgroup_parent"));
	struct err ignored;
	int r;

	if (d->name[0] || !parent || count != 1)
		return err_set(e, ERR_DAEMON, "told to prepare what cannot be");
	r = take_name(d, json_string_value(json_object_get(msg, "prepare")), e);
	if (r < 0)
		return r;
	d->lock = fds[0];
	d->m->prepared = rt_prepare(d->name, parent, &ignored);
	return 0;
}

static int begin(struct door *d, json_t *msg, const int *fds, size_t count, struct err *e)
{
	struct begin b = { -EBADF, d->lock, -EBADF, -EBADF, { -EBADF, -EBADF, -EBADF } };
	struct mon *m = d->m;
	int r;

	r = take_name(d, json_string_value(json_object_get(msg, "begin")), e);
	if (r == 0)
		r = place_fds(&b, json_object_get(msg, "fds"), fds, count, e);
	if (r == 0 && b.lock < 0)
		r = err_set(e, ERR_DAEMON, "told to begin without a lock");
	if (r == 0)
		r = load_spec(m, b.spec, e);
	memcpy(m->stdio.fd, b.stdio, sizeof(b.stdio));
	m->image = b.image;
	m->restored = b.image >= 0;
	return r < 0 ? r : take_session(m, b.session, e);
}

/* One packet; MON_MORE when it was not the last. */
static int take_packet(struct door *d, struct err *e)
{
	char packet[4096];
	int fds[8], r;
	size_t count;
	ssize_t n = fd_recv(d->m->control, packet, sizeof(packet), fds, ARRAY_SIZE(fds), &count);
	json_t *msg;

	if (n == 0 || n == -ECONNRESET)
		return mon_unprepare(d->m) < 0 ? err_set(e, ERR_FAIL, "something is left of %s", d->name)
					       : MON_NOT_NEEDED;
	if (n < 0)
		return err_code(e, (int)n, "wait for a VPS");
	msg = json_loadb(packet, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (json_object_get(msg, "prepare"))
		r = prepare(d, msg, fds, count, e) < 0 ? -EINVAL : MON_MORE;
	else
		r = begin(d, msg, fds, count, e);
	json_decref(msg);
	return r;
}

int mon_begin(struct mon *m, char *arg, struct err *e)
{
	struct door d = { .m = m, .arg = arg, .lock = -EBADF };
	int r;

	if (fcntl(MONITOR_FD_CONTROL, F_GETFD) < 0 || fd_cloexec_from(3) < 0)
		return err_set(e, ERR_USAGE, "vps-monitor is run by vpsd");
	m->control = MONITOR_FD_CONTROL;
	prctl(PR_SET_NAME, MONITOR_COMM_SPARE);
	/* Not when somebody waits for the start: */
	json_object_seed(0);
	rt_look_ahead();
	do
		r = take_packet(&d, e);
	while (r == MON_MORE);
	fd_set_nonblock(m->control, true);
	return r;
}
