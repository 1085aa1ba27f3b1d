/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/in.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/beside.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PACKETS_MAX (16u << 20) /* bytes of frames that wait for it to run */
#define LATE_MAX_US 300000000   /* then who moved it is done, whatever still comes: a pause may have been as long as half of it */
#define LAST_MAX_US 10000000 /* for the source to write one record; who asks later than that is answered for good */

/*
 * The monitor that puts the processes back knows a VPS by its name, so it gets that before it is ours.
 * Until then its record says that it is not (MIG_IS_PREPARED); vpsd throws it away when it finds it so.
 */
static int begin_image(struct mig_receiving *r, struct err *e)
{
	int ret = r->i->offer.live && storage_receive_is_whole(r->files) ? 0 : mig_in_bad(e);

	/* What comes from now on is little, and goes to the disk pass by pass. */
	if (ret == 0)
		ret = mig_in_sync(r, e);
	storage_receive_durable(r->files);
	if (ret == 0)
		ret = mig_in_write_config(r, e);
	r->i->report.state = MIG_IS_PREPARED;
	if (ret == 0)
		ret = mig_record_write(r->dir, &r->i->report, e);
	if (ret == 0)
		ret = mig_taken_prepare(r->i->lib, r->i->offer.id, r->i->offer.name, e);
	if (ret == 0)
		ret = mig_in_give_name(r->vps, r->entry, r->i->offer.name, e);
	if (ret < 0)
		return ret;
	r->named = true;
	r->image = r->i->arrival->image(r->i->ctx, e);
	return r->image < 0 ? r->image : 0;
}

int mig_in_image(struct mig_receiving *r, struct err *e)
{
	int ret;

	if (r->image < 0)
		return mig_in_bad(e);
	ret = fd_write_full(r->image, r->frame.data, r->frame.len);
	/* Why nobody reads any more, the monitor has said. */
	if (ret == -EPIPE)
		return r->i->arrival->prepared(r->i->ctx, e) < 0 ? -EPIPE : mig_in_bad(e);
	return ret < 0 ? err_code(e, ret, "pass the image on") : 0;
}

/* The monitor has taken all that it was passed, or reads no more. */
static int await_reader(struct mig_receiving *r, struct err *e)
{
	struct pollfd gone = { .fd = r->image };
	int left = 0;

	while (ioctl(r->image, FIONREAD, &left) == 0 && left && poll(&gone, 1, 0) == 0) {
		if (mig_in_told(r, "memory", r->c->received, 0))
			return err_set(e, ERR_CANCELLED, "cancelled");
		nanosleep(&(struct timespec){ 0, 100000 }, NULL);
	}
	return 0;
}

int mig_in_ready(struct mig_receiving *r, struct err *e)
{
	int ret = 0;

	if (!r->i->offer.live)
		return mig_in_bad(e);
	if (r->frame.type == MIG_BEGIN)
		ret = r->named ? mig_in_bad(e) : begin_image(r, e);
	else if (r->image >= 0)
		ret = await_reader(r, e);
	if (ret == 0)
		ret = mig_in_await_files(r, e);
	if (ret == 0)
		ret = mig_send(r->c, MIG_READY, NULL, 0, e);
	return ret < 0 ? ret : mig_flush(r->c, e);
}

/* Frames from the network, which are for a VPS that runs: kept as they came, each behind its length. */
int mig_in_keep_packet(struct mig_receiving *r, struct err *e)
{
	uint32_t len = (uint32_t)r->frame.len;
	int ret;

	if (!r->named || len < 2 || len > NETNS_FRAME_MAX + 1)
		return mig_in_bad(e);
	if (r->packets.len + len > PACKETS_MAX)
		return 0;
	ret = buf_add(&r->packets, &len, sizeof(len));
	if (ret == 0)
		ret = buf_add(&r->packets, r->frame.data, len);
	return ret < 0 ? err_code(e, ret, "keep a frame") : 0;
}

void mig_in_pass_packets(struct mig_receiving *r)
{
	const char *p = r->packets.data, *end = p + r->packets.len;
	uint32_t len;

	for (; p < end; p += len) {
		memcpy(&len, p, sizeof(len));
		p += sizeof(len);
		r->i->arrival->frame(r->i->ctx, (unsigned char)*p, p + 1, len - 1);
	}
	r->packets.len = 0;
}

/* A source of before does not say what its record does: our word then stays for good. */
static int hear(struct mig_receiving *r, struct err *e)
{
	int ret = mig_in_next(r, e);
	json_t *last = ret == 0 && r->frame.type == MIG_FRAMES ? json_loadb(r->frame.data, r->frame.len, 0, NULL) : NULL;

	if (json_is_true(json_object_get(last, "moved")))
		r->unasked = true;
	json_decref(last);
	return ret;
}

/* Those that came to the source after it had said that it is ours. It ends that itself, after some seconds. */
static void pass_late_packets(struct mig_receiving *r)
{
	struct err e;

	r->c->until_us = now_monotonic_us() + LATE_MAX_US;
	while (hear(r, &e) == 0 && r->frame.type == MIG_PACKET && mig_in_keep_packet(r, &e) == 0)
		mig_in_pass_packets(r);
	r->c->until_us = 0;
}

void mig_in_hear_last(struct mig_receiving *r)
{
	struct err e;

	r->c->until_us = now_monotonic_us() + LAST_MAX_US;
	hear(r, &e);
	r->c->until_us = 0;
}

static int write_record(void *receiving, struct err *e)
{
	struct mig_receiving *r = receiving;

	return mig_record_write(r->dir, &r->i->report, e);
}

/*
 * Beside each other: a busy disk can take seconds, and where a switch still leads to the source, what it asks its
 * neighbours when it begins to run (ARP) is answered there. The source waits no longer than it must for more frames.
 */
int mig_in_settle(struct mig_receiving *r, struct err *e)
{
	struct ckpt_job job;

	ckpt_job_start(&job, true, write_record, r);
	pass_late_packets(r);
	return ckpt_job_wait(&job, e);
}
