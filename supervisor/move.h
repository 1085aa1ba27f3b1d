/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_MOVE_H
#define SUPERVISOR_MOVE_H

#include "supervisor/daemon.h"

/*
 * Moves and copies between hosts: vpsd's part at both ends. Workers do the work (migrate/move.h);
 * vpsd says what may be, gives the name, the ids and the addresses, and knows after any crash which
 * of two copies is the one.
 */

/* ERR_STATE when the VPS has moved, or may have: it must not run here. */
int move_check(const struct sup_vps *v, const char *verb, struct err *e);
/* Reads what lib/vps/NAME/migration says into the VPS; at vpsd's start and after each move. */
void move_load(struct sup_vps *v);
/* Its monitor was found, and may be holding it frozen: it may be known by now who has it. */
void move_hello(struct sup_vps *v);
/* Its processes are gone with it: a move that has not given it up yet has nothing to move. */
void move_monitor_died(struct sup_vps *v);
/* What is known at a move's end: it is the destination's now, or it is here. (moved.c) */
void move_is_away(struct sup_vps *v);
void move_is_here(struct sup_vps *v);
/* Takes the message; a failure is logged. (moved.c) */
void move_tell_monitor(struct sup_vps *v, json_t *msg);
/* What its monitor says of one that arrives running. The first is true when somebody decides. */
bool arrival_prepared(struct sup_vps *v);
void arrival_started(struct sup_vps *v);
void arrival_failed(struct sup_vps *v, const struct err *e);
/* At the start of vpsd (`id`: ""), or when who receives that migration has died: lib/vps/.receiving-NAME is removed, or becomes
 * the VPS that it was to be. */
void move_recover(struct sup_daemon *d, const char *name, const char *id);

#endif
