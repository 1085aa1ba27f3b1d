/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROTOCOL_INTERFACE_H
#define SUPERVISOR_PROTOCOL_INTERFACE_H

#include "supervisor/protocol/idl.h"

/* The text of io.vps.Manager.varlink, put into the programs when they are built. */
extern const char protocol_interface_text[];

#define PROTOCOL_INTERFACE "io.vps.Manager"
#define PROTOCOL_MESSAGE_MAX (8u << 20) /* bytes of one message without its NUL */

/*
 * The same text parsed, on first use; never freed. NULL with *e filled when it is not an interface,
 * which the build's tests exclude. Not for several threads.
 */
const struct idl *protocol_idl(struct err *e);

#endif
