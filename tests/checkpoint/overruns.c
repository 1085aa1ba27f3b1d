/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Timers that ring again and again while their signal is pending: it is one signal, which says how often they have rung
 * since, and they ring on as they did; so do those whose signal was taken, of which timer_getoverrun(2) says what it
 * said.
 */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#define LONG 1000 /* seconds */

enum { OFTEN, OF_THREAD, LEGACY, RARE, TAKEN, COUNT };

static int timers[COUNT];
/* By the clock of the VPS, and of the day, which goes on during a stop as timers do. */
static struct timespec begun, day;
static volatile pid_t thread_tid;
static volatile int go, thread_done;

static int signal_of(int i)
{
	return i == LEGACY ? SIGUSR2 : SIGRTMIN + 2 + i;
}

static void make(int i, clockid_t clock, pid_t tid)
{
	struct sigevent ev = { .sigev_notify = tid ? SIGEV_THREAD_ID : SIGEV_SIGNAL, .sigev_signo = signal_of(i) };

	ev.sigev_value.sival_int = 100 + i;
	ev._sigev_un._tid = tid;
	CHECK(syscall(SYS_timer_create, clock, &ev, &timers[i]) == 0);
}

static void ring_every_10ms(int i)
{
	struct itimerspec v = { { 0, 10000000 }, { 0, 10000000 } };

	CHECK(syscall(SYS_timer_settime, timers[i], 0, &v, NULL) == 0);
}

/* Began five intervals and a half ago. */
static void ring_rarely(int i)
{
	struct itimerspec v = { { LONG, 0 }, { 0, 0 } };

	clock_gettime(CLOCK_REALTIME, &v.it_value);
	v.it_value.tv_sec -= LONG * 5 + LONG / 2;
	CHECK(syscall(SYS_timer_settime, timers[i], TIMER_ABSTIME, &v, NULL) == 0);
}

static bool is_pending(int i)
{
	sigset_t set;

	return sigpending(&set) == 0 && sigismember(&set, signal_of(i)) == 1;
}

static void take(int i, siginfo_t *si)
{
	if (!take_signal(signal_of(i), si) || si->si_code != SI_TIMER || si->si_value.sival_int != 100 + i ||
	    si->si_timerid != timers[i]) {
		dprintf(1, "failed: the signal of timer %d\n", i);
		guest_failed = 1;
	}
}

/* How often what rings every 10 ms may have since the beginning. */
static long rings(clockid_t clock, const struct timespec *since)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (now.tv_sec - since->tv_sec) * 100 + (now.tv_nsec - since->tv_nsec) / 10000000;
}

static long before;

/* No more of them, when it does not ring any more. */
static void check_often(int i)
{
	struct itimerspec none = { 0 };
	siginfo_t si = { 0 };
	long after;

	take(i, &si);
	after = rings(CLOCK_REALTIME, &day);
	if (si.si_overrun < before - 1 || si.si_overrun > after)
		dprintf(1, "# timer %d: %d, of %ld to %ld\n", i, si.si_overrun, before, after);
	CHECK(si.si_overrun >= before - 1 && si.si_overrun <= after);
	CHECK(syscall(SYS_timer_getoverrun, timers[i]) == si.si_overrun);
	while (!is_pending(i))
		usleep(1000);
	CHECK(syscall(SYS_timer_settime, timers[i], 0, &none, NULL) == 0);
	take_signal(signal_of(i), &si); /* Linux 6.13 takes it away itself */
	CHECK(!take_signal(signal_of(i), &si));
}

static void *thread(void *arg)
{
	thread_tid = (pid_t)syscall(SYS_gettid);
	while (!go)
		usleep(1000);
	check_often(OF_THREAD);
	thread_done = 1;
	return arg;
}

static void check_left(int i)
{
	struct itimerspec v;

	CHECK(syscall(SYS_timer_gettime, timers[i], &v) == 0);
	CHECK(v.it_interval.tv_sec == LONG && v.it_value.tv_sec > LONG / 2 - 300 && v.it_value.tv_sec <= LONG / 2);
}

int main(void)
{
	siginfo_t si;
	sigset_t set;
	pthread_t t;

	sigemptyset(&set);
	for (int i = 0; i < COUNT; i++)
		sigaddset(&set, signal_of(i));
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_create(&t, NULL, thread, NULL);
	while (!thread_tid)
		usleep(1000);
	make(OFTEN, CLOCK_MONOTONIC, 0);
	make(OF_THREAD, CLOCK_BOOTTIME, thread_tid);
	make(LEGACY, CLOCK_MONOTONIC, 0);
	make(RARE, CLOCK_REALTIME, 0);
	make(TAKEN, CLOCK_REALTIME, 0);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	clock_gettime(CLOCK_REALTIME, &day);
	ring_every_10ms(OFTEN);
	ring_every_10ms(OF_THREAD);
	ring_every_10ms(LEGACY);
	ring_rarely(RARE);
	ring_rarely(TAKEN);
	while (rings(CLOCK_MONOTONIC, &begun) < 30 || !is_pending(TAKEN) || !is_pending(RARE))
		usleep(1000);
	take(TAKEN, &si);
	CHECK(si.si_overrun == 5);
	before = rings(CLOCK_MONOTONIC, &begun);
	wait_for_restore();
	check_often(OFTEN);
	check_often(LEGACY);
	go = 1;
	while (!thread_done)
		usleep(1000);
	CHECK(syscall(SYS_timer_getoverrun, timers[TAKEN]) == 5 && !is_pending(TAKEN));
	check_left(TAKEN);
	check_left(RARE);
	take(RARE, &si);
	CHECK(si.si_overrun == 5 && !take_signal(signal_of(RARE), &si));
	check_left(RARE);
	return done();
}
