/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_CHANGE_H
#define SUPERVISOR_CHANGE_H

#include "supervisor/daemon.h"

struct setting;

/*
 * A change of a VPS's configuration: checked as a whole (methods_config.c), written by a worker (which reads the
 * file again, so that changes that come together do not undo one another), then told to the monitor
 * as far as they take effect at once. When the monitor cannot apply them the file is put back.
 */
struct change {
	struct server_call *call;
	struct sup_daemon *d;
	char name[64];
	const char *verb;
	json_t *live;    /* key: value, or all the values of a list, for the monitor */
	json_t *pending; /* keys that take effect at the next start */
	json_t *note;    /* what the monitor says of the new values */
	json_t *missing; /* what the new values name and is not there */
	json_t *before;  /* the file's text, to go back to */
	json_t *after;
	struct err error;
};

/* One that nothing was noted in; NULL after answering the call. */
struct change *change_new(struct server_call *c, struct sup_vps *v, const char *verb);
/* Notes where the new value of a setting goes. `value` may be NULL: back to the default. */
void change_note(struct change *g, const struct sup_vps *v, const struct setting *s, const char *value);
/*
 * Makes what was noted ready for the monitor: interfaces that cannot be changed now wait for the next start, lists are
 * told whole, as they are to be. Only for a VPS that vps_takes_live(). `now` is the whole new config, and is used up.
 */
int change_prepare(struct change *g, struct sup_vps *v, struct config *now, struct err *e);
/*
 * These answer the call and free the change: has the worker do what `request` (consumed) says, and then tells the
 * monitor; tells the monitor alone; gives up.
 */
void change_write(struct change *g, json_t *request);
void change_apply(struct change *g);
void change_fail(struct change *g, const struct err *e);

#endif
