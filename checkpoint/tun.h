/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TUN_H
#define CHECKPOINT_TUN_H

#include "checkpoint/netstate_internal.h"

/*
 * tun and tap interfaces (Documentation/networking/tuntap.rst). An interface is made with the others of its namespace,
 * to last (TUNSETPERSIST); open files attach themselves to it later (kinds/tun.c), and make it as lasting as it was.
 * Packets that wait for a reader are lost, as packets are.
 */

/* The facts in a link's message. */
struct ckpt_tun {
	uint32_t index;
	char name[16];
	const struct nlattr *data; /* IFLA_INFO_DATA */
};

/* Owners as the VPS numbers them: the kernel has told the engine the host's numbers. */
void ckpt_tun_localize(const struct nlattr *data, uint32_t base);
/* In the namespace that is to have it. */
int ckpt_tun_make(const struct ckpt_tun *t, struct err *e);

#endif
