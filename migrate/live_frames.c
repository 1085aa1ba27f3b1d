/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/internal.h"

#include "base/macro.h"
#include "base/proc.h"

#include <string.h>

/* Frames from the network that come to the source for a VPS that is about to run elsewhere, or does by now. */

#define STRAYS_QUIET_US 300000 /* beyond what the pause was: nobody sends to the old place any more */
#define STRAYS_MAX_US 3000000  /* beyond that, whoever sends */

static int send_frame(void *ctx, unsigned i, const void *frame, size_t len, struct err *e)
{
	struct mig_sending *s = ctx;
	unsigned char packet[1 + NETNS_FRAME_MAX];

	packet[0] = (unsigned char)i;
	memcpy(packet + 1, frame, len);
	return mig_send(s->c, MIG_PACKET, packet, len + 1, e);
}

int mig_live_frames(struct mig_sending *s, struct err *e)
{
	return s->hold ? netns_hold_take(s->hold, send_frame, s, e) : 0;
}

/* What is for everybody on the network gets there by itself. */
static int send_stray(void *ctx, unsigned i, const void *frame, size_t len, struct err *e)
{
	struct mig_sending *s = ctx;

	if (len < 6 || (*(const unsigned char *)frame & 1))
		return 0;
	s->stray_us = now_monotonic_us();
	return send_frame(ctx, i, frame, len, e);
}

/*
 * Switches and routers go on sending here until they have learnt, or were told, where it is now. Who was not
 * answered during the pause doubles each time what it waits before it sends once more (RFC 6298, 5.5): so the next
 * gap is as long as the whole time before it, and the first wait (200 ms and somewhat in Linux).
 */
static uint64_t quiet_us(const struct mig_sending *s)
{
	return s->o->report.pause_us + STRAYS_QUIET_US;
}

static int send_strays(struct mig_sending *s, struct err *e)
{
	uint64_t now = now_monotonic_us(), end = now + quiet_us(s), last = end + STRAYS_MAX_US;
	int r = 0;

	while (r == 0 && now < end && now < last) {
		if (end > last)
			end = last;
		if (netns_hold_wait(s->hold, (int)((end - now) / 1000) + 1))
			r = netns_hold_take(s->hold, send_stray, s, e);
		if (r == 0)
			r = mig_flush(s->c, e);
		if (s->stray_us >= now)
			end = s->stray_us + quiet_us(s);
		now = now_monotonic_us();
	}
	return r;
}

void mig_live_strays(struct mig_sending *s, bool moved)
{
	struct err ignored;
	int r = s->hold ? send_strays(s, &ignored) : 0;

	if (r == 0 && moved)
		mig_out_will_not_ask(s);
	else if (r == 0 && mig_send(s->c, MIG_FRAMES, NULL, 0, &ignored) == 0)
		mig_flush(s->c, &ignored);
}
