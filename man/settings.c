/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints the settings table as the section SETTINGS of vps.conf(5), in scdoc(5). */
#include "runtime/settings.h"

#include "base/macro.h"

#include <stdio.h>

static const char *const nouns[] = {
	[SETTING_BOOL] = "*yes*|*no*",
	[SETTING_INT] = "_number_",
	[SETTING_SIZE] = "_size_",
	[SETTING_RATE] = "_rate_",
	[SETTING_MILLI] = "_CPUs_",
	[SETTING_WEIGHT] = "_number_",
	[SETTING_DURATION] = "_time_",
	[SETTING_ENUM] = NULL,
	[SETTING_STRING] = "_text_",
};

/* Text as it stands: scdoc gives \ * _ and a leading # . - [ | ] a meaning. */
static void print_plain(const char *text)
{
	for (; *text; text++) {
		if (strchr("\\*_[]|#", *text))
			putchar('\\');
		putchar(*text);
	}
}

static void print_value(const struct setting *s)
{
	if (s->values)
		print_plain(s->values);
	else
		fputs(nouns[s->type], stdout);
	if (s->flags & SETTING_MAX_OK)
		fputs("|*max*", stdout);
}

static void print_setting(const struct setting *s)
{
	static const struct {
		unsigned flag;
		const char *word;
	} marks[] = {
		{ SETTING_LIVE, "live" },
		{ SETTING_LIST, "list" },
		{ SETTING_FIXED, "fixed" },
		{ SETTING_LATER, "later" },
	};
	const char *comma = "";

	printf("*%s* = ", s->name);
	print_value(s);
	fputs("\n\t", stdout);
	print_plain(s->help);
	putchar('.');
	if ((s->type == SETTING_INT || s->type == SETTING_WEIGHT) && s->max)
		printf(" From %lld to %lld.", (long long)s->min, (long long)s->max);
	if (s->def)
		printf(" Default: %s.", s->def);
	if (s->option)
		printf(" Option: *--%s*.", s->option);
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
		if (!(s->flags & marks[i].flag))
			continue;
		printf("%s_%s_", *comma ? comma : " (", marks[i].word);
		comma = ", ";
	}
	fputs(*comma ? ")\n\n" : "\n\n", stdout);
}

int main(void)
{
	for (size_t i = 0; i < settings_count; i++)
		print_setting(&settings[i]);
	return ferror(stdout) || fflush(stdout) == EOF;
}
