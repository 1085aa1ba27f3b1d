/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/columns.h"

#include "base/macro.h"

static int check_state(const char *state, struct err *e)
{
	char list[200] = "";

	for (size_t i = 0; state && i < VPS_STATE_COUNT; i++) {
		size_t len = strlen(list);

		if (STREQ(state, vps_states[i]))
			return 0;
		snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", vps_states[i]);
	}
	if (!state)
		return 0;
	err_set(e, ERR_USAGE, "--state: %.80s is not a state", state);
	return err_hint(e, "one of %s", list);
}

/* A name that is mistyped is said at once, not when the others before it have stopped. */
static int check_names(struct cli *c, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && c->args_count > 1 && i < c->args_count; i++) {
		snprintf(c->subject, sizeof(c->subject), "wait %.100s", c->args[i]);
		r = cli_call(c, "Status", json_pack("{s:s}", "name", c->args[i]), NULL, e);
	}
	return r;
}

int cmd_wait(struct cli *c, struct err *e)
{
	cleanup_json json_t *us = NULL, *all = json_array();
	int r = cli_duration(c, "timeout", &us, e);

	if (r == 0)
		r = check_state(cli_option(c, "state"), e);
	if (r == 0)
		r = check_names(c, e);
	for (size_t i = 0; r == 0 && i < c->args_count; i++) {
		cleanup_reply struct client_reply reply = { 0 };
		json_t *ended;

		snprintf(c->subject, sizeof(c->subject), "wait %.100s", c->args[i]);
		r = cli_call(c, "Wait",
			     json_pack("{s:s, s:s*, s:O*}", "name", c->args[i], "state",
				       cli_option(c, "state"), "timeout_us", us),
			     &reply, e);
		if (r < 0)
			return r;
		json_array_append(all, reply.params);
		ended = json_object_get(reply.params, "exit");
		if (!c->json && json_is_string(ended)) {
			put_clean(stdout, json_string_value(ended));
			putchar('\n');
		}
	}
	if (r == 0 && c->json)
		cli_json(c->args_count == 1 ? json_array_get(all, 0) : all);
	return r;
}
