/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_HOLD_H
#define MIGRATE_HOLD_H

#include "checkpoint/dump.h"
#include "migrate/move.h"
#include "netns/hold.h"

/*
 * Frames to a VPS that stands for a moment and goes on here. A look at its connections keeps frames from
 * them, and who is not answered waits for 200 ms before it sends again: so frames are held as long as the VPS stands.
 */
struct mig_hold {
	struct netns_hold *frames; /* NULL: it has no links, or this host cannot keep frames */
};

/* Sets `stopped` and `goes_on` of the options; nothing is held before the stop. What cannot be held is lost, and
 * that is no failure. `h` stays where it is as long as the options are used. */
void mig_hold_open(struct mig_hold *h, const struct mig_source *v, struct ckpt_dump_options *o);
/* It runs, or is gone: what was held goes to it. More than once does no harm. */
void mig_hold_end(struct mig_hold *h);

#endif
