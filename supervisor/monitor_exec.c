/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Commands from outside. Between its birth and its execve(2) one reads and runs files of the tenant's, who can delay that:
 * all else goes on meanwhile.
 */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/proc.h"

#include <errno.h>
#include <signal.h>

#define START_TIMEOUT_US 30000000
#define SETTLE_US 10000000 /* of it, when somebody has to wait for all */

static int take_strings(json_t *array, struct strv *v)
{
	json_t *item;
	size_t i;

	json_array_foreach(array, i, item)
		if (!json_is_string(item) || strv_add(v, json_string_value(item)) < 0)
			return -EINVAL;
	return 0;
}

/* Cut short it would be the name of something else. */
static int take_text(json_t *j, const char *key, char *buf, size_t size, struct err *e)
{
	const char *s = json_string_value(json_object_get(j, key));

	if (s && strlen(s) >= size)
		return err_set(e, ERR_USAGE, "%s: too long (%zu bytes, at most %zu)", key, strlen(s), size - 1);
	snprintf(buf, size, "%s", s ? s : "");
	return 0;
}

static int parse_exec(json_t *j, struct rt_exec *x, struct err *e)
{
	int r = take_text(j, "user", x->user, sizeof(x->user), e);

	if (r == 0)
		r = take_text(j, "cwd", x->cwd, sizeof(x->cwd), e);
	if (r < 0)
		return r;
	x->tty = json_is_true(json_object_get(j, "tty"));
	x->login = json_is_true(json_object_get(j, "login"));
	x->rows = (unsigned short)json_integer_value(json_object_get(j, "rows"));
	x->cols = (unsigned short)json_integer_value(json_object_get(j, "cols"));
	if (take_strings(json_object_get(j, "argv"), &x->argv) < 0 ||
	    take_strings(json_object_get(j, "env"), &x->env) < 0)
		return err_set(e, ERR_DAEMON, "malformed request");
	return x->argv.count || x->login ? 0 : err_set(e, ERR_DAEMON, "malformed request");
}

/* It is known how it went. */
static void decided(struct mon *m, struct mon_session *s, int r, const struct err *e)
{
	if (r < 0) {
		if (!s->dead)
			session_send(s->sock, SESSION_ERROR, 0, e, sizeof(*e), -EBADF);
		s->dead = true;
	} else if (!s->dead && session_send(s->sock, SESSION_STARTED, (int32_t)s->command.pid, NULL, 0,
					    s->command.master) < 0) {
		mon_session_gone(m, s);
	}
	fd_close(&s->command.master);
	if (s->asked)
		mon_answer(m, s->asked, r, e);
	s->asked = 0;
}

void mon_exec_heard(struct mon *m, struct mon_session *s)
{
	struct err e = { 0 };
	int r = rt_exec_hear(&s->command, &e);

	if (r <= 0)
		decided(m, s, r, &e);
}

void mon_exec_expire(struct mon *m, bool all)
{
	uint64_t now = now_monotonic_us(), until = now + SETTLE_US;

	for (struct mon_session *s = m->sessions; s; s = s->next) {
		struct err e = { 0 };

		if (s->command.sock >= 0 && (all || s->give_up_us <= now))
			decided(m, s, rt_exec_wait(&s->command, until < s->give_up_us ? until : s->give_up_us, &e), &e);
	}
}

void mon_exec_forget(struct mon *m)
{
	for (struct mon_session *s = m->sessions; s; s = s->next)
		s->asked = 0;
}

static int begin(struct mon *m, json_int_t id, const struct rt_exec *x, int *fds, size_t nfds, struct err *e)
{
	struct rt_stdio stdio = { { -EBADF, -EBADF, -EBADF } };
	struct mon_session *s;
	int r;

	if (nfds != (x->tty ? 1U : 4U))
		return err_set(e, ERR_DAEMON, "malformed request");
	for (size_t i = 1; i < nfds; i++)
		stdio.fd[i - 1] = fds[i];
	s = mon_session_new(m, fds[0]);
	if (!s)
		return err_set(e, ERR_NOSPACE, "exec in %s: too many sessions (%d)", m->spec.name,
			       MON_SESSIONS_MAX);
	fds[0] = -EBADF;
	r = rt_exec(m->vps, x, &stdio, &s->command, e);
	if (r < 0) {
		decided(m, s, r, e);
		return r;
	}
	s->asked = id;
	s->give_up_us = now_monotonic_us() + START_TIMEOUT_US;
	return 0;
}

int mon_exec(struct mon *m, json_int_t id, json_t *request, int *fds, size_t nfds, struct err *e)
{
	struct rt_exec x = { 0 };
	int r;

	if (m->state != MON_RUNNING && m->state != MON_STOPPING)
		return err_set(e, ERR_STATE, "exec in %s: it is %s", m->spec.name,
			       mon_state_name(m));
	r = parse_exec(request, &x, e);
	if (r == 0)
		r = begin(m, id, &x, fds, nfds, e);
	strv_done(&x.argv);
	strv_done(&x.env);
	return r;
}
