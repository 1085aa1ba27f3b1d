/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Time-outs of io_uring that end while all is stopped and their list is read, thousands of them, and nobody takes note
 * before they have: each has a request that follows it, and in all they take longer than is waited for a single one.
 */
#include "tests/checkpoint/ring.h"

#define MANY 4000u
#define STEP_NS 400000ull

static struct ring ring;
static struct __kernel_timespec when[MANY];

static void start(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		uint64_t ns = (i + 1) * STEP_NS;
		struct io_uring_sqe *s = next(&ring, IORING_OP_TIMEOUT, (uint64_t)-ETIME);

		when[i] = (struct __kernel_timespec){ (long long)(ns / 1000000000), (long long)(ns % 1000000000) };
		s->addr = (uintptr_t)&when[i];
		s->len = 1;
		s->flags = IOSQE_IO_HARDLINK;
		next(&ring, IORING_OP_NOP, 0);
	}
	submit(&ring, 0);
}

int main(void)
{
	set_up(&ring, 2 * MANY, 0, 0);
	start();
	wait_for_restore();
	for (unsigned i = 0; i < 2 * MANY; i++) {
		struct completion c = take(&ring);

		CHECK(c.res == (int32_t)c.user_data);
	}
	return done();
}
