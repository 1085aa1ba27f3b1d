/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/progress.h"

#include "base/macro.h"

static void show_progress(struct progress *p, json_t *params)
{
	json_t *v = json_object_get(params, "progress");
	const char *stage = json_string_value(json_object_get(v, "stage"));

	if (stage)
		progress_show(p, stage, (uint64_t)json_integer_value(json_object_get(v, "done")),
			      (uint64_t)json_integer_value(json_object_get(v, "total")));
}

int cli_follow(struct cli *c, const char *method, json_t *in, const int *fds, size_t nfds,
	       struct client_reply *ret, struct err *e)
{
	struct progress p = { .quiet = c->json };
	int signals, r = cli_client(c, e);

	if (r < 0) {
		json_decref(in);
		return r;
	}
	signals = cli_signals(c, false, e);
	if (signals < 0) {
		json_decref(in);
		return signals;
	}
	client_cancel_on(c->client, signals, NULL, NULL);
	r = client_ask(c->client, method, in, fds, nfds, true, ret, e);
	while (r == 0 && ret->continues) {
		show_progress(&p, ret->params);
		client_reply_done(ret);
		r = client_recv(c->client, ret, e);
	}
	progress_end(&p);
	client_cancel_on(c->client, -EBADF, NULL, NULL);
	close(signals);
	return r;
}
