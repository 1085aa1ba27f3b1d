/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/exec.h"

#include "cli/ahead.h"
#include "cli/attach.h"
#include "cli/term.h"

#include "base/macro.h"

#include <signal.h>
#include <sys/signalfd.h>

/* -e KEY=VALUE, and -e KEY with the caller's value. */
static json_t *environment(const struct cli *c, bool tty)
{
	json_t *env = json_array();
	const char *term = getenv("TERM");
	const char *word;
	bool has_term = false;

	for (size_t i = 0; (word = cli_option_nth(c, "env", i)); i++) {
		const char *value = strchr(word, '=') ? NULL : getenv(word);

		if (strncmp(word, "TERM=", 5) == 0)
			has_term = true;
		if (value)
			json_array_append_new(env, json_sprintf("%s=%s", word, value));
		else if (strchr(word, '='))
			json_array_append_new(env, json_string(word));
	}
	if (tty && !has_term && term)
		json_array_append_new(env, json_sprintf("TERM=%s", term));
	return env;
}

json_t *exec_command(const struct cli *c)
{
	json_t *argv = c->command ? json_array() : NULL;

	for (char **word = c->command; word && *word; word++)
		json_array_append_new(argv, json_string(*word));
	return argv;
}

static void add_options(const struct cli *c, json_t *in, bool tty)
{
	const char *user = cli_option(c, "user"), *cwd = cli_option(c, "cwd");
	unsigned short rows, cols;

	json_object_set_new(in, "env", environment(c, tty));
	if (user)
		json_object_set_new(in, "user", json_string(user));
	if (cwd)
		json_object_set_new(in, "cwd", json_string(cwd));
	if (!tty)
		return;
	term_size(&rows, &cols);
	json_object_set_new(in, "tty", json_true());
	json_object_set_new(in, "rows", json_integer(rows));
	json_object_set_new(in, "cols", json_integer(cols));
}

/*
 * The command may run, and somebody may have seen that it does, before the answer is here: the first
 * signal is for the command and kept until then. Only a second one is for us.
 */
static bool hold_first(int fd, void *ctx)
{
	struct signalfd_siginfo si;
	int *held = ctx;

	if (read(fd, &si, sizeof(si)) != (ssize_t)sizeof(si) || si.ssi_signo == SIGWINCH ||
	    si.ssi_signo == SIGCONT)
		return false;
	if (*held)
		return true;
	*held = (int)si.ssi_signo;
	return false;
}

static int call(struct cli *c, const char *method, json_t *in, struct attach *a,
		char ret_name[64], struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	const char *name;
	int r = cli_client(c, e);

	if (r < 0) {
		json_decref(in);
		return r;
	}
	client_cancel_on(c->client, a->signals, hold_first, &a->held);
	r = client_call(c->client, method, in, a->stdio ? a->stdio->child : NULL,
			a->stdio ? 3 : 0, &reply, e);
	client_cancel_on(c->client, -EBADF, NULL, NULL);
	if (r < 0)
		return r;
	if (reply.nfds < 1)
		return err_set(e, ERR_DAEMON, "vpsd sent no session");
	a->session = TAKE_FD(reply.fds[0]);
	name = json_string_value(json_object_get(reply.params, "name"));
	if (ret_name)
		snprintf(ret_name, 64, "%s", name ? name : "");
	return 0;
}

static int open_stdio(struct attach_stdio *stdio, struct err *e)
{
	int r = 0;

	if (ahead.sent)
		*stdio = ahead.stdio;
	else
		r = attach_stdio_open(stdio);
	return r < 0 ? err_code(e, r, "prepare standard input and output") : 0;
}

int exec_session(struct cli *c, const char *method, json_t *in, bool tty, char ret_name[64],
		 struct err *e)
{
	struct attach_stdio stdio = ATTACH_STDIO_INIT;
	struct attach a = { .kind = ATTACH_COMMAND, .tty = tty, .lines = -1,
			    .run = STREQ(method, "Run") };
	int r;

	add_options(c, in, tty);
	a.signals = cli_signals(c, true, e);
	if (a.signals < 0) {
		json_decref(in);
		return a.signals;
	}
	if (!tty) {
		a.stdio = &stdio;
		r = open_stdio(&stdio, e);
		if (r < 0) {
			json_decref(in);
			return r;
		}
	}
	r = call(c, method, in, &a, ret_name, e);
	attach_stdio_sent(&stdio);
	if (r == 0)
		r = attach_run(&a, &c->status, e);
	attach_stdio_done(&stdio);
	fd_close(&a.signals);
	return r;
}

int cmd_exec(struct cli *c, struct err *e)
{
	return exec_session(c, "Exec",
			    json_pack("{s:s, s:o}", "name", c->args[0], "argv", exec_command(c)),
			    cli_has(c, "tty"), NULL, e);
}
