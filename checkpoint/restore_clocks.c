/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The clocks of a VPS that is started before what its processes have seen last is known. */
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_phases.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#define LATE_MAX_NS 5000000000ull /* of which the VPS would stand still */

uint64_t restore_clocks_begin(int fd)
{
	struct pollfd comes = { .fd = fd, .events = POLLIN };

	while (poll(&comes, 1, -1) < 0 && errno == EINTR)
		;
	return now_monotonic_us();
}

static void begin_with(struct rt_restore *how, const Ckpt__Header *h, uint64_t at_us)
{
	how->monotonic_ns = (int64_t)h->monotonic_ns;
	how->boottime_ns = (int64_t)h->boottime_ns;
	how->at_us = at_us;
}

/* What was read last is known when the stream is whole. */
static int read_file(struct restore *r, struct rt_restore *how, struct err *e)
{
	struct ckpt_decoder *d = ckpt_decoder_new(r->reader, e);
	struct ckpt_record rec;
	int n = d ? ckpt_find(d, CKPT_REC_HEADER, &rec, e) : -ENOMEM;

	if (n > 0)
		begin_with(how, rec.message, 0);
	ckpt_decoder_free(d);
	return n;
}

/*
 * Ours go on with what the source's were when it sent the record behind the first one, and from when that first one had
 * not been read yet. The source has sent the second when it knew that the first had been (migrate/live.c): so they are
 * ahead, by the time in which it came to know that, and never behind, whatever kept the records, or us. A VPS takes that
 * for a part of the pause.
 */
int restore_clocks_read(struct restore *r, struct ckpt_record *rec, struct rt_restore *how, struct err *e)
{
	int n = 1;

	begin_with(how, rec->message, now_monotonic_us());
	n = ckpt_read(r->reader, rec, e);
	if (n > 0 && rec->type == CKPT_REC_PRECOPY) {
		begin_with(how, rec->message, r->comes_us);
		n = ckpt_read(r->reader, rec, e);
	}
	if (n == 0)
		return err_set(e, ERR_FAIL, "the image is damaged: no header");
	return n > 0 && r->total && read_file(r, how, e) < 0 ? -EBADMSG : n;
}

/* By how much a clock of the VPS is behind what was seen of it. */
static uint64_t behind(uint64_t now_us, int64_t offset, uint64_t seen_ns)
{
	uint64_t now = now_us * 1000 + (uint64_t)offset;

	return now < seen_ns ? seen_ns - now : 0;
}

int restore_clocks_check(struct restore *r, struct err *e)
{
	const Ckpt__Header *h = r->tree.header;
	int64_t offset[2];
	uint64_t late, boot;
	int n = ckpt_clock_offsets(r->procs[0].threads[0].tid, offset, e);

	if (n < 0)
		return n;
	late = behind(now_monotonic_us(), offset[0], h->monotonic_ns);
	boot = behind(now_boottime_us(), offset[1], h->boottime_ns);
	late = boot > late ? boot : late;
	if (late > LATE_MAX_NS)
		return err_set(e, ERR_FAIL, "the clocks of the VPS would go back by %llu ms",
			       (unsigned long long)late / 1000000);
	r->not_before_us = late ? now_monotonic_us() + late / 1000 + 1 : 0;
	return 0;
}

void restore_clocks_await(const struct restore *r)
{
	struct timespec until = { (time_t)(r->not_before_us / 1000000), (long)(r->not_before_us % 1000000 * 1000) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		continue;
}
