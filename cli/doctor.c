/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

static const struct mark {
	const char *result, *sign;
	enum colour colour;
} marks[] = {
	{ "ok", "ok", GREEN },
	{ "missing", "missing", YELLOW },
	{ "broken", "BROKEN", RED },
};

static const struct mark *mark_of(json_t *check)
{
	const char *result = json_string_value(json_object_get(check, "result"));

	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (STREQ(result, marks[i].result))
			return &marks[i];
	return &marks[2];
}

static void show(json_t *checks)
{
	cleanup_table struct table t = { .columns = 3 };
	json_t *check;
	size_t i;

	json_array_foreach(checks, i, check) {
		const struct mark *m = mark_of(check);
		const char *hint = json_string_value(json_object_get(check, "hint"));

		table_add(&t, m->colour, m->sign);
		table_add(&t, BOLD, json_string_value(json_object_get(check, "name")));
		table_add(&t, PLAIN, json_string_value(json_object_get(check, "detail")));
		if (hint && *hint) {
			table_add(&t, PLAIN, "");
			table_add(&t, PLAIN, "");
			table_add(&t, DIM, hint);
		}
	}
	table_print(&t, false);
}

int cmd_doctor(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "Doctor", NULL, &reply, e);
	json_t *checks, *check;
	size_t i;

	if (r < 0)
		return r;
	checks = json_object_get(reply.params, "checks");
	json_array_foreach(checks, i, check)
		if (STREQ(json_string_value(json_object_get(check, "result")), "broken"))
			c->status = ERR_UNSUPPORTED;
	if (c->json)
		cli_json(checks);
	else
		show(checks);
	return 0;
}
