/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/internal.h"

#include "base/macro.h"
#include "base/proc.h"

#include <string.h>

/* Frames from the network that come to the source for a VPS that is about to run elsewhere, or does by now. */

#define STRAYS_QUIET_MS 200      /* nobody sends to the old place any more */
#define STRAYS_MAX_US 3000000

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

/* Switches and routers go on sending here until they have learnt, or were told, where it is now. */
static int send_strays(struct mig_sending *s, struct err *e)
{
	uint64_t now = now_monotonic_us(), end = now + STRAYS_MAX_US;
	int r = 0;

	s->stray_us = now;
	while (r == 0 && now < end && now < s->stray_us + STRAYS_QUIET_MS * 1000) {
		int left = (int)((s->stray_us + STRAYS_QUIET_MS * 1000 - now) / 1000) + 1;

		if (netns_hold_wait(s->hold, left))
			r = netns_hold_take(s->hold, send_stray, s, e);
		if (r == 0)
			r = mig_flush(s->c, e);
		now = now_monotonic_us();
	}
	return r;
}

void mig_live_strays(struct mig_sending *s)
{
	struct err ignored;
	int r = s->hold ? send_strays(s, &ignored) : 0;

	if (r == 0 && mig_send(s->c, MIG_FRAMES, NULL, 0, &ignored) == 0)
		mig_flush(s->c, &ignored);
}
