/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A list of calls is short, and a task that has to be woken on another processor takes ten times as long to begin one
 * (HACKING.md). So the engine and what it restores share a processor, as long as they would wait for each other anyway:
 * many tasks run their lists beside each other. All threads get their own processors when they are whole
 * (restore_registers()), what is born on the way inherits the one.
 */
#include "base/macro.h"
#include "checkpoint/restore_phases.h"

#define FEW 4 /* threads */

void restore_near_begin(const struct restore *r, struct restore_near *n)
{
	size_t threads = 0;
	cpu_set_t one;

	n->cpu = -1;
	for (size_t i = 0; i < r->tree.task_count; i++)
		threads += r->tree.tasks[i].thread_count;
	if (threads > FEW || r->early || sched_getaffinity(0, sizeof(n->usual), &n->usual) < 0)
		return;
	n->cpu = sched_getcpu();
	CPU_ZERO(&one);
	if (n->cpu >= 0 && n->cpu < CPU_SETSIZE)
		CPU_SET(n->cpu, &one);
	/* Not where the VPS has processors of its own. */
	if (sched_setaffinity(rt_init_pid(r->vps), sizeof(one), &one) < 0)
		n->cpu = -1;
	restore_near_return(n);
}

void restore_near_leave(const struct restore_near *n)
{
	if (n->cpu >= 0)
		sched_setaffinity(0, sizeof(n->usual), &n->usual);
}

void restore_near_return(const struct restore_near *n)
{
	cpu_set_t one;

	if (n->cpu < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET(n->cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}
