/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/fd.h"
#include "base/macro.h"

#include <sys/epoll.h>

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

/* Becomes readable when standard output's reader goes; -EBADF where there is none that could. */
static int watch_reader(void)
{
	struct epoll_event none = { 0 }; /* errors and ends are told unasked */
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, STDOUT_FILENO, &none) < 0)
		fd_close(&fd);
	return fd;
}

static bool stop(int fd, void *ctx)
{
	(void)fd;
	(void)ctx;
	return true;
}

int cmd_events(struct cli *c, struct err *e)
{
	struct client_reply reply;
	bool more = true;
	cleanup_close int reader = watch_reader();
	int r = cli_client(c, e);

	if (r == 0) {
		client_cancel_on(c->client, reader, stop, NULL); /* not at the next event, which may be long in coming */
		c->output_given = true;
	}
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
