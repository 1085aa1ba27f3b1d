/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"

#include <errno.h>
#include <signal.h>

enum { ANSWER_LATER = 1 }; /* what an operation may return */

/* A request with the fds that came with it; those that a handler keeps it takes out. */
struct request {
	json_t *j;
	int fd[MONITOR_FDS_MAX];
	size_t nfds;
};

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
	mon_exec_expire(m, true);
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

static int op_exec(struct mon *m, struct request *q, struct err *e)
{
	int r = mon_exec(m, json_integer_value(json_object_get(q->j, "id")), q->j, q->fd, q->nfds, e);

	return r < 0 ? r : ANSWER_LATER;
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

void mon_answer(struct mon *m, json_int_t id, int r, const struct err *e)
{
	int status = r >= 0 ? 0 : e->code ? e->code : ERR_FAIL;
	json_t *j = json_pack("{s:I,s:i}", "reply", id, "status", status);

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
	json_t *j = json_object_get(q->j, "id");
	json_int_t id = json_integer_value(j);
	struct err e = { 0 };

	if (!name || !json_is_integer(j)) {
		log_warn("%s: a request without op or id", m->spec.name);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (STREQ(ops[i].name, name)) {
			int r = ops[i].fn(m, q, &e);

			if (r != ANSWER_LATER)
				mon_answer(m, id, r, &e);
			mon_restore_done(m);
			return;
		}
	}
	mon_answer(m, id, err_set(&e, ERR_DAEMON, "unknown request %.32s", name), &e);
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

/* Who asked waits for the answer. */
static void refuse(struct mon *m, const json_t *head, const char *why)
{
	json_t *id = json_object_get(head, "id");
	struct err e = { 0 };

	log_warn("%s: %s", m->spec.name, why);
	if (json_is_integer(id))
		mon_answer(m, json_integer_value(id), err_set(&e, ERR_DAEMON, "%s", why), &e);
}

static void take(struct mon *m, struct request *q, const char *packet, size_t len)
{
	json_t *head = json_loadb(packet, len, JSON_REJECT_DUPLICATES, NULL);

	q->j = json_is_true(json_object_get(head, "long")) ? take_long(q) : json_incref(head);
	if (q->j)
		dispatch(m, q);
	else
		refuse(m, head, head ? "a long request cannot be read" : "a packet that is no JSON");
	json_decref(q->j);
	json_decref(head);
	for (size_t i = 0; i < q->nfds; i++)
		fd_close(&q->fd[i]);
}

static void refuse_text(struct mon *m, const char *packet)
{
	json_t *head = json_loads(packet, JSON_REJECT_DUPLICATES, NULL);

	refuse(m, head, "the monitor has no room for the files of the request");
	json_decref(head);
}

int mon_control(struct mon *m)
{
	char packet[MONITOR_PACKET_MAX + 1] = ""; /* one without its files has no length but its text's */
	struct request q = { .nfds = 0 };
	ssize_t n = fd_recv(m->control, packet, MONITOR_PACKET_MAX, q.fd, ARRAY_SIZE(q.fd), &q.nfds);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n == -EMSGSIZE)
		log_warn("%s: a packet that is too long, or has too many files", m->spec.name);
	else if (n == -EMFILE)
		refuse_text(m, packet);
	else if (n > 0)
		take(m, &q, packet, (size_t)n);
	else
		return -EPIPE;
	return 0;
}
