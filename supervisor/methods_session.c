/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/sock.h"
#include "supervisor/monitor_link.h"

#include <sys/random.h>
#include <sys/socket.h>

/*
 * Exec, console and run: vpsd makes the session's socket pair, hands one end to the monitor and the
 * other to the client (session.h), and is out of the way.
 */

struct session_wait {
	struct server_call *call;
	struct sup_daemon *d;
	struct create *create;   /* run: under way */
	struct sup_waiter *wait; /* run: for the start */
	char name[64];
	const char *verb;
	int client;              /* the client's end */
	struct vps_stdio io;     /* run */
};

static void session_free(struct session_wait *s)
{
	fd_close(&s->client);
	fd_close(&s->io.session);
	for (int i = 0; i < 3; i++)
		fd_close(&s->io.fd[i]);
	free(s);
}

static struct session_wait *session_new(struct server_call *c, struct sup_daemon *d,
					const char *verb, struct err *e)
{
	struct session_wait *s = calloc(1, sizeof(*s));
	int pair[2];

	if (!s || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		free(s);
		err_sys(e, "make a session");
		return NULL;
	}
	/* Nothing of a client's is the monitor's to close, which may take as long as he likes (Linux 6.16). */
	setsockopt(pair[1], SOL_SOCKET, SO_PASSRIGHTS, &(int){ 0 }, sizeof(int));
	*s = (struct session_wait){ .call = c, .d = d, .verb = verb, .client = pair[0],
				    .io = { pair[1], { -EBADF, -EBADF, -EBADF } } };
	return s;
}

/* The client's stdin, stdout and stderr, which come unless it asked for a terminal. */
static int take_stdio(struct session_wait *s, bool tty, struct err *e)
{
	for (size_t i = 0; i < 3 && !tty; i++) {
		s->io.fd[i] = call_take_fd(s->call, i);
		if (s->io.fd[i] < 0)
			return err_set(e, ERR_USAGE, "%s: standard input, output and error must come"
				       " with the call", s->verb);
	}
	return 0;
}

static void reply_session(struct session_wait *s, bool with_name)
{
	json_t *j = json_pack("{s:i}", "session", 0);

	if (with_name)
		json_object_set_new(j, "name", json_string(s->name));
	server_reply(s->call, j, &s->client, 1);
	session_free(s);
}

static void fail_session(struct session_wait *s, const struct err *e)
{
	server_fail(s->call, e);
	session_free(s);
}

static void on_session(void *ctx, const struct err *e, const char *note)
{
	(void)note;
	if (e)
		fail_session(ctx, e);
	else
		reply_session(ctx, false);
}

static bool copy_strings(json_t *from, json_t *to)
{
	static const char *const keys[] = { "argv", "env", "user", "cwd", "tty", "login", "rows",
					    "cols", "input" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		json_t *v = json_object_get(from, keys[i]);

		if (v && !json_is_null(v) && json_object_set(to, keys[i], v) < 0)
			return false;
	}
	return true;
}

static bool has_command(const struct server_call *c)
{
	return json_array_size(json_object_get(call_params(c), "argv")) > 0;
}

static void open_session(struct server_call *c, struct sup_vps *v, const char *verb)
{
	bool exec = STREQ(verb, "exec");
	const char *said = call_bool(c, "login") ? "enter" : verb;
	struct session_wait *s = NULL;
	json_t *msg;
	struct err e;
	int fds[4], r;

	r = vps_check(v, SUP_EV_SESSION, said, &e);
	if (r == 0 && exec && !has_command(c) && !call_bool(c, "login"))
		r = err_set(&e, ERR_USAGE, "exec %s: there is no command", v->name);
	if (r == 0) {
		s = session_new(c, v->d, verb, &e);
		r = s ? 0 : -EIO;
	}
	if (r == 0 && exec)
		r = take_stdio(s, call_bool(c, "tty"), &e);
	if (r == 0) {
		msg = json_pack("{s:s}", "op", verb);
		copy_strings(call_params(c), msg);
		fds[0] = s->io.session;
		memcpy(fds + 1, s->io.fd, sizeof(s->io.fd));
		r = link_request(v->link, msg, fds, s->io.fd[0] >= 0 ? 4 : 1, on_session, s, &e);
		if (r < 0)
			err_wrap(&e, "%s %s", verb, v->name);
	}
	if (r == 0) {
		/* The monitor has its own: our copies would keep pipes and the session open. */
		fd_close(&s->io.session);
		for (int i = 0; i < 3; i++)
			fd_close(&s->io.fd[i]);
		return;
	}
	if (s)
		session_free(s);
	server_fail(c, &e);
}

void method_exec(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Exec");

	if (v)
		open_session(c, v, "exec");
}

void method_console(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Console");

	if (v)
		open_session(c, v, "console");
}

/* Run: create, start, reply with the session once the command runs. */

static bool run_look(struct sup_waiter *w, const struct err *e)
{
	struct session_wait *s = call_data(w->call);
	struct sup_vps *v = w->vps;
	struct err ended;

	/* A short command may be over before its start is looked at: its session tells all. */
	if (e) {
		fail_session(s, e);
	} else if (v->state == SUP_RUNNING || v->state == SUP_STOPPING ||
		   (v->state == SUP_STOPPED && !STREQ(v->end.how, "died"))) {
		reply_session(s, true);
	} else if (v->state == SUP_STOPPED) {
		err_set(&ended, ERR_RUN, "run %s: %s", v->name, v->end.error);
		fail_session(s, &ended);
	} else {
		return false;
	}
	return true;
}

/* Nobody wants it any more: what is there of it goes. */
static void run_cancelled(struct server_call *c, void *userdata)
{
	struct session_wait *s = userdata;
	struct sup_vps *v = vps_find(s->d, s->name);
	struct err e;

	(void)c;
	if (s->create)
		create_cancel(s->create);
	else if (v && v->state != SUP_STOPPED && vps_stop(v, 0, true, &e) < 0)
		log_warn("%s", e.msg);
}

static void on_run_created(void *ctx, struct sup_vps *v, const struct err *e)
{
	struct session_wait *s = ctx;
	struct sup_waiter *w;
	struct err told;

	s->create = NULL;
	if (!v) {
		fail_session(s, e);
		return;
	}
	if (vps_start(v, &s->io, &told) < 0) {
		fail_session(s, &told);
		if (v->ephemeral && vps_destroy(v, &told) < 0)
			log_error("%s", told.msg);
		return;
	}
	fd_close(&s->io.session);
	for (int i = 0; i < 3; i++)
		fd_close(&s->io.fd[i]);
	w = vps_wait(v, s->call, 0, run_look);
	if (!w)
		session_free(s);
	else
		call_on_cancel(s->call, run_cancelled, s);
}

/* "run-" and six letters that nobody has. */
static void make_name(struct sup_daemon *d, char name[64])
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
	unsigned char r[6];

	do {
		if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r))
			memset(r, (int)(d->count & 0xff), sizeof(r));
		snprintf(name, 64, "run-%c%c%c%c%c%c", letters[r[0] & 31], letters[r[1] & 31],
			 letters[r[2] & 31], letters[r[3] & 31], letters[r[4] & 31],
			 letters[r[5] & 31]);
	} while (vps_find(d, name));
}

static json_t *make_command(struct server_call *c)
{
	json_t *j = json_object();

	copy_strings(call_params(c), j);
	return j;
}

void method_run(struct server_call *c, void *userdata)
{
	struct sup_daemon *d = userdata;
	struct session_wait *s;
	struct create_request q = {
		.name = call_string(c, "name"),
		.template = call_string(c, "template"),
		.settings = json_object_get(call_params(c), "settings"),
		.ephemeral = call_bool(c, "remove"),
		.owner = call_uid(c),
	};
	struct err e;
	int r;

	s = session_new(c, d, "run", &e);
	r = s ? 0 : -EIO;
	if (r == 0 && !has_command(c))
		r = err_set(&e, ERR_USAGE, "run: there is no command");
	if (r == 0)
		r = take_stdio(s, call_bool(c, "tty"), &e);
	if (r == 0) {
		if (q.name)
			snprintf(s->name, sizeof(s->name), "%s", q.name);
		else
			make_name(d, s->name);
		if (!q.name)
			q.name = s->name;
		q.command = make_command(c);
		r = create_begin(d, &q, on_run_created, s, &s->create, &e);
		json_decref(q.command);
	}
	if (r < 0) {
		if (s)
			session_free(s);
		server_fail(c, &e);
		return;
	}
	call_set_data(c, s);
	call_on_cancel(c, run_cancelled, s);
}
