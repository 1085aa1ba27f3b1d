/* SPDX-License-Identifier: GPL-2.0-or-later */

/* eventfd, timerfd, signalfd, and epoll that watches them, under other numbers too; a thread asleep
 * in epoll_wait. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>

static int ep, ev;
static struct timespec began;

static void *waiter(void *arg)
{
	struct epoll_event e;
	int n = epoll_wait(ep, &e, 1, -1);

	CHECK(n == 1 && e.data.u64 == 0xabcdef0123456789);
	return arg;
}

int main(void)
{
	int sem = eventfd(5, EFD_SEMAPHORE | EFD_NONBLOCK), late, past, sig, ep2 = epoll_create1(EPOLL_CLOEXEC);
	struct itimerspec its = { { 0, 0 }, { 3000, 7 } }, now, tick = { { 0, 1000000 }, { 0, 1000000 } };
	struct epoll_event e = { EPOLLIN | EPOLLET, { .u64 = 0xabcdef0123456789 } }, got[4];
	struct timespec ts;
	uint64_t v, before;
	struct signalfd_siginfo si;
	pthread_t t;
	sigset_t set;

	clock_gettime(CLOCK_MONOTONIC, &began);
	ep = epoll_create1(0);
	ev = eventfd(0, EFD_CLOEXEC);
	epoll_ctl(ep, EPOLL_CTL_ADD, ev, &e);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sig = signalfd(-1, &set, SFD_CLOEXEC);
	late = timerfd_create(CLOCK_MONOTONIC, 0);
	timerfd_settime(late, 0, &its, NULL);
	past = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);
	timerfd_settime(past, 0, &tick, NULL);
	while (timerfd_gettime(past, &now) == 0 && read(past, &before, 8) != 8)
		;
	e = (struct epoll_event){ EPOLLIN, { .u64 = 2 } };
	epoll_ctl(ep2, EPOLL_CTL_ADD, sig, &e);
	e.data.u64 = 3;
	e.events = EPOLLIN | EPOLLONESHOT;
	epoll_ctl(ep2, EPOLL_CTL_ADD, past, &e);
	pthread_create(&t, NULL, waiter, NULL);
	wait_for_restore();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	CHECK(ts.tv_sec >= began.tv_sec && ts.tv_sec < began.tv_sec + 60);
	for (int i = 0; i < 5; i++)
		CHECK(read(sem, &v, 8) == 8 && v == 1);
	CHECK(read(sem, &v, 8) < 0 && errno == EAGAIN);
	CHECK(timerfd_gettime(late, &now) == 0 && now.it_value.tv_sec > 2900 && now.it_value.tv_sec <= 3000);
	CHECK(timerfd_gettime(past, &now) == 0 && now.it_interval.tv_nsec == 1000000);
	CHECK(epoll_wait(ep2, got, 4, 5000) == 1 && got[0].data.u64 == 3);
	CHECK(epoll_wait(ep2, got, 4, 0) == 0);
	raise(SIGUSR1);
	CHECK(epoll_wait(ep2, got, 4, 5000) == 1 && got[0].data.u64 == 2);
	CHECK(read(sig, &si, sizeof(si)) == sizeof(si) && si.ssi_signo == SIGUSR1);
	v = 7;
	CHECK(write(ev, &v, 8) == 8);
	CHECK(pthread_join(t, NULL) == 0);
	CHECK(read(ev, &v, 8) == 8 && v == 7);
	CHECK(fcntl(ev, F_GETFD) == FD_CLOEXEC && fcntl(ep, F_GETFD) == 0);
	return done();
}
