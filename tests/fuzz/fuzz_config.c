/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "base/str.h"
#include "runtime/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = NULL, *again = NULL;
	struct config c, d;
	struct err e;

	if (config_parse(&c, (const char *)data, size, "config", &e) < 0) {
		if (c.count || !e.msg[0] || strnlen(e.msg, sizeof(e.msg)) == sizeof(e.msg))
			abort();
		return 0;
	}
	/* What is written must be what was read, and must be read again the same. */
	text = config_format(&c);
	if (!text || strlen(text) < size || strlen(text) > size + 1 || memcmp(text, data, size) != 0)
		abort();
	if (config_parse(&d, text, strlen(text), "config", &e) < 0 || d.count != c.count)
		abort();
	config_done(&d);
	/* An edit keeps the file readable. */
	if (config_set(&c, "hostname", "fuzz", &e) < 0 || config_set(&c, "env", "A=1", &e) < 0 ||
	    config_set(&c, "restart", NULL, &e) < 0)
		abort();
	again = config_format(&c);
	if (!again)
		abort();
	if (strlen(again) <= CONFIG_MAX) {
		if (config_parse(&d, again, strlen(again), "config", &e) < 0 ||
		    !STREQ(config_get(&d, "hostname"), "fuzz"))
			abort();
		config_done(&d);
	}
	config_done(&c);
	return 0;
}
