/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/interface.h"

#include "base/macro.h"

const struct idl *protocol_idl(struct err *e)
{
	static struct idl *parsed;

	if (!parsed && idl_parse(protocol_interface_text, strlen(protocol_interface_text), &parsed, e) < 0) {
		err_wrap(e, "%s", PROTOCOL_INTERFACE);
		return NULL;
	}
	return parsed;
}
