/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The VPS's control groups, which need its name alone and take as long to make as an image's records take to be read:
 * a thread of ours makes them meanwhile. */
#include "base/macro.h"
#include "checkpoint/beside.h"
#include "checkpoint/restore_phases.h"

#include <errno.h>
#include <stdlib.h>

struct restore_ahead {
	const struct rt_spec *spec;
	pthread_t thread;
	bool running;
	struct rt_vps *made;
	struct err error;
};

static void *make(void *arg)
{
	struct restore_ahead *a = arg;

	a->made = rt_prepare(a->spec->name, a->spec->cgroup_parent, &a->error);
	return NULL;
}

int restore_ahead_begin(struct restore *r, const struct rt_spec *spec, struct rt_vps *prepared, struct err *e)
{
	struct restore_ahead *a = calloc(1, sizeof(*a));
	struct err ignored;

	if (!a) {
		rt_prepare_undo(prepared, &ignored);
		return err_code(e, -ENOMEM, "restore");
	}
	a->spec = spec;
	a->made = prepared;
	r->ahead = a;
	if (!prepared)
		a->running = ckpt_beside(&a->thread, make, a);
	if (!prepared && !a->running)
		make(a);
	return 0;
}

static void await(struct restore_ahead *a)
{
	if (a->running)
		pthread_join(a->thread, NULL);
	a->running = false;
}

int restore_ahead_take(struct restore *r, struct rt_vps **ret, struct err *e)
{
	struct restore_ahead *a = r->ahead;

	await(a);
	*ret = TAKE_PTR(a->made);
	if (*ret)
		return 0;
	*e = a->error;
	return err_errno((enum err_status)e->code);
}

void restore_ahead_done(struct restore *r)
{
	struct restore_ahead *a = TAKE_PTR(r->ahead);
	struct err ignored;

	if (!a)
		return;
	await(a);
	rt_prepare_undo(a->made, &ignored);
	free(a);
}
