/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Mounts as the kernel lists them: names in it are the tenant's. */
#include "base/macro.h"
#include "checkpoint/mountinfo.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = malloc(size + 1);
	struct ckpt_mountinfo *m = NULL;
	struct err e = { 0 };
	size_t n = 0;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (ckpt_mountinfo_parse(text, &m, &n, &e) < 0) {
		if (!e.msg[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		ckpt_path_below(m[i].at, m[i].root);
		if (strlen(m[i].type) > size || strlen(m[i].options) > size ||
		    ckpt_mountinfo_find(m, n, m[i].id) < 0)
			abort();
	}
	free(m);
	return 0;
}
