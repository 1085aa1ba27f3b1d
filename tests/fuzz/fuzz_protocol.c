/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "supervisor/protocol/interface.h"
#include "supervisor/protocol/server.h"

#include "tests/fuzz/fuzz.h"

#include <signal.h>
#include <sys/socket.h>

/*
 * The bytes are what a client sends: through framing, JSON, the interface's types and the method
 * table of the real interface, whose methods here answer at once or never.
 */
static void now(struct server_call *c, void *userdata)
{
	(void)userdata;
	server_reply(c, NULL, NULL, 0);
}

static void at_cancel(struct server_call *c, void *userdata)
{
	struct err e;

	(void)userdata;
	err_set(&e, ERR_CANCELLED, "cancelled");
	server_fail(c, &e);
}

static void never(struct server_call *c, void *userdata)
{
	(void)userdata;
	call_on_cancel(c, at_cancel, NULL);
}

static const struct server_method methods[] = {
	{ "Create", now, 0, 0 },        { "Set", now, 0, 0 },  { "Destroy", now, 0, 0 },
	{ "Events", now, SERVER_MORE, 0 }, { "Push", now, 0, 1 }, { "Wait", never, 0, 0 },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	sd_event *event = NULL;
	struct server *s = NULL;
	int pair[2], fd = 0;
	struct err e;

	setenv("VPS_LOG", "err", 1);
	log_init("fuzz");
	signal(SIGPIPE, SIG_IGN);
	if (sd_event_new(&event) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
	    server_new(&s, event, protocol_idl(&e), protocol_interface_text, methods,
		       ARRAY_SIZE(methods), NULL, &e) < 0 ||
	    server_add(s, pair[1]) < 0)
		abort();
	/* The socket holds some 200 KiB; more would wait for the server. */
	for (size_t at = 0; at < size && at < 100000;) {
		size_t n = data[at] ? size - at : 1;

		n = n > 4096 ? 4096 : n;
		if (fd_send(pair[0], data + at, n, &fd, at == 0) < 0)
			break;
		at += n;
		while (sd_event_run(event, 0) > 0)
			;
	}
	close(pair[0]);
	while (sd_event_run(event, 0) > 0)
		;
	server_free(s);
	sd_event_unref(event);
	return 0;
}
