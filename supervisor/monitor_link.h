/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_MONITOR_LINK_H
#define SUPERVISOR_MONITOR_LINK_H

#include "supervisor/daemon.h"

/*
 * vpsd's end of the connection to the monitor of a VPS (monitor.h). Events go to vps_on_event(),
 * the end of the connection to vps_on_gone(), both from the loop.
 */

/* Gives v a monitor, which waits. */
int link_spawn(struct sup_vps *v, struct err *e);
/* It makes what it can before there is a spec; the lock, which it keeps, stays the caller's too. */
void link_prepare(struct sup_vps *v, int lock_fd);
/* Tells it to begin, after link_prepare(); `image_fd` (-EBADF: none) and the other fds stay the caller's. */
int link_begin(struct sup_vps *v, int spec_fd, int image_fd, const struct vps_stdio *io, struct err *e);
/* It was not told to begin, and ends. False when it has not undone what it made, or may not have. */
bool link_dismiss(struct sup_vps *v);
/* Connects to the monitor that runs already: -ENOENT, -ECONNREFUSED when there is none. */
int link_connect(struct sup_vps *v);
/* Lets go of it; the monitor goes on. Requests that wait are answered with an error. */
void link_free(struct sup_link *l);

/* `e` is NULL when it was done; `note` is then what the monitor has to say about it, or NULL. */
typedef void (*link_reply)(void *ctx, const struct err *e, const char *note);

/* Sends {"id":…, …msg}; takes msg over. `done` is called once, later, also when the monitor goes
 * away, except when this fails. */
int link_request(struct sup_link *l, json_t *msg, const int *fds, size_t nfds, link_reply done,
		 void *ctx, struct err *e);
/* Keeps what `hello` says that this monitor can do. */
void link_heard(struct sup_link *l, json_t *hello);
/* Whether this monitor, which may be older than vpsd, can change the setting of a running VPS. Asked for
 * settings alone that not all monitors could. */
bool link_takes(const struct sup_link *l, const char *setting);
/* SIGKILL to the monitor. */
void link_kill(struct sup_link *l);

#endif
