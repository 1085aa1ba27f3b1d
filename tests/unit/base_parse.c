/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/parse.h"

#include "base/macro.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <signal.h>

struct row {
	const char *text;
	int ret;
	uint64_t value;
};

static void walk(int (*parse)(const char *, uint64_t *), const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = 12345;
		int r = parse(rows[i].text, &v);

		eq_int(r, rows[i].ret, "\"%s\" is %s", rows[i].text,
		       rows[i].ret == 0 ? "taken" : "refused");
		if (r == 0 && rows[i].ret == 0)
			ok(v == rows[i].value, "\"%s\" is %" PRIu64 " (got %" PRIu64 ")",
			   rows[i].text, rows[i].value, v);
	}
}

TEST(u64)
{
	static const struct row rows[] = {
		{ "0", 0, 0 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
	};

	walk(parse_u64, rows, ARRAY_SIZE(rows));
}

TEST(size)
{
	static const struct row rows[] = {
		{ "1025", 0, 1025 },
		{ "512M", 0, 512ULL << 20 },
		{ "512MiB", 0, 512ULL << 20 },
		{ "512MB", 0, 512ULL << 20 },
		{ "1.5G", 0, 3ULL << 29 },
		{ "16P", 0, 16ULL << 50 },
		{ "max", 0, PARSE_MAX },
		{ "1.5", -EINVAL, 0 },
		{ "12Q", -EINVAL, 0 },
		{ "M", -EINVAL, 0 },
		{ "-1M", -EINVAL, 0 },
		{ "99999999P", -ERANGE, 0 },
		{ "1MM", -EINVAL, 0 },
		{ "1.M", -EINVAL, 0 },
	};

	walk(parse_size, rows, ARRAY_SIZE(rows));
}

TEST(rate)
{
	static const struct row rows[] = {
		{ "10MiB/s", 0, 10ULL << 20 },
		{ "10M", 0, 10ULL << 20 },
		{ "10M/", -EINVAL, 0 },
		{ "10M/m", -EINVAL, 0 },
		{ "/s", -EINVAL, 0 },
	};

	walk(parse_rate, rows, ARRAY_SIZE(rows));
}

TEST(duration)
{
	static const struct row rows[] = {
		{ "1", 0, 1000000 },
		{ "250ms", 0, 250000 },
		{ "1.5s", 0, 1500000 },
		{ "2m", 0, 120000000 },
		{ "1d", 0, 86400000000ULL },
		{ "7us", 0, 7 },
		{ "1w", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "999999999999999999d", -ERANGE, 0 },
	};

	walk(parse_duration, rows, ARRAY_SIZE(rows));
}

TEST(milli)
{
	static const struct row rows[] = {
		{ "1.5", 0, 1500 },
		{ "2", 0, 2000 },
		{ "0.001", 0, 1 },
		{ "max", 0, PARSE_MAX },
		{ "0.0001", -EINVAL, 0 },
		{ ".", -EINVAL, 0 },
	};

	walk(parse_milli, rows, ARRAY_SIZE(rows));
}

TEST(names)
{
	char name[66];

	memset(name, 'a', sizeof(name));
	name[63] = '\0';
	ok(name_is_valid(name), "63 characters");
	name[63] = 'a';
	name[64] = '\0';
	ok(!name_is_valid(name), "64 characters are too many");
	ok(name_is_valid("101"), "a number");
	ok(name_is_valid("web-1"), "a dash inside");
	ok(!name_is_valid(""), "empty");
	ok(!name_is_valid("-web"), "a leading dash");
	ok(!name_is_valid("Web"), "upper case");
	ok(!name_is_valid("../x"), "a path");
	ok(!name_is_valid("a.b"), "a dot");
	ok(!name_is_valid("a\n"), "a newline");
}

TEST(signals)
{
	char buf[32];

	eq_int(parse_signal("SIGTERM"), SIGTERM, "with SIG");
	eq_int(parse_signal("TERM"), SIGTERM, "without");
	eq_int(parse_signal("9"), SIGKILL, "by number");
	eq_int(parse_signal("SIGRTMIN+3"), SIGRTMIN + 3, "real-time");
	eq_int(parse_signal("SIGRTMIN+99"), -EINVAL, "past the last");
	eq_int(parse_signal("0"), -EINVAL, "no signal");
	eq_int(parse_signal("SIGFOO"), -EINVAL, "unknown");
	eq_str(format_signal(SIGRTMIN + 3, buf, sizeof(buf)), "SIGRTMIN+3", "back to text");
}

TEST(sizes_exact)
{
	static const uint64_t v[] = { 0, 1, 1023, 1024, 1025, 1ULL << 20, 3ULL << 29, UINT64_MAX - 1 };
	char buf[64];

	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		uint64_t back = 1;

		eq_int(parse_size(format_size_exact(v[i], buf, sizeof(buf)), &back), 0, "%s", buf);
		ok(back == v[i], "%s is the same number again", buf);
	}
}
