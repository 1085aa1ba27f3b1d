/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_SPARE_H
#define SUPERVISOR_SPARE_H

#include "supervisor/daemon.h"

/*
 * One vps-monitor that has been started already and waits for its VPS (monitor.h, `prepare`): to
 * run a program and link it costs more than a millisecond, which no start has to wait for. It holds
 * nothing and ends with vpsd.
 */

/* A monitor that waits: the spare one, or one that is started now. The caller owns both fds; the
 * pidfd may be -EBADF. */
int spare_take(struct sup_daemon *d, int *ret_fd, int *ret_pidfd, struct err *e);
/* Sees to it that there is one soon, when nobody has to wait for that. */
void spare_prepare(struct sup_daemon *d);
void spare_done(struct sup_daemon *d);

#endif
