/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *s = strndup((const char *)data, size);
	char text[64];
	uint64_t v = 0, back;
	int64_t i;
	unsigned percent;
	bool b;
	int sig;

	if (!s)
		return 0;
	parse_u64(s, &v);
	parse_i64(s, &i);
	parse_bool(s, &b);
	parse_rate(s, &v);
	parse_milli(s, &v);
	if (parse_percent(s, &percent) == 0 && percent > 100)
		abort();
	/* What is printed must be what was read. */
	if (parse_size(s, &v) == 0 &&
	    (parse_size(format_size_exact(v, text, sizeof(text)), &back) < 0 || back != v))
		abort();
	format_size(v, text, sizeof(text));
	if (parse_duration(s, &v) == 0)
		format_duration(v, text, sizeof(text));
	sig = parse_signal(s);
	if (sig > 0 && parse_signal(format_signal(sig, text, sizeof(text))) != sig)
		abort();
	if (name_is_valid(s) && !str_is_printable(s))
		abort();
	return 0;
}
