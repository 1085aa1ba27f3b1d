/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_NETWORK_H
#define SUPERVISOR_NETWORK_H

#include "netns/net.h"
#include "runtime/spec.h"
#include "supervisor/daemon.h"

/*
 * vpsd's part in the networks of the VPSs. The calls that touch the kernel are a few netlink
 * conversations each; none waits for anybody.
 */

int network_init(struct sup_daemon *d, struct err *e);
/* Lets go of the watch; bridge and rules stay for the VPSs that go on. */
void network_done(struct sup_daemon *d);

/* The state root's network; it stays the daemon's. */
const struct netns_host *network_host(const struct sup_daemon *d);
/* Nobody has an address of the pools yet: those that nothing is said of are such as no route of the host is in the way of,
 * and are remembered. Once in a vpsd's life, as long as there is no bridge. */
int network_choose_pools(struct sup_daemon *d, struct err *e);
/* Which pools of addresses the host has, as netns_host_init() takes them; "": what the tag makes them. */
void network_pools(const struct sup_daemon *d, const char **ret4, const char **ret6);

/* After the VPSs and their monitors were found, or one's monitor died: links and rules of those
 * that are gone are removed, what is missing for the others is made. */
void network_mend(struct sup_daemon *d);

/* What a VPS had whose monitor died and could take nothing away: also neighbours and routes that are
 * not its links', which network_mend() cannot know. */
void network_forget(struct sup_vps *v);

/* Remembers which addresses v->config gives it; for whoever has read or changed that. -ENOMEM. */
int network_note_addresses(struct sup_vps *v);
/* Addresses and published ports of `c` are taken from now on, while `v` is being made and has no config of its own yet. */
int network_take(struct sup_vps *v, const struct config *c, struct err *e);
/*
 * Gives the interfaces in `c` the addresses that they are to have from the pool and do not have yet.
 * Returns 1 when `c` was changed, 0 when not; ERR_EXISTS when an address is another VPS's,
 * ERR_NOSPACE when the pool is empty. `v` is the VPS whose config it is to be.
 */
int network_complete(struct sup_vps *v, struct config *c, struct err *e);
/* The same for the text of one interface; what one of that name has from the pool is kept. */
int network_complete_text(struct sup_vps *v, const char *text, char out[NETNS_TEXT_MAX],
			  struct err *e);
/* As network_complete(), for a new VPS: one on the bridge when no interface is asked for. Checks. */
int network_default(struct sup_vps *v, struct config *c, struct err *e);
/* Whether the settings go together, and leave the other VPSs theirs. */
int network_check(struct sup_vps *v, const struct config *c, struct err *e);
/* All its interfaces have the addresses that they are to have. */
bool network_is_complete(struct sup_vps *v, const struct config *c);
/* It shares the host's stack. */
bool network_is_host(const struct config *c);
/* Puts addresses in the place of names of VPSs (net.allow). */
int network_resolve(struct sup_daemon *d, struct config *c, struct err *e);

/* Before a start: the published ports are free, bridge and rules are there. */
int network_prepare(struct sup_vps *v, const struct config *c, struct err *e);
/* Names the bridge's name server, where there is one that it reaches, unless the config names others. */
int network_dns(const struct sup_vps *v, struct rt_spec *s, struct err *e);
/* It has, or is about to have, its links. */
bool network_is_alive(const struct sup_vps *v);
/* Frames that a worker held back while it saved, moved or looked at the VPS go through again; it may have died at that. */
void network_let_go(struct sup_vps *v);
/* After an end: takes bridge and rules away, in a few seconds, when nobody is left that needs them. */
void network_release(struct sup_daemon *d);

#endif
