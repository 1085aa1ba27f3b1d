/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/macro.h"
#include "supervisor/save.h"

/* The methods that save a VPS. */

static const char *compression(struct server_call *c, struct err *e)
{
	static const char *const names[] = { "lz4", "zstd", "none" };
	const char *name = call_string(c, "compress");

	if (!name)
		return names[0];
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (STREQ(name, names[i]))
			return names[i];
	err_set(e, ERR_USAGE, "%.32s is no compression", name);
	err_hint(e, "there are lz4, zstd and none");
	return NULL;
}

void method_suspend(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Suspend");
	struct save_request q = { .verb = "suspend" };
	struct err e;

	if (!v)
		return;
	q.compress = compression(c, &e);
	if (!q.compress)
		method_fail(c, q.verb, v->name, &e);
	else if (save_begin(v, &q, c, &e) < 0)
		server_fail(c, &e);
}
