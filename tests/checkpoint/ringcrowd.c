/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Many threads, each with a ring for it alone (IORING_SETUP_DEFER_TASKRUN), which only that thread can serve. In each one
 * request is done by a thread of the kernel's, which only tells the one that asked when that comes by, and another waits. And a ring that all have open. */
#include "tests/checkpoint/ring.h"

#include <poll.h>
#include <pthread.h>

#define THREADS 40
#define ALONE (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

static pthread_barrier_t asked, restored;
static int later[2]; /* a pipe */

static void ask(struct ring *r, int fd, uint64_t data)
{
	struct io_uring_sqe *s = next(r, IORING_OP_POLL_ADD, data);

	s->fd = fd;
	s->poll32_events = POLLIN;
	submit(r, 0);
}

static void *own(void *arg)
{
	struct ring r = { 0 };
	struct completion c;

	(void)arg;
	set_up(&r, 2, ALONE, 0);
	ask(&r, later[0], 2);
	next(&r, IORING_OP_NOP, 1)->flags = IOSQE_ASYNC;
	submit(&r, 0);
	pthread_barrier_wait(&asked);
	pthread_barrier_wait(&restored);
	submit(&r, 1);
	c = take(&r);
	CHECK(c.user_data == 1 && c.res == 0 && waiting(&r) == 0);
	pthread_barrier_wait(&asked);
	submit(&r, 1);
	c = take(&r);
	CHECK(c.user_data == 2 && c.res == POLLIN);
	return NULL;
}

int main(void)
{
	static struct ring shared;
	pthread_t t[THREADS];
	struct utsname u;
	int major = 0, minor = 0;

	CHECK(uname(&u) == 0);
	if (sscanf(u.release, "%d.%d", &major, &minor) == 2 && major * 100 + minor < 613) { /* what waits is refused */
		wait_for_restore();
		return done();
	}
	CHECK(pipe(later) == 0);
	CHECK(pthread_barrier_init(&asked, NULL, THREADS + 1) == 0 && pthread_barrier_init(&restored, NULL, THREADS + 1) == 0);
	set_up(&shared, 2, 0, 0);
	ask(&shared, later[0], 3);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, own, NULL) == 0);
	pthread_barrier_wait(&asked);
	wait_for_restore();
	pthread_barrier_wait(&restored);
	pthread_barrier_wait(&asked);
	CHECK(write(later[1], "x", 1) == 1);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	submit(&shared, 1);
	CHECK(take(&shared).user_data == 3);
	return done();
}
