/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/exec.h"

#include "base/fd.h"
#include "base/macro.h"

#define STOP_WAIT_US 20000000

/* -v HOST:GUEST[:ro] is the setting `mount`; the host's path becomes absolute here, where the
 * caller's directory is known. */
static int add_mount(json_t *settings, const char *word, struct err *e)
{
	const char *colon = strchr(word, ':');
	cleanup_free char *host = NULL, *real = NULL, *value = NULL;

	if (!colon || colon == word || colon[1] != '/') {
		err_set(e, ERR_USAGE, "-v %.200s: not HOST:GUEST[:ro]", word);
		return err_hint(e, "for example -v $PWD:/src:ro");
	}
	host = strndup(word, (size_t)(colon - word));
	real = host ? realpath(host, NULL) : NULL;
	if (!real) {
		err_sys(e, "-v %.200s", host ? host : word);
		e->code = ERR_NOT_FOUND;
		return -ENOENT;
	}
	if (asprintf(&value, "%s%s", real, colon) < 0) {
		value = NULL;
		return err_code(e, -ENOMEM, "read the options");
	}
	return cli_setting_add(settings, "mount", 5, value) < 0 ?
		       err_code(e, -ENOMEM, "read the options") :
		       0;
}

/* The command's end is told before all is undone: who kept the VPS finds it stopped. It may be gone, or started again.
 * Signals, which are nobody else's by now, end the wait. */
static void await_stop(struct cli *c, const char *name)
{
	struct err ignored;
	int signals = cli_signals(c, false, &ignored);

	if (signals < 0)
		return;
	client_cancel_on(c->client, signals, NULL, NULL);
	cli_call(c, "Wait", json_pack("{s:s, s:s, s:I}", "name", name, "state", "stopped", "timeout_us",
				      (json_int_t)STOP_WAIT_US), NULL, &ignored);
	client_cancel_on(c->client, -EBADF, NULL, NULL);
	fd_close(&signals);
}

int cmd_run(struct cli *c, struct err *e)
{
	const char *word;
	char name[64] = "";
	json_t *settings;
	int r = cli_settings(c, 0, &settings, e);

	for (size_t i = 0; r == 0 && (word = cli_option_nth(c, "mount", i)); i++) {
		r = add_mount(settings, word, e);
		if (r < 0)
			json_decref(settings);
	}
	if (r < 0)
		return r;
	r = exec_session(c, "Run",
			 json_pack("{s:s*, s:s*, s:o, s:o, s:b}", "name", cli_option(c, "name"),
				   "template", cli_option(c, "template"), "settings", settings,
				   "argv", exec_command(c), "remove", cli_has(c, "rm")),
			 cli_has(c, "tty"), name, e);
	if (r == 0 && !cli_has(c, "rm") && *name)
		await_stop(c, name);
	if (r >= 0 && !cli_has(c, "rm") && !cli_option(c, "name") && isatty(2) && *name)
		fprintf(stderr, "vps: its files are kept in %s (vps destroy %s removes them)\n",
			name, name);
	return r;
}
