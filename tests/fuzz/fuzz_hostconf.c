/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/hostconf.h"

#include "base/macro.h"
#include "netns/net.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = NULL;
	struct netns_host h;
	struct hostconf c;
	struct err e;

	if (size > HOSTCONF_MAX)
		return 0;
	text = strndup((const char *)data, size);
	if (!text)
		return 0;
	if (hostconf_parse(&c, text, "vpsd.conf", &e) < 0) {
		if (strncmp(e.msg, "vpsd.conf:", 10) != 0)
			abort();
		return 0;
	}
	if (netns_host_init(&h, "vps", *c.pool4 ? c.pool4 : NULL, *c.pool6 ? c.pool6 : NULL, &e) < 0)
		abort();
	return 0;
}
