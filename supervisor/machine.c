/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/machine.h"

#include "base/macro.h"

#include <assert.h>

#define NO(text) { SUP_NO, 0, (text), NULL }
#define NO_HINT(text, h) { SUP_NO, 0, (text), (h) }
#define GO(to) { SUP_GO, (to), NULL, NULL }
#define STAY { SUP_STAY, 0, NULL, NULL }
#define JOIN { SUP_JOIN, 0, NULL, NULL }

#define NOT_RUNNING NO("it is not running")
#define NOT_RUNNING_START NO_HINT("it is not running", "vps start %s")
#define PAUSED_RESUME NO_HINT("it is paused", "vps resume %s")
#define NOT_THERE NO("it is being created")
#define GOING NO("it is being destroyed")
#define STOPPING NO("it is stopping")
#define STARTING NO("it is still starting")
#define SUSPENDED NO_HINT("it is suspended", "vps resume %s")
#define SAVED NO("it is being saved")
#define NOT_SUSPENDED NO("it is not suspended")
#define RESTORED NO("it is being resumed")
#define RUNS NO_HINT("it is running", "vps stop %s")
#define LIE NO("that cannot have happened")

/* clang-format off */
static const struct sup_rule rules[][SUP_EVENT_COUNT] = {
	[SUP_STOPPED] = {
		[SUP_EV_START] = GO(SUP_STARTING),
		[SUP_EV_STOP] = NOT_RUNNING,
		[SUP_EV_RESTART] = GO(SUP_STARTING),
		[SUP_EV_PAUSE] = NOT_RUNNING,
		[SUP_EV_RESUME] = NOT_RUNNING_START,
		[SUP_EV_SESSION] = NOT_RUNNING_START,
		[SUP_EV_DESTROY] = GO(SUP_DESTROYING),
		[SUP_EV_RENAME] = STAY,
		[SUP_EV_CONFIG] = STAY,
		[SUP_EV_SAVE] = NOT_RUNNING_START,
		[SUP_EV_RESTORE] = GO(SUP_RESTORING),
		[SUP_EV_DISCARD] = NOT_SUSPENDED,
		[SUP_EV_CREATED] = LIE,
		[SUP_EV_STARTED] = LIE,
		[SUP_EV_PAUSED] = LIE,
		[SUP_EV_RESUMED] = LIE,
		[SUP_EV_ENDING] = LIE,
		[SUP_EV_ENDED] = LIE,
		[SUP_EV_SUSPENDED] = LIE,
	},
	[SUP_STARTING] = {
		[SUP_EV_START] = NO("it is starting already"),
		[SUP_EV_STOP] = GO(SUP_STOPPING),
		[SUP_EV_RESTART] = STARTING,
		[SUP_EV_PAUSE] = STARTING,
		[SUP_EV_RESUME] = NO("it is not paused"),
		[SUP_EV_SESSION] = STARTING,
		[SUP_EV_DESTROY] = RUNS,
		[SUP_EV_RENAME] = RUNS,
		[SUP_EV_CONFIG] = STAY,
		[SUP_EV_SAVE] = STARTING,
		[SUP_EV_RESTORE] = RUNS,
		[SUP_EV_DISCARD] = NOT_SUSPENDED,
		[SUP_EV_CREATED] = LIE,
		[SUP_EV_STARTED] = GO(SUP_RUNNING),
		[SUP_EV_PAUSED] = LIE,
		[SUP_EV_RESUMED] = LIE,
		[SUP_EV_ENDING] = GO(SUP_STOPPING),
		[SUP_EV_ENDED] = GO(SUP_STOPPED),
		/* What a vpsd that comes up finds is thought to be starting. */
		[SUP_EV_SUSPENDED] = GO(SUP_SUSPENDED),
	},
	[SUP_RUNNING] = {
		[SUP_EV_START] = NO("it is running already"),
		[SUP_EV_STOP] = GO(SUP_STOPPING),
		[SUP_EV_RESTART] = GO(SUP_STOPPING),
		[SUP_EV_PAUSE] = STAY,
		[SUP_EV_RESUME] = NO("it is not paused"),
		[SUP_EV_SESSION] = STAY,
		[SUP_EV_DESTROY] = RUNS,
		[SUP_EV_RENAME] = RUNS,
		[SUP_EV_CONFIG] = STAY,
		[SUP_EV_SAVE] = GO(SUP_SAVING),
		[SUP_EV_RESTORE] = RUNS,
		[SUP_EV_DISCARD] = NOT_SUSPENDED,
		[SUP_EV_CREATED] = LIE,
		[SUP_EV_STARTED] = STAY,
		[SUP_EV_PAUSED] = GO(SUP_PAUSED),
		[SUP_EV_RESUMED] = STAY,
		[SUP_EV_ENDING] = GO(SUP_STOPPING),
		[SUP_EV_ENDED] = GO(SUP_STOPPED),
		[SUP_EV_SUSPENDED] = LIE,
	},
	[SUP_PAUSED] = {
		[SUP_EV_START] = PAUSED_RESUME,
		[SUP_EV_STOP] = GO(SUP_STOPPING),
		[SUP_EV_RESTART] = GO(SUP_STOPPING),
		[SUP_EV_PAUSE] = NO("it is paused already"),
		[SUP_EV_RESUME] = STAY,
		[SUP_EV_SESSION] = PAUSED_RESUME,
		[SUP_EV_DESTROY] = NO_HINT("it is paused", "vps stop %s"),
		[SUP_EV_RENAME] = NO_HINT("it is paused", "vps stop %s"),
		[SUP_EV_CONFIG] = STAY,
		[SUP_EV_SAVE] = GO(SUP_SAVING),
		[SUP_EV_RESTORE] = NO_HINT("it is paused", "vps stop %s"),
		[SUP_EV_DISCARD] = NOT_SUSPENDED,
		[SUP_EV_CREATED] = LIE,
		[SUP_EV_STARTED] = LIE,
		[SUP_EV_PAUSED] = STAY,
		[SUP_EV_RESUMED] = GO(SUP_RUNNING),
		[SUP_EV_ENDING] = GO(SUP_STOPPING),
		[SUP_EV_ENDED] = GO(SUP_STOPPED),
		[SUP_EV_SUSPENDED] = LIE,
	},
	[SUP_SUSPENDED] = {
		[SUP_EV_START] = GO(SUP_RESTORING),
		[SUP_EV_STOP] = NO_HINT("it is suspended",
					"vps resume %s, or --force to give up what it was doing"),
		[SUP_EV_RESTART] = SUSPENDED,
		[SUP_EV_PAUSE] = SUSPENDED,
		[SUP_EV_RESUME] = GO(SUP_RESTORING),
		[SUP_EV_SESSION] = SUSPENDED,
		[SUP_EV_DESTROY] = GO(SUP_DESTROYING),
		[SUP_EV_RENAME] = SUSPENDED,
		[SUP_EV_CONFIG] = STAY,
		[SUP_EV_SAVE] = NO_HINT("it is suspended already", "vps resume %s"),
		[SUP_EV_RESTORE] = GO(SUP_RESTORING),
		[SUP_EV_DISCARD] = STAY,
		[SUP_EV_CREATED] = LIE,
		[SUP_EV_STARTED] = LIE,
		[SUP_EV_PAUSED] = LIE,
		[SUP_EV_RESUMED] = LIE,
		[SUP_EV_ENDING] = LIE,
		[SUP_EV_ENDED] = LIE,
		[SUP_EV_SUSPENDED] = LIE,
	},
	[SUP_STOPPING] = {
		[SUP_EV_START] = STOPPING,
		[SUP_EV_STOP] = JOIN,
		[SUP_EV_RESTART] = STOPPING,
		[SUP_EV_PAUSE] = STOPPING,
		[SUP_EV_RESUME] = STOPPING,
		[SUP_EV_SESSION] = STOPPING,
		[SUP_EV_DESTROY] = STOPPING,
		[SUP_EV_RENAME] = STOPPING,
		[SUP_EV_CONFIG] = STAY,
		[SUP_EV_SAVE] = STOPPING,
		[SUP_EV_RESTORE] = STOPPING,
		[SUP_EV_DISCARD] = STOPPING,
		[SUP_EV_CREATED] = LIE,
		/* A stop that came while it was starting: the monitor says both. */
		[SUP_EV_STARTED] = STAY,
		[SUP_EV_PAUSED] = STAY,
		[SUP_EV_RESUMED] = STAY,
		[SUP_EV_ENDING] = STAY,
		[SUP_EV_ENDED] = GO(SUP_STOPPED),
		[SUP_EV_SUSPENDED] = GO(SUP_SUSPENDED),
	},
	[SUP_SAVING] = {
		[SUP_EV_START] = SAVED,
		[SUP_EV_STOP] = SAVED,
		[SUP_EV_RESTART] = SAVED,
		[SUP_EV_PAUSE] = SAVED,
		[SUP_EV_RESUME] = SAVED,
		[SUP_EV_SESSION] = SAVED,
		[SUP_EV_DESTROY] = SAVED,
		[SUP_EV_RENAME] = SAVED,
		[SUP_EV_CONFIG] = STAY,
		[SUP_EV_SAVE] = SAVED,
		[SUP_EV_RESTORE] = SAVED,
		[SUP_EV_DISCARD] = NOT_SUSPENDED,
		[SUP_EV_CREATED] = LIE,
		[SUP_EV_STARTED] = STAY,
		[SUP_EV_PAUSED] = GO(SUP_PAUSED),
		[SUP_EV_RESUMED] = GO(SUP_RUNNING),
		[SUP_EV_ENDING] = GO(SUP_STOPPING),
		[SUP_EV_ENDED] = GO(SUP_STOPPED),
		[SUP_EV_SUSPENDED] = GO(SUP_SUSPENDED),
	},
	[SUP_RESTORING] = {
		[SUP_EV_START] = NO("it is being resumed already"),
		[SUP_EV_STOP] = RESTORED,
		[SUP_EV_RESTART] = RESTORED,
		[SUP_EV_PAUSE] = RESTORED,
		[SUP_EV_RESUME] = NO("it is being resumed already"),
		[SUP_EV_SESSION] = RESTORED,
		[SUP_EV_DESTROY] = RESTORED,
		[SUP_EV_RENAME] = RESTORED,
		[SUP_EV_CONFIG] = STAY,
		[SUP_EV_SAVE] = RESTORED,
		[SUP_EV_RESTORE] = NO("it is being resumed already"),
		[SUP_EV_DISCARD] = RESTORED,
		[SUP_EV_CREATED] = LIE,
		[SUP_EV_STARTED] = GO(SUP_RUNNING),
		[SUP_EV_PAUSED] = LIE,
		[SUP_EV_RESUMED] = LIE,
		[SUP_EV_ENDING] = GO(SUP_STOPPING),
		[SUP_EV_ENDED] = GO(SUP_STOPPED),
		[SUP_EV_SUSPENDED] = GO(SUP_SUSPENDED),
	},
	[SUP_CREATING] = {
		[SUP_EV_START] = NOT_THERE,
		[SUP_EV_STOP] = NOT_THERE,
		[SUP_EV_RESTART] = NOT_THERE,
		[SUP_EV_PAUSE] = NOT_THERE,
		[SUP_EV_RESUME] = NOT_THERE,
		[SUP_EV_SESSION] = NOT_THERE,
		[SUP_EV_DESTROY] = NOT_THERE,
		[SUP_EV_RENAME] = NOT_THERE,
		[SUP_EV_CONFIG] = NOT_THERE,
		[SUP_EV_SAVE] = NOT_THERE,
		[SUP_EV_RESTORE] = NOT_THERE,
		[SUP_EV_DISCARD] = NOT_THERE,
		[SUP_EV_CREATED] = GO(SUP_STOPPED),
		[SUP_EV_STARTED] = LIE,
		[SUP_EV_PAUSED] = LIE,
		[SUP_EV_RESUMED] = LIE,
		[SUP_EV_ENDING] = LIE,
		[SUP_EV_ENDED] = LIE,
		[SUP_EV_SUSPENDED] = LIE,
	},
	[SUP_DESTROYING] = {
		[SUP_EV_START] = GOING,
		[SUP_EV_STOP] = GOING,
		[SUP_EV_RESTART] = GOING,
		[SUP_EV_PAUSE] = GOING,
		[SUP_EV_RESUME] = GOING,
		[SUP_EV_SESSION] = GOING,
		[SUP_EV_DESTROY] = JOIN,
		[SUP_EV_RENAME] = GOING,
		[SUP_EV_CONFIG] = GOING,
		[SUP_EV_SAVE] = GOING,
		[SUP_EV_RESTORE] = GOING,
		[SUP_EV_DISCARD] = GOING,
		[SUP_EV_CREATED] = LIE,
		[SUP_EV_STARTED] = LIE,
		[SUP_EV_PAUSED] = LIE,
		[SUP_EV_RESUMED] = LIE,
		[SUP_EV_ENDING] = LIE,
		[SUP_EV_ENDED] = LIE,
		[SUP_EV_SUSPENDED] = LIE,
	},
};
/* clang-format on */
static_assert(ARRAY_SIZE(rules) == SUP_STATE_COUNT, "each state has its row");

static const char *const state_names[] = {
	[SUP_STOPPED] = "stopped",   [SUP_STARTING] = "starting",   [SUP_RUNNING] = "running",
	[SUP_PAUSED] = "paused",     [SUP_SUSPENDED] = "suspended", [SUP_STOPPING] = "stopping",
	[SUP_SAVING] = "running",    [SUP_RESTORING] = "starting",
	[SUP_CREATING] = "stopped",  [SUP_DESTROYING] = "stopped",
};
static_assert(ARRAY_SIZE(state_names) == SUP_STATE_COUNT, "each state has its name");

static const char *const event_names[] = {
	[SUP_EV_START] = "start",     [SUP_EV_STOP] = "stop",       [SUP_EV_RESTART] = "restart",
	[SUP_EV_PAUSE] = "pause",     [SUP_EV_RESUME] = "resume",   [SUP_EV_SESSION] = "session",
	[SUP_EV_DESTROY] = "destroy", [SUP_EV_RENAME] = "rename",   [SUP_EV_CONFIG] = "set",
	[SUP_EV_SAVE] = "save",       [SUP_EV_RESTORE] = "restore", [SUP_EV_DISCARD] = "discard",
	[SUP_EV_CREATED] = "created", [SUP_EV_STARTED] = "started", [SUP_EV_PAUSED] = "paused",
	[SUP_EV_RESUMED] = "resumed", [SUP_EV_ENDING] = "ending",   [SUP_EV_ENDED] = "ended",
	[SUP_EV_SUSPENDED] = "suspended",
};
static_assert(ARRAY_SIZE(event_names) == SUP_EVENT_COUNT, "each event has its name");

const struct sup_rule *sup_rule(enum sup_state state, enum sup_event event)
{
	return &rules[state][event];
}

const char *sup_state_name(enum sup_state s)
{
	return state_names[s];
}

int sup_state_find(const char *name)
{
	for (int i = 0; i < SUP_SAVING; i++)
		if (STREQ(state_names[i], name))
			return i;
	return -1;
}

const char *sup_event_name(enum sup_event ev)
{
	return event_names[ev];
}
