/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

static int suspend(struct cli *c, const char *name, json_t **ret, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r;

	snprintf(c->subject, sizeof(c->subject), "suspend%s%.100s", *name ? " " : "", name);
	r = cli_follow(c, "Suspend",
		       json_pack("{s:s, s:s*}", "name", name, "compress", cli_option(c, "compress")), NULL,
		       0, &reply, e);
	if (r == 0)
		*ret = json_incref(reply.params);
	return r;
}

int cmd_suspend(struct cli *c, struct err *e)
{
	cleanup_json json_t *all = json_array();

	for (size_t i = 0; i < c->args_count; i++) {
		json_t *result = NULL;
		int r = suspend(c, c->args[i], &result, e);

		if (r < 0 && (c->args_count == 1 || e->code == ERR_CANCELLED))
			return r;
		if (r < 0) {
			if (!c->json)
				cli_error(c, e);
			if (!c->status)
				c->status = e->code;
			result = cli_json_error(c, e);
		}
		json_array_append_new(all, result);
	}
	if (c->json)
		cli_json(c->args_count == 1 ? json_array_get(all, 0) : all);
	return 0;
}
