/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* A request with the fds that came with it; those that a handler keeps it takes out. */
struct request {
	json_t *j;
	int fd[MONITOR_FDS_MAX];
	size_t nfds;
};

#define SIGNAL_RETRY_US 20000
#define SIGNAL_BLIND_US 1000000

/* Busybox init waits so; while it does, what it blocks otherwise is not shown as blocked. */
static bool waits_for_signals(pid_t pid)
{
	cleanup_free char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	return fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL) == 0 &&
	       atol(text) == SYS_rt_sigtimedwait;
}

/* Whether a process has a handler for a signal, blocks it (for signalfd(2)) or waits for some;
 * proc(5), status. */
static bool takes_signal(pid_t pid, int sig)
{
	cleanup_free char *text = NULL;
	uint64_t caught = 0, blocked = 0;
	char path[64];
	const char *at;

	if (waits_for_signals(pid))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (fd_read_file_at(AT_FDCWD, path, 16384, &text, NULL) < 0)
		return true; /* gone: it does not matter */
	at = strstr(text, "\nSigCgt:");
	if (at)
		caught = strtoull(at + 8, NULL, 16);
	at = strstr(text, "\nSigBlk:");
	if (at)
		blocked = strtoull(at + 8, NULL, 16);
	return (caught | blocked) >> (sig - 1) & 1;
}

/* A PID 1 is spared all signals that it has no handler for (pid_namespaces(7)): one that comes
 * before init has installed its own would be lost, and the stop wait for its whole time. */
int mon_signal_init(struct mon *m, struct err *e)
{
	uint64_t now = now_monotonic_us();
	int r;

	m->signal_at_us = 0;
	if (!takes_signal(rt_init_pid(m->vps), m->spec.stop_signal)) {
		m->signal_at_us = now + SIGNAL_RETRY_US;
		if (now < m->stop_at_us + SIGNAL_BLIND_US)
			return 0;
		m->signal_at_us = now + SIGNAL_BLIND_US; /* it may take it in a way not seen */
	}
	r = pidfd_signal(rt_init_pidfd(m->vps), m->spec.stop_signal);
	return r < 0 && r != -ESRCH ? err_code(e, r, "stop %s", m->spec.name) : 0;
}

int mon_stop(struct mon *m, uint64_t timeout_us, bool force, struct err *e)
{
	int r = 0;

	if (m->state == MON_GIVEN_UP)
		return err_set(e, ERR_STATE, "stop %s: it has moved to another host, or may have",
			       m->spec.name);
	if (m->state == MON_RESTORING || m->state == MON_SAVING || m->state == MON_SUSPENDED)
		return err_set(e, ERR_STATE, "stop %s: it is being %s", m->spec.name,
			       m->state == MON_RESTORING ? "resumed" : "saved");
	if (!m->vps) { /* between a reboot and the next start */
		m->state = MON_STOPPING;
		return 0;
	}
	if (m->state == MON_PAUSED) {
		r = rt_thaw(m->vps, e);
		if (r < 0 && !force)
			return r;
	}
	if (m->state != MON_STOPPING) {
		m->stop_at_us = now_monotonic_us();
		m->state = MON_STOPPING;
		mon_tell_state(m);
	}
	if (force) {
		m->forced = true;
		return rt_kill(m->vps, e);
	}
	if (!m->kill_at_us || now_monotonic_us() + timeout_us < m->kill_at_us)
		m->kill_at_us = now_monotonic_us() + timeout_us;
	return mon_signal_init(m, e);
}

static int op_stop(struct mon *m, struct request *q, struct err *e)
{
	uint64_t timeout = m->spec.stop_timeout_us;
	json_t *t = json_object_get(q->j, "timeout_us");

	if (json_is_integer(t) && json_integer_value(t) >= 0)
		timeout = (uint64_t)json_integer_value(t);
	return mon_stop(m, timeout, json_is_true(json_object_get(q->j, "force")), e);
}

static int op_pause(struct mon *m, struct request *q, struct err *e)
{
	int r;

	(void)q;
	if (m->state != MON_RUNNING)
		return err_set(e, ERR_STATE, "pause %s: it is %s", m->spec.name, mon_state_name(m));
	r = rt_freeze(m->vps, e);
	if (r < 0)
		return err_wrap(e, "pause %s", m->spec.name);
	m->state = MON_PAUSED;
	mon_tell_state(m);
	return 0;
}

static int op_resume(struct mon *m, struct request *q, struct err *e)
{
	int r;

	(void)q;
	if (m->state != MON_PAUSED)
		return err_set(e, ERR_STATE, "resume %s: it is %s", m->spec.name,
			       mon_state_name(m));
	r = rt_thaw(m->vps, e);
	if (r < 0)
		return err_wrap(e, "resume %s", m->spec.name);
	m->state = MON_RUNNING;
	mon_tell_state(m);
	return 0;
}

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

static int run_exec(struct mon *m, const struct rt_exec *x, const struct rt_stdio *stdio,
		    struct mon_session *s, struct err *e)
{
	int master = -EBADF, r;

	r = rt_exec(m->vps, x, stdio, &s->pid, &s->pidfd, &master, e);
	if (r < 0) {
		session_send(s->sock, SESSION_ERROR, 0, e, sizeof(*e), -EBADF);
		s->dead = true;
		return r;
	}
	if (session_send(s->sock, SESSION_STARTED, (int32_t)s->pid, NULL, 0, master) < 0) {
		pidfd_signal(s->pidfd, SIGHUP);
		s->dead = true;
	}
	fd_close(&master);
	return 0;
}

static int op_exec(struct mon *m, struct request *q, struct err *e)
{
	struct rt_stdio stdio = { { -EBADF, -EBADF, -EBADF } };
	struct rt_exec x = { 0 };
	struct mon_session *s;
	int r;

	if (m->state != MON_RUNNING && m->state != MON_STOPPING)
		return err_set(e, ERR_STATE, "exec in %s: it is %s", m->spec.name,
			       mon_state_name(m));
	r = parse_exec(q->j, &x, e);
	if (r == 0 && q->nfds != (x.tty ? 1U : 4U))
		r = err_set(e, ERR_DAEMON, "malformed request");
	if (r < 0) {
		strv_done(&x.argv);
		strv_done(&x.env);
		return r;
	}
	for (size_t i = 1; i < q->nfds; i++)
		stdio.fd[i - 1] = q->fd[i];
	s = mon_session_new(m, q->fd[0]);
	if (s) {
		q->fd[0] = -EBADF;
		r = run_exec(m, &x, &stdio, s, e);
	} else {
		r = err_set(e, ERR_NOSPACE, "exec in %s: too many sessions (%d)", m->spec.name,
			    MON_SESSIONS_MAX);
	}
	strv_done(&x.argv);
	strv_done(&x.env);
	return r;
}

static int op_console(struct mon *m, struct request *q, struct err *e)
{
	struct mon_session *s;

	if (!m->vps || rt_console_fd(m->vps) < 0)
		return err_set(e, ERR_STATE, "console of %s: it has none", m->spec.name);
	if (q->nfds != 1)
		return err_set(e, ERR_DAEMON, "console of %s: malformed request", m->spec.name);
	s = mon_session_new(m, q->fd[0]);
	if (!s)
		return err_set(e, ERR_NOSPACE, "console of %s: too many sessions (%d)",
			       m->spec.name, MON_SESSIONS_MAX);
	q->fd[0] = -EBADF;
	s->console = true;
	s->input = json_is_true(json_object_get(q->j, "input"));
	mon_session_history(m, s);
	return 0;
}

static int change_limits(struct mon *m, json_t *changes, struct config *all, struct strv *keys,
			 struct err *e)
{
	const char *key;
	json_t *value, *item;
	size_t i;
	int r = 0;

	json_object_foreach(changes, key, value) {
		bool list = json_is_array(value);

		if (!list && !json_is_string(value))
			return err_set(e, ERR_DAEMON, "set %s: malformed request", m->spec.name);
		r = config_set(all, key, list ? NULL : json_string_value(value), e);
		json_array_foreach(value, i, item)
			if (r == 0)
				r = config_set(all, key, json_string_value(item), e);
		if (r < 0)
			return r;
		if (strv_add(keys, key) < 0)
			return err_code(e, -ENOMEM, "set %s", m->spec.name);
	}
	return r;
}

static int op_set(struct mon *m, struct request *q, struct err *e)
{
	cleanup_free char *text = config_format(&m->spec.limits);
	cleanup_strv struct strv keys = { 0 };
	struct config all = { 0 };
	char note[256] = "";
	int r;

	if (!text)
		return err_code(e, -ENOMEM, "set %s", m->spec.name);
	if (!m->vps)
		return err_set(e, ERR_STATE, "set %s: it is %s", m->spec.name, mon_state_name(m));
	r = config_parse(&all, text, strlen(text), "limits", e);
	if (r == 0)
		r = change_limits(m, json_object_get(q->j, "settings"), &all, &keys, e);
	if (r == 0)
		r = rt_set(m->vps, &keys, &all, note, sizeof(note), e);
	if (r < 0) {
		config_done(&all);
		return r;
	}
	config_done(&m->spec.limits); /* a reboot from inside keeps them */
	m->spec.limits = all;
	snprintf(e->msg, sizeof(e->msg), "%s", note);
	return 0;
}

static int op_spec(struct mon *m, struct request *q, struct err *e)
{
	(void)q;
	return mon_record_spec(m, e);
}

static int op_save(struct mon *m, struct request *q, struct err *e)
{
	(void)q;
	return mon_save(m, e);
}

static int op_save_abort(struct mon *m, struct request *q, struct err *e)
{
	(void)q;
	(void)e;
	mon_save_abort(m);
	mon_tell_state(m); /* also when it was not being saved any more: it rebooted meanwhile */
	return 0;
}

static int op_save_commit(struct mon *m, struct request *q, struct err *e)
{
	json_t *record = json_object_get(q->j, "record");

	if (q->nfds != 1 || !json_is_object(record))
		return err_set(e, ERR_DAEMON, "malformed request");
	return mon_save_commit(m, record, q->fd[0], e);
}

static int op_save_finish(struct mon *m, struct request *q, struct err *e)
{
	(void)q;
	return mon_save_finish(m, e);
}

static int op_move_commit(struct mon *m, struct request *q, struct err *e)
{
	if (q->nfds != 1)
		return err_set(e, ERR_DAEMON, "malformed request");
	return mon_move_commit(m, q->fd[0], e);
}

static int op_move_finish(struct mon *m, struct request *q, struct err *e)
{
	return mon_move_finish(m, json_is_true(json_object_get(q->j, "taken")), e);
}

static int op_commit(struct mon *m, struct request *q, struct err *e)
{
	bool was_ready = m->restore != NULL;
	int r = mon_restore_commit(m, e);

	(void)q;
	if (r == 0) {
		mon_started(m, "started");
		if (m->was_paused) {
			m->state = MON_PAUSED;
			mon_tell_state(m);
		}
	} else if (was_ready) {
		mon_start_failed(m, e);
		m->over = true;
	}
	return r;
}

static int op_abort(struct mon *m, struct request *q, struct err *e)
{
	struct err told;

	(void)q;
	if (!m->restore)
		return err_set(e, ERR_STATE, "it is not being restored");
	mon_restore_abort(m);
	err_set(&told, ERR_CANCELLED, "cancelled");
	mon_start_failed(m, &told);
	m->over = true;
	return 0;
}

static const struct {
	const char *name;
	int (*fn)(struct mon *m, struct request *q, struct err *e);
} ops[] = {
	{ "stop", op_stop },       { "pause", op_pause }, { "resume", op_resume },
	{ "exec", op_exec },       { "console", op_console }, { "set", op_set },
	{ "spec", op_spec },       { "save", op_save },   { "save-abort", op_save_abort },
	{ "save-commit", op_save_commit }, { "save-finish", op_save_finish },
	{ "move-commit", op_move_commit }, { "move-finish", op_move_finish },
	{ "commit", op_commit },   { "abort", op_abort },
};

static void answer(struct mon *m, json_t *id, int r, const struct err *e)
{
	int status = r >= 0 ? 0 : e->code ? e->code : ERR_FAIL;
	json_t *j = json_pack("{s:O,s:i}", "reply", id, "status", status);

	if (!status && e->msg[0])
		json_object_set_new(j, "note", json_string(e->msg));
	if (status) {
		json_object_set_new(j, "error", json_string(e->msg));
		json_object_set_new(j, "hint", json_string(e->hint));
	}
	mon_tell(m, j);
}

static void dispatch(struct mon *m, struct request *q)
{
	const char *name = json_string_value(json_object_get(q->j, "op"));
	json_t *id = json_object_get(q->j, "id");
	struct err e = { 0 };

	if (!name || !json_is_integer(id)) {
		log_warn("%s: a request without op or id", m->spec.name);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (STREQ(ops[i].name, name)) {
			answer(m, id, ops[i].fn(m, q, &e), &e);
			return;
		}
	}
	answer(m, id, err_set(&e, ERR_DAEMON, "unknown request %.32s", name), &e);
}

/* The whole of one that is too long for a packet, out of the file that came first. */
static json_t *take_long(struct request *q)
{
	cleanup_close int file = q->nfds ? q->fd[0] : -EBADF;
	cleanup_free char *text = NULL;
	size_t len;

	if (file < 0)
		return NULL;
	memmove(q->fd, q->fd + 1, --q->nfds * sizeof(*q->fd));
	if (fd_read_all(file, MONITOR_LONG_MAX, &text, &len) < 0)
		return NULL;
	return json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
}

int mon_control(struct mon *m)
{
	char packet[MONITOR_PACKET_MAX];
	struct request q = { .nfds = 0 };
	ssize_t n = fd_recv(m->control, packet, sizeof(packet), q.fd, ARRAY_SIZE(q.fd), &q.nfds);

	if (n == -EAGAIN || n == -EINTR || n == -EMSGSIZE)
		return 0;
	if (n <= 0)
		return -EPIPE;
	q.j = json_loadb(packet, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_true(json_object_get(q.j, "long"))) {
		json_decref(q.j);
		q.j = take_long(&q);
	}
	if (q.j)
		dispatch(m, &q);
	else
		log_warn("%s: a packet that is no JSON", m->spec.name);
	json_decref(q.j);
	for (size_t i = 0; i < q.nfds; i++)
		fd_close(&q.fd[i]);
	return 0;
}
