/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_SAVE_H
#define SUPERVISOR_SAVE_H

#include "supervisor/daemon.h"

/*
 * A VPS into an image: vpsd's part. The monitor is told, a worker writes the image and holds all tasks,
 * the monitor commits, the worker kills (monitor.h, suspend.h).
 */
struct save_request {
	const char *verb;     /* "suspend" */
	const char *compress; /* "lz4", "zstd", "none" */
};

/* Progress goes to the call, and the answer, in the end; its cancellation lets the VPS run on. */
int save_begin(struct sup_vps *v, const struct save_request *q, struct server_call *c, struct err *e);
/* Gives up the image that it is suspended in; the waiters are told when it is stopped. */
int save_discard(struct sup_vps *v, struct err *e);
/* Nothing of the VPS runs any more: whoever waits for that is told. */
void save_ended(struct sup_vps *v);
/* Its monitor has died. When the image is complete and nothing has run since, the VPS is suspended
 * all the same. */
void save_monitor_died(struct sup_vps *v);

#endif
