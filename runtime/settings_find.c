/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A setting by its name, or what was meant by one that is none. */
#include "runtime/settings.h"

#include "base/macro.h"
#include "base/str.h"

const struct setting *setting_lookup(const char *name)
{
	for (size_t i = 0; i < settings_count; i++)
		if (STREQ(settings[i].name, name) ||
		    (settings[i].option && STREQ(settings[i].option, name)))
			return &settings[i];
	return NULL;
}

#define NAME_MAX_LEN 48

/* Insertions, deletions, replacements and swaps of neighbours between two short names. */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned rows[3][NAME_MAX_LEN + 1], *before = rows[0], *last = rows[1], *now = rows[2];
	size_t la = strlen(a), lb = strlen(b);

	for (size_t j = 0; j <= lb; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *t;

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned d = last[j - 1] + (a[i - 1] != b[j - 1]);

			if (last[j] + 1 < d)
				d = last[j] + 1;
			if (now[j - 1] + 1 < d)
				d = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < d)
				d = before[j - 2] + 1;
			now[j] = d;
		}
		t = before;
		before = last;
		last = now;
		now = t;
	}
	return last[lb];
}

static size_t common_prefix(const char *a, const char *b)
{
	size_t n = 0;

	while (a[n] && a[n] == b[n])
		n++;
	return n;
}

static const char *nearest_name(const char *name)
{
	unsigned best = (unsigned)strlen(name) / 2 + 1;
	const char *ret = NULL;

	if (strlen(name) > NAME_MAX_LEN)
		return NULL;
	for (size_t i = 0; i < settings_count; i++) {
		const char *names[] = { settings[i].name, settings[i].option };

		for (size_t k = 0; k < ARRAY_SIZE(names) && names[k]; k++) {
			unsigned d = edit_distance(name, names[k]);

			if (d < best || (d == best && ret && common_prefix(name, names[k]) >
								     common_prefix(name, ret))) {
				best = d;
				ret = names[k];
			}
		}
	}
	return ret;
}

const struct setting *setting_find(const char *name, struct err *e)
{
	const struct setting *s = setting_lookup(name);
	const char *near;

	if (s)
		return s;
	if (!*name || !str_is_printable(name)) {
		err_set(e, ERR_USAGE, "a setting's name is missing or has control characters");
		return NULL;
	}
	err_set(e, ERR_USAGE, "unknown setting %.80s", name);
	near = nearest_name(name);
	if (near)
		err_hint(e, "did you mean %s?", near);
	else
		err_hint(e, "vps.conf(5) lists them");
	return NULL;
}
