/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Four rings with as many requests that wait as may be saved: half of them polls, half of them time-outs of an hour. */
#include "tests/checkpoint/ring.h"

#include <poll.h>

#define RINGS 4
#define REQUESTS 4000
#define AT_ONCE 500

int main(void)
{
	static struct ring r[RINGS];
	struct __kernel_timespec hour = { 3600, 0 };
	struct utsname u;
	int major = 0, minor = 0, later[2];

	CHECK(uname(&u) == 0);
	if (sscanf(u.release, "%d.%d", &major, &minor) == 2 && major * 100 + minor < 613) { /* what waits is refused */
		wait_for_restore();
		return done();
	}
	CHECK(pipe(later) == 0);
	for (int i = 0; i < RINGS; i++) {
		set_up(&r[i], AT_ONCE, 0, REQUESTS);
		for (int n = 0; n < REQUESTS; n++) {
			struct io_uring_sqe *s = next(&r[i], n % 2 ? IORING_OP_TIMEOUT : IORING_OP_POLL_ADD, (uint64_t)n);

			s->fd = n % 2 ? -1 : later[0];
			s->poll32_events = n % 2 ? 0 : POLLIN;
			s->addr = n % 2 ? (uintptr_t)&hour : 0;
			s->len = n % 2;
			if (n % AT_ONCE == AT_ONCE - 1)
				submit(&r[i], 0);
		}
	}
	wait_for_restore();
	for (int i = 0; i < RINGS; i++)
		CHECK(waiting(&r[i]) == 0);
	CHECK(write(later[1], "x", 1) == 1);
	for (int i = 0; i < RINGS; i++) {
		char told[REQUESTS] = "";

		for (int n = 0; n < REQUESTS / 2; n++) {
			struct completion c = take(&r[i]);

			CHECK(c.user_data < REQUESTS && c.user_data % 2 == 0 && c.res == POLLIN && !told[c.user_data]++);
		}
		CHECK(waiting(&r[i]) == 0);
	}
	return done();
}
