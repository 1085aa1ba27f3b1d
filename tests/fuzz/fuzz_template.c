/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "storage/catalogue.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = strndup((const char *)data, size);
	cleanup_buf struct buf once = { 0 }, twice = { 0 };
	struct storage_template t = { 0 }, back = { 0 };
	struct err e;

	if (!text || storage_meta_parse(text, "fuzz", &t, &e) < 0)
		return 0;
	/* What was taken must survive being written and read. */
	if (storage_meta_format(&t, &once) < 0 ||
	    storage_meta_parse(once.data, "fuzz", &back, &e) < 0 ||
	    storage_meta_format(&back, &twice) < 0 || !STREQ(once.data, twice.data))
		abort();
	if (!str_is_printable(t.init) || !str_is_printable(t.version))
		abort();
	return 0;
}
