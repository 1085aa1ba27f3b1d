/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"

/* The stream of events: each watcher is a call of the method Events that is never answered. */

#define WATCHERS_MAX 128

static void forget(struct sup_daemon *d, struct server_call *c)
{
	for (size_t i = 0; i < d->watcher_count; i++)
		if (d->watchers[i] == c) {
			d->watchers[i] = d->watchers[--d->watcher_count];
			return;
		}
}

/* The client is gone, or wants no more. */
static void on_cancel(struct server_call *c, void *userdata)
{
	struct err e;

	forget(userdata, c);
	err_set(&e, ERR_CANCELLED, "cancelled");
	server_fail(c, &e);
}

void event_watch(struct sup_daemon *d, struct server_call *c)
{
	struct server_call **bigger = NULL;
	struct err e;

	if (d->watcher_count < WATCHERS_MAX)
		bigger = reallocarray(d->watchers, d->watcher_count + 1, sizeof(*bigger));
	if (!bigger) {
		err_set(&e, ERR_FAIL, "too many clients watch the events (%d)", WATCHERS_MAX);
		server_fail(c, &e);
		return;
	}
	d->watchers = bigger;
	bigger[d->watcher_count++] = c;
	call_on_cancel(c, on_cancel, d);
}

static json_t *event_json(const char *event, const char *name, const char *detail)
{
	json_t *j = json_pack("{s:I, s:s, s:s}", "time_us", (json_int_t)now_realtime_us(), "event",
			      event, "name", name);

	if (detail && *detail)
		json_object_set_new(j, "detail", json_string(detail));
	return j;
}

void event_emit(struct sup_daemon *d, const char *event, const char *name, const char *detail)
{
	struct sup_vps *v = vps_find(d, name);
	struct err e;

	log_info("%s %s%s%s", event, name, detail && *detail ? ": " : "", detail ? detail : "");
	/* A watcher whose connection breaks takes itself out and the last one takes its place. */
	for (size_t i = d->watcher_count; i-- > 0;)
		if (i < d->watcher_count && may(call_uid(d->watchers[i]), v, "Status", &e) == 0)
			server_continue(d->watchers[i], event_json(event, name, detail));
}

void event_done(struct sup_daemon *d)
{
	free(d->watchers);
	d->watchers = NULL;
	d->watcher_count = 0;
}
