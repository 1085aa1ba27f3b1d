/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/internal.h"

#include "base/macro.h"

static const struct storage_backend *const backends[] = {
	&storage_overlay,
	NULL,
};

const struct storage_backend *storage_backend_find(const char *name, struct err *e)
{
	char names[128] = "";
	size_t len = 0;

	for (const struct storage_backend *const *b = backends; *b; b++) {
		if (STREQ((*b)->name, name))
			return *b;
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", len ? ", " : "",
					(*b)->name);
	}
	err_set(e, ERR_USAGE, "storage back end %.64s: unknown", name);
	err_hint(e, "the back ends are: %s", names);
	return NULL;
}
