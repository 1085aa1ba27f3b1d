/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"

#include <inttypes.h>
#include <poll.h>

#define END_MS 10000

static void show(struct cli *c, json_t *v)
{
	char up[64];

	if (c->json) {
		cli_json(v);
		return;
	}
	printf("vpsd %s, pid %" JSON_INTEGER_FORMAT ", up %s, %" JSON_INTEGER_FORMAT
	       " running, state root ",
	       json_string_value(json_object_get(v, "version")),
	       json_integer_value(json_object_get(v, "pid")),
	       show_uptime(json_number_value(json_object_get(v, "uptime_s")), up, sizeof(up)),
	       json_integer_value(json_object_get(v, "running")));
	put_clean(stdout, json_string_value(json_object_get(v, "root")));
	putchar('\n');
}

int cmd_daemon_start(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "Version", NULL, &reply, e);

	if (r == 0 && c->json)
		show(c, reply.params);
	return r;
}

int cmd_daemon_status(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "Version", NULL, &reply, e);

	if (r == 0)
		show(c, reply.params);
	return r;
}

/* That of the process which answers: behind a socket of systemd's the peer is systemd. */
static int pidfd_of_daemon(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "Version", NULL, &reply, e);

	return r < 0 ? r : pidfd_open_pid((pid_t)json_integer_value(json_object_get(reply.params, "pid")));
}

/* It holds its log until it has ended, and who asked may want to unmount what that lies on. */
static int shut_down(struct cli *c, struct err *e)
{
	cleanup_close int pidfd = pidfd_of_daemon(c, e);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int r = pidfd == -ESRCH ? pidfd : cli_call(c, "Shutdown", NULL, NULL, e);

	if (r == 0)
		r = client_drain(c->client, e);
	if (r == 0)
		poll(&p, 1, END_MS);
	return r;
}

/* Nobody there to stop is what was wanted; anything else that answers badly is not. */
int cmd_daemon_stop(struct cli *c, struct err *e)
{
	int r = cli_client(c, e);

	if (r == 0)
		r = shut_down(c, e);
	if (r == -ESRCH)
		r = 0;
	if (r == 0 && c->json)
		puts("{}");
	return r;
}
