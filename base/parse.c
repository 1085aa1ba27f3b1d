/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/parse.h"

#include "base/macro.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>

int parse_u64(const char *s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

int parse_i64(const char *s, int64_t *ret)
{
	bool neg = *s == '-';
	uint64_t v;
	int r = parse_u64(s + (neg ? 1 : 0), &v);

	if (r < 0)
		return r;
	if (v > (uint64_t)INT64_MAX)
		return -ERANGE;
	*ret = neg ? -(int64_t)v : (int64_t)v;
	return 0;
}

int parse_bool(const char *s, bool *ret)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcasecmp(s, yes[i]) == 0) {
			*ret = true;
			return 0;
		}
		if (strcasecmp(s, no[i]) == 0) {
			*ret = false;
			return 0;
		}
	}
	return -EINVAL;
}

static bool is_max(const char *s)
{
	return STREQ(s, "max") || STREQ(s, "unlimited") || STREQ(s, "infinity");
}

/* Digits with an optional fraction, as nine decimal places; *end is left at what follows. */
static int parse_decimal(const char *s, uint64_t *whole, uint64_t *nano, const char **end)
{
	uint64_t scale = 100000000;

	*whole = 0;
	*nano = 0;
	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(*whole, 10, whole) ||
		    __builtin_add_overflow(*whole, (uint64_t)(*s - '0'), whole))
			return -ERANGE;
	if (*s == '.') {
		if (!isdigit((unsigned char)*++s))
			return -EINVAL;
		for (; isdigit((unsigned char)*s); s++, scale /= 10)
			*nano += (uint64_t)(*s - '0') * scale;
	}
	*end = s;
	return 0;
}

static int scale_decimal(uint64_t whole, uint64_t nano, uint64_t unit, uint64_t *ret)
{
	uint64_t v;

	if (__builtin_mul_overflow(whole, unit, &v))
		return -ERANGE;
	v += (uint64_t)((__uint128_t)nano * unit / 1000000000U);
	if (v == PARSE_MAX || v < whole)
		return -ERANGE;
	*ret = v;
	return 0;
}

static int size_unit(const char *s, size_t len, uint64_t *unit)
{
	static const char letters[] = "KMGTP";
	const char *p;

	if (len == 0 || (len == 1 && (*s == 'B' || *s == 'b'))) {
		*unit = 1;
		return 0;
	}
	p = strchr(letters, toupper((unsigned char)*s));
	if (!p)
		return -EINVAL;
	*unit = UINT64_C(1) << (10 * (p - letters + 1));
	if (len == 1 || (len == 2 && s[1] == 'B') || (len == 3 && s[1] == 'i' && s[2] == 'B'))
		return 0;
	return -EINVAL;
}

static int parse_size_n(const char *s, size_t len, uint64_t *ret)
{
	uint64_t whole, nano, unit;
	const char *end;
	int r;

	r = parse_decimal(s, &whole, &nano, &end);
	if (r < 0)
		return r;
	if (end > s + len)
		return -EINVAL;
	r = size_unit(end, (size_t)(s + len - end), &unit);
	if (r < 0)
		return r;
	if (unit == 1 && memchr(s, '.', (size_t)(end - s)))
		return -EINVAL;
	return scale_decimal(whole, nano, unit, ret);
}

int parse_size(const char *s, uint64_t *ret)
{
	if (is_max(s)) {
		*ret = PARSE_MAX;
		return 0;
	}
	return parse_size_n(s, strlen(s), ret);
}

int parse_rate(const char *s, uint64_t *ret)
{
	size_t len = strlen(s);

	if (is_max(s)) {
		*ret = PARSE_MAX;
		return 0;
	}
	if (len > 2 && STREQ(s + len - 2, "/s"))
		len -= 2;
	return parse_size_n(s, len, ret);
}

int parse_duration(const char *s, uint64_t *ret_us)
{
	static const struct {
		const char *unit;
		uint64_t us;
	} units[] = {
		{ "us", 1 },        { "ms", 1000 },         { "s", 1000000 }, { "", 1000000 },
		{ "m", 60000000 },  { "min", 60000000 },    { "h", 3600000000 },
		{ "d", 86400000000 },
	};
	uint64_t whole, nano;
	const char *end;
	int r;

	r = parse_decimal(s, &whole, &nano, &end);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (STREQ(end, units[i].unit))
			return scale_decimal(whole, nano, units[i].us, ret_us);
	return -EINVAL;
}

int parse_milli(const char *s, uint64_t *ret)
{
	uint64_t whole, nano;
	const char *end;
	int r;

	if (is_max(s)) {
		*ret = PARSE_MAX;
		return 0;
	}
	r = parse_decimal(s, &whole, &nano, &end);
	if (r < 0)
		return r;
	if (*end || nano % 1000000)
		return -EINVAL;
	return scale_decimal(whole, nano, 1000, ret);
}

int parse_percent(const char *s, unsigned *ret)
{
	uint64_t whole, nano;
	const char *end;
	int r;

	r = parse_decimal(s, &whole, &nano, &end);
	if (r < 0)
		return r;
	if (!STREQ(end, "%") || nano)
		return -EINVAL;
	if (whole > 100)
		return -ERANGE;
	*ret = (unsigned)whole;
	return 0;
}

const char *format_size_exact(uint64_t bytes, char *buf, size_t size)
{
	static const char letters[] = "KMGTP";
	int i = -1;

	if (bytes == PARSE_MAX) {
		snprintf(buf, size, "max");
		return buf;
	}
	while (bytes && bytes % 1024 == 0 && i < 4) {
		bytes /= 1024;
		i++;
	}
	if (i < 0)
		snprintf(buf, size, "%" PRIu64, bytes);
	else
		snprintf(buf, size, "%" PRIu64 "%c", bytes, letters[i]);
	return buf;
}

const char *format_size(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double v = (double)bytes;
	size_t i = 0;

	if (bytes == PARSE_MAX) {
		snprintf(buf, size, "max");
		return buf;
	}
	while (v >= 1024 && i + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		i++;
	}
	snprintf(buf, size, i == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[i]);
	return buf;
}

const char *format_duration(uint64_t us, char *buf, size_t size)
{
	uint64_t s = us / 1000000;

	if (us < 1000)
		snprintf(buf, size, "%" PRIu64 "us", us);
	else if (s < 1)
		snprintf(buf, size, "%" PRIu64 "ms", us / 1000);
	else if (s < 60)
		snprintf(buf, size, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(buf, size, "%" PRIu64 "m %" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, size, "%" PRIu64 "h %" PRIu64 "m", s / 3600, s % 3600 / 60);
	else
		snprintf(buf, size, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s % 86400 / 3600);
	return buf;
}

bool name_is_valid(const char *name)
{
	size_t len = strlen(name);

	if (len < 1 || len > 63 || name[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') &&
		    name[i] != '-')
			return false;
	return true;
}

int parse_signal(const char *s)
{
	uint64_t n;

	if (parse_u64(s, &n) == 0)
		return n >= 1 && n <= (uint64_t)SIGRTMAX ? (int)n : -EINVAL;
	if (strncasecmp(s, "SIG", 3) == 0)
		s += 3;
	if (strncasecmp(s, "RTMIN+", 6) == 0) {
		if (parse_u64(s + 6, &n) < 0 || n > (uint64_t)(SIGRTMAX - SIGRTMIN))
			return -EINVAL;
		return SIGRTMIN + (int)n;
	}
	for (int sig = 1; sig < SIGRTMIN; sig++) {
		const char *abbrev = sigabbrev_np(sig);

		if (abbrev && strcasecmp(abbrev, s) == 0)
			return sig;
	}
	return -EINVAL;
}

const char *format_signal(int sig, char *buf, size_t size)
{
	const char *abbrev = sigabbrev_np(sig);

	if (abbrev)
		snprintf(buf, size, "SIG%s", abbrev);
	else if (sig >= SIGRTMIN && sig <= SIGRTMAX)
		snprintf(buf, size, "SIGRTMIN+%d", sig - SIGRTMIN);
	else
		snprintf(buf, size, "%d", sig);
	return buf;
}
