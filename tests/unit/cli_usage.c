/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/usage.h"

#include "base/macro.h"

#include "tests/unit/tap.h"

static json_t *sample(const char *name, json_int_t time, json_int_t cpu, json_int_t read)
{
	return json_pack("{s:s, s:I, s:{s:I}, s:{s:I}, s:n}", "name", name, "time_usec", time, "cpu",
			 "usage_usec", cpu, "io", "read_bytes", read, "net");
}

TEST(short_sizes)
{
	static const struct {
		double n;
		const char *text;
	} rows[] = {
		{ 0, "0" }, { 999, "999" }, { 999.6, "1.0K" }, { 1024, "1.0K" }, { 1536, "1.5K" },
		{ 10240, "10K" }, { 1023 * 1024.0, "1.0M" }, { 5e9, "4.7G" }, { 1.8e19, "16E" },
	};
	char buf[32];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		eq_str(show_short(rows[i].n, buf, sizeof(buf)), rows[i].text, "%.0f", rows[i].n);
}

TEST(members)
{
	cleanup_json json_t *u = sample("a", 1, 7, 9);

	ok(usage_number(u, "cpu.usage_usec") == 7, "by a dotted name");
	ok(!usage_get(u, "cpu.none") && !usage_get(u, "none.none"), "what is not there");
	ok(!usage_get(u, "net") && !usage_get(u, "net.rx_bytes"), "null is as good as not there");
	ok(usage_number(u, "net.rx_bytes") == 0, "and 0");
}

TEST(rates)
{
	cleanup_json json_t *before = json_array(), *now = json_array();
	struct usage_row *rows;

	json_array_append_new(before, sample("a", 1000000, 100, 5000));
	json_array_append_new(before, sample("b", 1000000, 900000, 0));
	json_array_append_new(now, sample("a", 3000000, 1000100, 5000 + 4096));
	json_array_append_new(now, sample("b", 3000000, 100, 0));
	json_array_append_new(now, sample("c", 3000000, 100, 0));
	eq_int(usage_rows(now, before, &rows), 3, "a row each");
	ok(rows[0].known && rows[0].cpu == 0.5, "half a CPU");
	ok(rows[0].read == 2048, "bytes a second");
	ok(rows[1].known && rows[1].cpu == 0, "a count that went back is another run");
	ok(!rows[2].known, "a new one has no rate yet");
	free(rows);
	usage_rows(now, NULL, &rows);
	ok(!rows[0].known, "nor has anyone at first");
	free(rows);
}

TEST(sorting)
{
	cleanup_json json_t *now = json_array();
	struct usage_row *rows;

	json_array_append_new(now, sample("b", 1, 0, 0));
	json_array_append_new(now, sample("a", 1, 0, 0));
	json_array_append_new(now, sample("c", 1, 0, 0));
	usage_rows(now, NULL, &rows);
	rows[2].cpu = 1;
	usage_sort(rows, 3, USAGE_CPU, false);
	eq_str(json_string_value(usage_get(rows[0].usage, "name")), "c", "the busiest first");
	eq_str(json_string_value(usage_get(rows[1].usage, "name")), "a", "equals by name");
	usage_sort(rows, 3, USAGE_NAME, true);
	eq_str(json_string_value(usage_get(rows[0].usage, "name")), "c", "reversed");
	eq_str(json_string_value(usage_get(rows[2].usage, "name")), "a", "to the end");
	for (int i = 0; i < USAGE_KEY_COUNT; i++)
		ok(usage_key_names[i] && usage_key_letters[i] && !strchr("qrjk", usage_key_letters[i]) &&
			   strchr(usage_key_letters, usage_key_letters[i]) == &usage_key_letters[i],
		   "a letter of its own for %s", usage_key_names[i]);
	free(rows);
}
