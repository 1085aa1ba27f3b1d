/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "base/parse.h"
#include "runtime/spec.h"
#include "runtime/value.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *json = NULL, *again = NULL;
	struct rt_spec s, back;
	struct err e;

	if (rt_spec_parse(&s, (const char *)data, size, &e) < 0) {
		if (s.argv.count || !e.msg[0])
			abort();
		return 0;
	}
	if (!name_is_valid(s.name) || s.argv.count == 0 || s.root.id_base < 65536 ||
	    !path_is_normal(s.run_dir))
		abort();
	json = rt_spec_format(&s);
	if (!json)
		abort();
	/* Escapes may make it longer than what came in. */
	if (strlen(json) <= RT_SPEC_MAX) {
		if (rt_spec_parse(&back, json, strlen(json), &e) < 0)
			abort();
		again = rt_spec_format(&back);
		if (!again || !STREQ(json, again))
			abort();
		rt_spec_done(&back);
	}
	rt_spec_done(&s);
	return 0;
}
