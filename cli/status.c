/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/columns.h"

#include "base/macro.h"

static void show(json_t *vps)
{
	const char *state = json_string_value(json_object_get(vps, "state"));
	bool colours = colour_on(stdout);
	char text[1100];

	for (size_t i = 0; i < vps_columns_count; i++) {
		const struct column *col = &vps_columns[i];
		const char *s = column_text(col, vps, text, sizeof(text));
		const char *code = colour_code(STREQ(col->name, "state") ? state_colour(state) :
							 STREQ(col->name, "last_error") ? RED : PLAIN);

		if (!*s || STREQ(s, "-"))
			continue;
		if (colours)
			printf("\033[2m%-10s\033[0m  \033[%sm", col->name, code);
		else
			printf("%-10s  ", col->name);
		put_clean(stdout, s);
		puts(colours ? "\033[0m" : "");
	}
}

int cmd_status(struct cli *c, struct err *e)
{
	cleanup_json json_t *all = json_array();

	for (size_t i = 0; i < c->args_count; i++) {
		cleanup_reply struct client_reply reply = { 0 };
		int r;

		snprintf(c->subject, sizeof(c->subject), "status %.100s", c->args[i]);
		r = cli_call(c, "Status", json_pack("{s:s}", "name", c->args[i]), &reply, e);
		if (r < 0)
			return r;
		json_array_append(all, json_object_get(reply.params, "vps"));
		if (!c->json) {
			if (i > 0)
				putchar('\n');
			show(json_object_get(reply.params, "vps"));
		}
	}
	if (c->json)
		cli_json(c->args_count == 1 ? json_array_get(all, 0) : all);
	return 0;
}
