/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_UNIT_TAP_H
#define TESTS_UNIT_TAP_H

/*
 * Tests that register themselves and speak TAP. One program a module, this header once in it:
 *
 *	#include "tests/unit/tap.h"
 *
 *	TEST(sizes) {
 *		eq_int(parse_size("1K"), 1024, "a kibibyte");
 *		ok(x != NULL, "found %s", name);
 *		if (!have_it)
 *			skip("this kernel has no such thing");   // leaves the test
 *	}
 *
 * All tests run in the order of the file; an argument runs only those whose names contain it. A
 * test without a single check is a failure, and so is a program that ends early: the plan comes
 * last. Exit status 1 when anything failed.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tap_test {
	const char *name;
	void (*run)(void);
	struct tap_test *next;
};

static struct tap_test *tap_first, **tap_last = &tap_first;
static const char *tap_name;
static unsigned tap_count, tap_failed;

#define TEST(ident)                                                                     \
	static void test_##ident(void);                                                 \
	static struct tap_test tap_test_##ident = { .name = #ident, .run = test_##ident };\
	__attribute__((constructor)) static void tap_register_##ident(void)             \
	{                                                                               \
		*tap_last = &tap_test_##ident;                                          \
		tap_last = &tap_test_##ident.next;                                      \
	}                                                                               \
	static void test_##ident(void)

/* A line that is no result; newlines in it stay comments. */
__attribute__((format(printf, 1, 2), unused)) static void diag(const char *fmt, ...)
{
	char text[4096], *save = NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		printf("#   %s\n", l);
	fflush(stdout);
}

__attribute__((format(printf, 5, 6), unused)) static bool tap_ok(bool good, const char *expr,
								 const char *file, int line,
								 const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	for (char *p = what; *p; p++) /* '#' would begin a directive */
		if (*p == '#' || *p == '\n')
			*p = '.';
	printf("%sok %u - %s: %s\n", good ? "" : "not ", ++tap_count, tap_name, what);
	if (!good) {
		tap_failed++;
		diag("%s:%d: %s", file, line, expr);
	}
	fflush(stdout); /* a child or a crash must neither repeat nor lose it */
	return good;
}

/* ok(condition, "what it means", …): the value of the condition. */
#define ok(cond, ...) tap_ok(!!(cond), #cond, __FILE__, __LINE__, __VA_ARGS__)

#define eq_int(got, want, ...)                                                                \
	({                                                                                    \
		intmax_t tap_g = (intmax_t)(got), tap_w = (intmax_t)(want);                   \
		bool tap_r = tap_ok(tap_g == tap_w, #got " == " #want, __FILE__, __LINE__,    \
				    __VA_ARGS__);                                             \
		if (!tap_r)                                                                   \
			diag("got %" PRIdMAX ", want %" PRIdMAX, tap_g, tap_w);               \
		tap_r;                                                                        \
	})

#define eq_str(got, want, ...)                                                                \
	({                                                                                    \
		const char *tap_g = (got), *tap_w = (want);                                   \
		bool tap_r = tap_ok(tap_g && tap_w ? strcmp(tap_g, tap_w) == 0 : tap_g == tap_w,\
				    #got " is " #want, __FILE__, __LINE__, __VA_ARGS__);      \
		if (!tap_r)                                                                   \
			diag(" got \"%s\"\nwant \"%s\"", tap_g ? tap_g : "(null)",            \
			     tap_w ? tap_w : "(null)");                                       \
		tap_r;                                                                        \
	})

__attribute__((format(printf, 1, 2), unused)) static void tap_skip(const char *fmt, ...)
{
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	printf("ok %u - %s # SKIP %s\n", ++tap_count, tap_name, why);
	fflush(stdout);
}

/* Leaves the present test. */
#define skip(...)                              \
	do {                                   \
		tap_skip(__VA_ARGS__);         \
		return;                        \
	} while (0)

/* A file below the tests' source directory: tap_path(buf, "unit/data/proc"). */
#ifdef TESTS_DIR
#define tap_path(buf, rel) \
	(snprintf((buf), sizeof(buf), "%s/%s", TESTS_DIR, (rel)), (const char *)(buf))
#endif

int main(int argc, char **argv)
{
	for (const struct tap_test *t = tap_first; t; t = t->next) {
		unsigned before = tap_count;

		if (argc > 1 && !strstr(t->name, argv[1]))
			continue;
		tap_name = t->name;
		t->run();
		if (tap_count == before)
			tap_ok(false, "no check was reached", __FILE__, __LINE__, "checks something");
	}
	printf("1..%u\n", tap_count);
	fflush(stdout);
	return tap_failed || tap_count == 0;
}

#endif
