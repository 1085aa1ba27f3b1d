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

	table_titles(&t, titles);
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

static int stats_one(struct cli *c, const char *name, const void *arg, json_t **ret, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "Stats", json_pack("{s:s}", "name", name), &reply, e);

	(void)arg;
	if (r < 0)
		return r;
	*ret = json_incref(json_object_get(reply.params, "stats"));
	if (c->json)
		return 0;
	if (name != c->args[0])
		putchar('\n');
	show_all("", *ret);
	return 0;
}

int cmd_stats(struct cli *c, struct err *e)
{
	return c->args_count ? cli_each(c, stats_one, NULL, e) : stats_all(c, e);
}
