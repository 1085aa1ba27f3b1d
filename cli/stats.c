/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/usage.h"

#include "base/macro.h"
#include "base/parse.h"

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && STREQ(s + n - k, end);
}

/* Numbers of bytes and times as people read them, by the names that the interface gives them. */
static void show_value(const char *name, json_t *v)
{
	uint64_t n = (uint64_t)json_integer_value(v);
	bool bytes = (strncmp(name, "memory.", 7) == 0 && !ends_with(name, "_hits") &&
		      !ends_with(name, "_kills")) || ends_with(name, "_bytes");
	char buf[64];

	if (json_is_null(v))
		fputs("no limit", stdout);
	else if (STREQ(name, "io.read") || STREQ(name, "io.write"))
		printf("%s/s", format_size(n, buf, sizeof(buf)));
	else if (json_is_string(v))
		put_clean(stdout, json_string_value(v));
	else if (json_is_real(v) && ends_with(name, "_s"))
		fputs(show_uptime(json_real_value(v), buf, sizeof(buf)), stdout);
	else if (json_is_real(v))
		printf("%g", json_real_value(v));
	else if (ends_with(name, "_usec"))
		fputs(format_duration(n, buf, sizeof(buf)), stdout);
	else if (bytes)
		fputs(format_size(n, buf, sizeof(buf)), stdout);
	else
		printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
}

/* Each number on a line, under its dotted name. */
static void show_all(const char *prefix, json_t *usage)
{
	const char *key;
	json_t *v;

	json_object_foreach(usage, key, v) {
		char name[96];

		snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", key);
		if (json_is_object(v)) {
			show_all(name, v);
		} else if (!STREQ(name, "time_usec")) {
			printf("%-31s  ", name);
			show_value(name, v);
			putchar('\n');
		}
	}
}

static const char *size_of(json_t *usage, const char *name, char *buf, size_t size)
{
	json_t *v = usage_get(usage, name);

	if (!v)
		return "-";
	return format_size((uint64_t)json_integer_value(v), buf, size);
}

static void show_table(json_t *list)
{
	static const char *const titles[] = { "NAME", "CPU-TIME", "MEMORY", "LIMIT", "CACHE", "SWAP",
					      "PIDS", "READ", "WRITE", "RX", "TX" };
	static const char *const sizes[] = { "memory.current", "memory.max", "memory.cache",
					     "memory.swap", NULL, "io.read_bytes", "io.write_bytes",
					     "net.rx_bytes", "net.tx_bytes" };
	static const bool right[ARRAY_SIZE(titles)] = { false, true, true, true, true, true,
							true, true, true, true, true };
	cleanup_table struct table t = { .columns = ARRAY_SIZE(titles), .right = right };
	char buf[64];
	json_t *u;
	size_t i;

	for (size_t k = 0; k < ARRAY_SIZE(titles); k++)
		table_add(&t, PLAIN, titles[k]);
	json_array_foreach(list, i, u) {
		table_add(&t, PLAIN, json_string_value(json_object_get(u, "name")));
		table_add(&t, PLAIN, format_duration((uint64_t)usage_number(u, "cpu.usage_usec"), buf,
						     sizeof(buf)));
		for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
			if (sizes[k]) {
				table_add(&t, PLAIN, size_of(u, sizes[k], buf, sizeof(buf)));
				continue;
			}
			snprintf(buf, sizeof(buf), "%.0f", usage_number(u, "pids.current"));
			table_add(&t, PLAIN, buf);
		}
	}
	table_print(&t, true);
}

static int stats_all(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "StatsAll", NULL, &reply, e);

	if (r < 0)
		return r;
	if (c->json)
		cli_json(json_object_get(reply.params, "stats"));
	else
		show_table(json_object_get(reply.params, "stats"));
	return 0;
}

/* One of several: an error with one does not keep us from the next. */
static int stats_one(struct cli *c, const char *name, json_t *all, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	json_t *stats;
	int r;

	snprintf(c->subject, sizeof(c->subject), "stats %.100s", name);
	r = cli_call(c, "Stats", json_pack("{s:s}", "name", name), &reply, e);
	if (r < 0 && c->args_count == 1)
		return r;
	if (r < 0) {
		if (!c->json)
			cli_error(c, e);
		if (!c->status)
			c->status = e->code;
		json_array_append_new(all, cli_json_error(c, e));
		return 0;
	}
	stats = json_object_get(reply.params, "stats");
	json_array_append(all, stats);
	if (!c->json) {
		if (json_array_size(all) > 1)
			putchar('\n');
		show_all("", stats);
	}
	return 0;
}

int cmd_stats(struct cli *c, struct err *e)
{
	cleanup_json json_t *all = json_array();
	int r = 0;

	if (!c->args_count)
		return stats_all(c, e);
	for (size_t i = 0; r == 0 && i < c->args_count; i++)
		r = stats_one(c, c->args[i], all, e);
	if (r == 0 && c->json)
		cli_json(c->args_count == 1 ? json_array_get(all, 0) : all);
	return r;
}
