/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_NETNS_H
#define NETNS_NETNS_H

#include "base/err.h"

/*
 * The network stack of a VPS. It is made with the VPS's network namespace by the runtime; this
 * layer fills it, from outside, before init starts.
 */

/* Sets the loopback interface of the namespace behind `netns_fd` up (an fd of /proc/PID/ns/net).
 * The calling thread enters it and returns to its own. */
int netns_loopback_up(int netns_fd, struct err *e);

#endif
