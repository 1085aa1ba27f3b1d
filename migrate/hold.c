/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/hold.h"

#include "base/macro.h"

#include <unistd.h>

static int on_stopped(void *arg, struct err *e)
{
	struct mig_hold *h = arg;
	struct err ignored;

	(void)e;
	if (h->frames)
		netns_hold_begin(h->frames, &ignored);
	return 0;
}

static void on_going(void *arg)
{
	mig_hold_end(arg);
}

void mig_hold_open(struct mig_hold *h, const struct mig_source *v, struct ckpt_dump_options *o)
{
	struct err ignored;

	*h = (struct mig_hold){ 0 };
	if (access("/dev/net/tun", F_OK) < 0 ||
	    netns_hold_open(&v->network.host, &v->network.vps, &h->frames, &ignored) < 0)
		return;
	o->stopped = on_stopped;
	o->goes_on = on_going;
	o->stopped_arg = h;
}

void mig_hold_end(struct mig_hold *h)
{
	netns_hold_end(TAKE_PTR(h->frames), true);
}
