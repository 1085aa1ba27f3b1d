/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_RECEIVE_H
#define SUPERVISOR_RECEIVE_H

#include "migrate/move.h"
#include "supervisor/move.h"

/* Inside the folder: a VPS that comes from another host. */

struct receiving {
	struct receiving *next;
	struct sup_daemon *d;
	struct server_call *call;
	struct job *job;
	struct sup_vps *vps; /* NULL before it has a place */
	struct mig_offer offer;
	struct config config;
	json_t *offer_json, *obstacles;
	int in, out;
	char name[64];       /* as asked for here; "" the source's choice */
	bool cancelled;
	/* Of one that comes running. */
	int image;           /* the pipe's end that its monitor reads */
	int word;            /* to the worker */
	bool named, failed;
};

/* receive_check.c: fills r->obstacles, and r->config as it is to be here. */
void receive_check(struct receiving *r);

/* arrival.c: of one that comes running. What the worker says; and that it has ended. */
void arrival_stage(void *ctx, json_t *what);
void arrival_ended(struct receiving *r, bool received);

#endif
