/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_STEP_H
#define BASE_STEP_H

#include "base/err.h"

#include <stdbool.h>

/*
 * Kernel state that outlives a function (a cgroup, a link, a mount, a process) is made by a table
 * of steps. When one fails, those already done are undone in reverse. Each step is also a named
 * fault point "<table>.<step>", so that tests can make any of them fail or kill the process there.
 */

struct step {
	const char *name;
	int (*up)(void *ctx, struct err *e); /* NULL: nothing to do */
	void (*down)(void *ctx);             /* NULL: nothing to undo; must not fail */
};

struct step_table {
	const char *name;
	const struct step *steps;
	size_t count;
};

#define STEP_TABLE(ident, tname, arr) \
	const struct step_table ident = { .name = (tname), .steps = (arr), .count = ARRAY_SIZE(arr) }

/*
 * Runs all steps. On failure undoes what was done, newest first, and returns the negative errno
 * with *e as the failing step left it (undoing does not touch it). The step that failed must have
 * cleaned up after itself; its own down is not called.
 */
int steps_up(const struct step_table *t, void *ctx, struct err *e);

/* Undoes every step, last first. */
void steps_down(const struct step_table *t, void *ctx);

/*
 * A fault point outside a step table. The environment variable VPS_FAULT holds a comma-separated
 * list of "point:action"; the actions are `fail` (this function fills e and returns -EIO), `kill`
 * (SIGKILL to the calling process), `hang` (stops with SIGSTOP until continued). Without a match it
 * returns 0. `point` is formatted as "table.step"; steps also have "table.step.after", reached when
 * up has succeeded. VPS_FAULT_TRACE names a file that each point passed is appended to, a line each,
 * which is how tests know all the points there are.
 */
int fault_point(const char *table, const char *step, struct err *e);

/*
 * For tests: whether the environment variable VPS_WITHOUT, a comma-separated list, names this feature
 * of the kernel. Who asks does what it would do where the kernel has it not.
 */
bool without_feature(const char *name);

/*
 * A moment of which the time is to be known: appended to the file that VPS_TIMELINE names, if any, as
 * "TIME THREAD CPU POINT": CLOCK_REALTIME, the one clock that all namespaces share, and the thread's own processor
 * time since its point before, both in microseconds. bench/migrate --timeline shows them.
 */
void step_mark(const char *point);

#endif
