/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

static void show(struct cli *c, json_t *event)
{
	int64_t us = json_integer_value(json_object_get(event, "time_us"));
	const char *detail = json_string_value(json_object_get(event, "detail"));
	char when[64];

	if (c->json) {
		json_dumpf(event, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
	} else {
		printf("%s.%03d  %-9s  ", show_time(us / 1000000, when, sizeof(when)),
		       (int)(us / 1000 % 1000), json_string_value(json_object_get(event, "event")));
		put_clean(stdout, json_string_value(json_object_get(event, "name")));
		if (detail && *detail) {
			fputs("  ", stdout);
			put_clean(stdout, detail);
		}
	}
	putchar('\n');
	fflush(stdout); /* a reader at the end of a pipe waits for it */
}

int cmd_events(struct cli *c, struct err *e)
{
	struct client_reply reply;
	bool more = true;
	int r = cli_client(c, e);

	if (r == 0)
		r = client_ask(c->client, "Events", NULL, NULL, 0, true, &reply, e);
	while (r == 0 && more) {
		show(c, reply.params);
		more = reply.continues && !ferror(stdout);
		client_reply_done(&reply);
		if (more)
			r = client_recv(c->client, &reply, e);
	}
	return r;
}
