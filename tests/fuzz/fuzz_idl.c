/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/idl.h"
#include "supervisor/protocol/interface.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_all(const struct idl *i, json_t *v)
{
	char path[64];
	struct err e;

	for (size_t n = 0; n < i->count; n++) {
		idl_check(i->members[n].type, v, path, sizeof(path), &e);
		if (i->members[n].out)
			idl_check(i->members[n].out, v, path, sizeof(path), &e);
	}
}

/*
 * Text that is an interface is checked against a value of every kind; text that is JSON against
 * every type of our own interface.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct idl *i = NULL;
	struct err e;
	json_t *v;

	if (idl_parse((const char *)data, size, &i, &e) == 0) {
		v = json_loads("{\"a\":1,\"b\":[true,null,{\"a\":\"x\"}],\"c\":{\"a\":1.5}}", 0, NULL);
		check_all(i, v);
		json_decref(v);
	}
	idl_free(i);
	v = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL);
	if (v)
		check_all(protocol_idl(&e), v);
	json_decref(v);
	return 0;
}
