/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/columns.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"

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

/* It came from another host. */
static void show_arrival(json_t *arrived)
{
	char when[64], size[32];
	json_int_t rounds;

	if (!json_is_object(arrived))
		return;
	rounds = json_integer_value(json_object_get(arrived, "rounds"));
	printf("%-10s  %s, %s", "arrived",
	       show_time(json_integer_value(json_object_get(arrived, "at")), when, sizeof(when)),
	       format_size((uint64_t)json_integer_value(json_object_get(arrived, "bytes")), size,
			   sizeof(size)));
	if (json_integer_value(json_object_get(arrived, "pause_us")))
		printf(", a pause of %.1f ms after %d round%s",
		       (double)json_integer_value(json_object_get(arrived, "pause_us")) / 1000, (int)rounds,
		       str_s((uint64_t)rounds));
	putchar('\n');
}

/* Without the records that the config has, too: they are shown above, and cannot be set. */
static void show_settings(struct cli *c, json_t *settings)
{
	json_t *pair, *table;
	bool some = false;
	struct err ignored;
	size_t i;

	if (cli_settings_table(c, &table, &ignored) < 0)
		return;
	json_array_foreach(settings, i, pair) {
		const char *key = json_string_value(json_object_get(pair, "key"));

		if (!cli_setting_find(table, key))
			continue;
		printf("%s%s = ", some ? "" : "\n", key);
		put_clean(stdout, json_string_value(json_object_get(pair, "value")));
		putchar('\n');
		some = true;
	}
}

static const char *count_text(json_t *row, const char *key, bool bytes, char *buf, size_t size)
{
	json_t *v = json_object_get(row, key);

	if (!json_is_integer(v))
		snprintf(buf, size, "none");
	else if (bytes)
		format_size((uint64_t)json_integer_value(v), buf, size);
	else
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	return buf;
}

static void show_counters(json_t *counters)
{
	static const char *const keys[] = { "held", "maxheld", "limit", "failcnt" };
	static const char *const titles[] = { "RESOURCE", "HELD", "MAXHELD", "LIMIT", "FAILCNT" };
	static const bool right[] = { false, true, true, true, true };
	cleanup_table struct table t = { .columns = ARRAY_SIZE(titles), .right = right };
	char text[64];
	json_t *row;
	size_t i;

	table_titles(&t, titles);
	json_array_foreach(counters, i, row) {
		const char *name = json_string_value(json_object_get(row, "name"));
		bool bytes = !STREQ(name, "pids") && !STREQ(name, "groups");

		table_add(&t, PLAIN, name);
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
			bool fails = STREQ(keys[k], "failcnt");

			count_text(row, keys[k], bytes && !fails, text, sizeof(text));
			table_add(&t, fails && !STREQ(text, "0") ? RED : PLAIN, text);
		}
	}
	putchar('\n');
	table_print(&t, true);
}

/* Asks for the beancounters and puts them into the VPS's object. */
static int add_counters(struct cli *c, json_t *vps, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "Counters", json_pack("{s:O}", "name", json_object_get(vps, "name")),
			 &reply, e);

	if (r == 0)
		json_object_set(vps, "counters", json_object_get(reply.params, "counters"));
	return r;
}

/* What its config sets. One that cannot be read is named by the status itself. */
static void add_settings(struct cli *c, json_t *vps)
{
	cleanup_reply struct client_reply reply = { 0 };
	struct err ignored;

	if (cli_call(c, "GetConfig", json_pack("{s:O}", "name", json_object_get(vps, "name")), &reply,
		     &ignored) == 0)
		json_object_set(vps, "settings", json_object_get(reply.params, "settings"));
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
		add_settings(c, json_object_get(reply.params, "vps"));
		if (cli_has(c, "counters"))
			r = add_counters(c, json_object_get(reply.params, "vps"), e);
		if (r < 0)
			return r;
		json_array_append(all, json_object_get(reply.params, "vps"));
		if (!c->json) {
			if (i > 0)
				putchar('\n');
			show(json_object_get(reply.params, "vps"));
			show_arrival(json_object_get(json_array_get(all, i), "arrived"));
			show_settings(c, json_object_get(json_array_get(all, i), "settings"));
			if (cli_has(c, "counters"))
				show_counters(json_object_get(json_array_get(all, i), "counters"));
		}
	}
	if (c->json)
		cli_json(c->args_count == 1 ? json_array_get(all, 0) : all);
	return 0;
}
