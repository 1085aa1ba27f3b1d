/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_INTERNAL_H
#define NETNS_INTERNAL_H

#include "base/err.h"

/*
 * A socket that belongs to the namespace behind `netns_fd` (a negative one: the caller's own),
 * close-on-exec. A socket stays in the namespace it was made in (network_namespaces(7)), so the
 * calling thread enters, makes it, and is back before anything else happens. Returns the fd.
 */
int netns_socket(int netns_fd, int family, int type, int protocol, struct err *e);

#endif
