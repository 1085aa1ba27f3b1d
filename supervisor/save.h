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
	bool leave;           /* it runs on */
	bool files;           /* with `leave`: its files are kept too */
	int fd;               /* where to; -EBADF: a place of its own */
	const char *file;     /* what the user calls that; NULL */
};

/* Progress goes to the call, and the answer, in the end; its cancellation lets the VPS run on. */
int save_begin(struct sup_vps *v, const struct save_request *q, struct server_call *c, struct err *e);
/* Makes an image (fd; -EBADF: its own checkpoint) what the VPS is suspended in, with the files of then,
 * and resumes it. The call is answered as that of a start. */
int restore_begin(struct sup_vps *v, int fd, const char *file, struct server_call *c, struct err *e);
/* Removes the files that a restore, whose worker was killed, was about to put in the place of its own. */
void restore_sweep(struct sup_vps *v);
/* Every reason why it cannot be saved; answers the call. */
int check_begin(struct sup_vps *v, struct server_call *c, struct err *e);
/* Gives up the image that it is suspended in; the waiters are told when it is stopped. */
int save_discard(struct sup_vps *v, struct err *e);
/* Nothing of the VPS runs any more: whoever waits for that is told. */
void save_ended(struct sup_vps *v);
/* Its monitor has died. When the image is complete and nothing has run since, the VPS is suspended
 * all the same. */
void save_monitor_died(struct sup_vps *v);

#endif
