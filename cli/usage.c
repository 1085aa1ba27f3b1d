/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/usage.h"

#include "base/macro.h"

#include <stdlib.h>

json_t *usage_get(json_t *usage, const char *name)
{
	char part[32];

	while (usage && *name) {
		size_t len = strcspn(name, ".");

		snprintf(part, sizeof(part), "%.*s", (int)len, name);
		usage = json_object_get(usage, part);
		name += len + (name[len] == '.');
	}
	return json_is_null(usage) ? NULL : usage;
}

double usage_number(json_t *usage, const char *name)
{
	return json_number_value(usage_get(usage, name));
}

const char *show_short(double bytes, char *buf, size_t size)
{
	static const char units[] = " KMGTPE";
	size_t unit = 0;

	while (bytes >= 999.5 && unit + 2 < sizeof(units)) {
		bytes /= 1024;
		unit++;
	}
	if (!unit)
		snprintf(buf, size, "%.0f", bytes);
	else
		snprintf(buf, size, bytes < 9.95 ? "%.1f%c" : "%.0f%c", bytes, units[unit]);
	return buf;
}

const char *const usage_key_names[USAGE_KEY_COUNT] = {
	[USAGE_NAME] = "name",   [USAGE_CPU] = "cpu",     [USAGE_MEMORY] = "memory",
	[USAGE_CACHE] = "cache", [USAGE_SWAP] = "swap",   [USAGE_PIDS] = "pids",
	[USAGE_IO] = "io",       [USAGE_NET] = "net",
};
const char usage_key_letters[USAGE_KEY_COUNT + 1] = "ncmaspit";

static json_t *find(json_t *list, const char *name)
{
	json_t *u;
	size_t i;

	json_array_foreach(list, i, u)
		if (STREQ(json_string_value(json_object_get(u, "name")), name))
			return u;
	return NULL;
}

/* A count that went back is that of another run of the VPS. */
static double rate(const struct usage_row *r, json_t *before, const char *name, double seconds)
{
	double d = usage_number(r->usage, name) - usage_number(before, name);

	return d > 0 ? d / seconds : 0;
}

static void compare(struct usage_row *r, json_t *before)
{
	double s = (usage_number(r->usage, "time_usec") - usage_number(before, "time_usec")) / 1e6;

	if (!before || s <= 0)
		return;
	r->known = true;
	r->cpu = rate(r, before, "cpu.usage_usec", s) / 1e6;
	r->read = rate(r, before, "io.read_bytes", s);
	r->write = rate(r, before, "io.write_bytes", s);
	r->rx = rate(r, before, "net.rx_bytes", s);
	r->tx = rate(r, before, "net.tx_bytes", s);
}

size_t usage_rows(json_t *now, json_t *before, struct usage_row **ret)
{
	size_t count = json_array_size(now);

	*ret = calloc(count + 1, sizeof(**ret));
	if (!*ret)
		return 0;
	for (size_t i = 0; i < count; i++) {
		struct usage_row *r = &(*ret)[i];

		r->usage = json_array_get(now, i);
		compare(r, find(before, json_string_value(json_object_get(r->usage, "name"))));
	}
	return count;
}

static double value(const struct usage_row *r, enum usage_key key)
{
	switch (key) {
	case USAGE_CPU:
		return r->cpu;
	case USAGE_MEMORY:
		return usage_number(r->usage, "memory.current");
	case USAGE_CACHE:
		return usage_number(r->usage, "memory.cache");
	case USAGE_SWAP:
		return usage_number(r->usage, "memory.swap");
	case USAGE_PIDS:
		return usage_number(r->usage, "pids.current");
	case USAGE_IO:
		return r->read + r->write;
	case USAGE_NET:
		return r->rx + r->tx;
	default:
		return 0;
	}
}

static int order(const void *a, const void *b, void *ctx)
{
	const struct usage_row *x = a, *y = b;
	const int *by = ctx;
	double u = value(x, (enum usage_key)by[0]), v = value(y, (enum usage_key)by[0]);
	int r = u > v ? -1 : u < v;

	if (r == 0)
		r = strcmp(json_string_value(json_object_get(x->usage, "name")),
			   json_string_value(json_object_get(y->usage, "name")));
	return by[1] ? -r : r;
}

void usage_sort(struct usage_row *rows, size_t count, enum usage_key key, bool reverse)
{
	int by[2] = { (int)key, reverse };

	qsort_r(rows, count, sizeof(*rows), order, by);
}
