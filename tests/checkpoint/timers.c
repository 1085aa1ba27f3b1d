/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * timerfds of all clocks: absolute and relative, periodic ones with expirations that nobody has read, due at
 * once and never, told of changes of the clock. None goes off early.
 */
#include "tests/checkpoint/guest.h"

#include <sys/timerfd.h>
#include <time.h>

static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME };
static struct {
	int soon, relative, periodic, over, idle;
	struct timespec due;
} of[3];

static struct timespec in(clockid_t clock, long ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += ms % 1000 * 1000000;
	t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static int timer(clockid_t clock, int flags, struct timespec value, long interval_ms)
{
	struct itimerspec its = { { interval_ms / 1000, interval_ms % 1000 * 1000000 }, value };
	int fd = timerfd_create(clock, TFD_CLOEXEC | TFD_NONBLOCK);

	CHECK(fd >= 0 && timerfd_settime(fd, flags, &its, NULL) == 0);
	return fd;
}

static bool is_before(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

int main(void)
{
	struct timespec second = { 1, 0 }, hour = { 3600, 0 }, moment = { 0, 1 }, t;
	struct itimerspec its;
	uint64_t n;

	for (int i = 0; i < 3; i++) {
		of[i].due = in(clocks[i], 1500);
		of[i].soon = timer(clocks[i], TFD_TIMER_ABSTIME | (i == 0 ? TFD_TIMER_CANCEL_ON_SET : 0), of[i].due, 0);
		of[i].relative = timer(clocks[i], 0, hour, 0);
		of[i].periodic = timer(clocks[i], 0, moment, 50);
		of[i].over = timer(clocks[i], TFD_TIMER_ABSTIME, second, 0);
		of[i].idle = timer(clocks[i], 0, (struct timespec){ 0, 0 }, 0);
	}
	/* Two expirations at least, one of which the kernel counts only when it is asked. */
	t = in(CLOCK_MONOTONIC, 120);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	wait_for_restore();
	for (int i = 0; i < 3; i++) {
		while (read(of[i].soon, &n, 8) != 8)
			CHECK(errno == EAGAIN);
		CHECK(n == 1 && clock_gettime(clocks[i], &t) == 0 && !is_before(t, of[i].due));
		CHECK(timerfd_gettime(of[i].relative, &its) == 0 && its.it_value.tv_sec > 3500 &&
		      its.it_value.tv_sec <= 3600);
		CHECK(read(of[i].periodic, &n, 8) == 8 && n >= 3);
		CHECK(timerfd_gettime(of[i].periodic, &its) == 0 && its.it_interval.tv_nsec == 50000000);
		CHECK(its.it_value.tv_sec == 0 && its.it_value.tv_nsec > 0 && its.it_value.tv_nsec <= 50000000);
		if (i > 0) /* of the others one second is past by now, or not */
			CHECK(timerfd_gettime(of[i].over, &its) == 0 && its.it_interval.tv_sec == 0);
		else
			CHECK(read(of[i].over, &n, 8) == 8 && n == 1 && read(of[i].over, &n, 8) < 0);
		CHECK(read(of[i].idle, &n, 8) < 0 && errno == EAGAIN);
	}
	return done();
}
