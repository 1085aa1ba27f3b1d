/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_MACHINE_H
#define SUPERVISOR_MACHINE_H

/*
 * What a VPS does when it is asked for something or something happens to it: one table, without
 * effects of its own. lifecycle.c acts on what it says.
 */

enum sup_state {
	SUP_STOPPED,
	SUP_STARTING,  /* a monitor runs, init does not yet */
	SUP_RUNNING,
	SUP_PAUSED,
	SUP_SUSPENDED, /* its processes are in an image on disk */
	SUP_STOPPING,
	/* From here on inner ones, which have no name of their own outside. */
	SUP_SAVING,    /* a worker writes the image; it runs on, unless that is committed */
	SUP_RESTORING, /* a monitor puts the processes of an image back */
	SUP_CREATING,  /* the name is taken, nothing else is there */
	SUP_DESTROYING,
	SUP_STATE_COUNT,
};

enum sup_event {
	/* asked for */
	SUP_EV_START,
	SUP_EV_STOP,
	SUP_EV_RESTART,
	SUP_EV_PAUSE,
	SUP_EV_RESUME,
	SUP_EV_SESSION, /* exec, console */
	SUP_EV_DESTROY,
	SUP_EV_RENAME,
	SUP_EV_CONFIG,  /* a change of the configuration */
	SUP_EV_SAVE,    /* suspend, checkpoint */
	SUP_EV_RESTORE, /* from a checkpoint that is not the one it is suspended in */
	SUP_EV_DISCARD, /* the image is given up, what it held is lost */
	/* happened */
	SUP_EV_CREATED,
	SUP_EV_STARTED, /* init runs */
	SUP_EV_PAUSED,
	SUP_EV_RESUMED,
	SUP_EV_ENDING,  /* the monitor has begun to stop it */
	SUP_EV_ENDED,   /* nothing of it runs, all is undone */
	SUP_EV_SUSPENDED, /* likewise, and there is an image to resume it from */
	SUP_EVENT_COUNT,
};

enum sup_verdict {
	SUP_NO,   /* refused, or, when it happened, a lie: `why` says why */
	SUP_GO,   /* goes on to `next` */
	SUP_STAY, /* to be done, without a change of state */
	SUP_JOIN, /* under way already: wait with those who do */
};

struct sup_rule {
	enum sup_verdict verdict;
	enum sup_state next; /* SUP_GO */
	const char *why;     /* SUP_NO: "it is running already" */
	const char *hint;    /* SUP_NO, may be NULL; printed with %s standing for the name */
};

const struct sup_rule *sup_rule(enum sup_state state, enum sup_event event);

/* As the interface and the JSON of `vps list` spell it; the inner ones are what they look
 * like from there: creating and destroying "stopped", saving "running", restoring "starting". */
const char *sup_state_name(enum sup_state s);
/* By that name; -1 when there is none. */
int sup_state_find(const char *name);
const char *sup_event_name(enum sup_event ev);

#endif
