/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROTOCOL_SPAWN_H
#define SUPERVISOR_PROTOCOL_SPAWN_H

#include "base/err.h"
#include "base/hostroot.h"

/*
 * Starts `vpsd --root DIR --ready-fd 3` in a session of its own, standard error to run/vpsd.log,
 * and returns when it listens (a byte on the ready fd) or when it has ended with status 0: then
 * another vpsd holds run/vpsd.lock and listens. Any other end is ERR_DAEMON with the last line of
 * its log. The process
 * stays a child of the caller; nobody need wait for it.
 */
int spawn_vpsd(const struct host_root *root, int timeout_ms, struct err *e);

#endif
