/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Timers of timer_create(2) with gaps in their numbers, of several clocks, that signal, signal a thread or
 * do nothing, set and not set, once and again and again; and short ones of setitimer(2), which ring while
 * everything is put back. */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

static volatile int rung, thread_rung, alarms;
static pid_t thread_tid;

static void on_rt(int sig, siginfo_t *si, void *context)
{
	(void)context;
	if (si->si_code != SI_TIMER || si->si_value.sival_int != 4711)
		return;
	if (sig == SIGRTMIN + 3)
		rung++;
	else if (syscall(SYS_gettid) == thread_tid)
		thread_rung++;
}

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

static void *thread(void *arg)
{
	thread_tid = (pid_t)syscall(SYS_gettid);
	*(volatile int *)arg = 1;
	for (;;)
		pause();
	return NULL;
}

/* A thousand signals with values, for a thread and for the process, that nobody has taken yet. */
static void queue(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 8);
	sigaddset(&set, SIGRTMIN + 9);
	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	for (int i = 0; i < 1000; i++) {
		union sigval v = { .sival_int = i };

		CHECK(sigqueue(getpid(), SIGRTMIN + 8, v) == 0);
		CHECK(pthread_sigqueue(pthread_self(), SIGRTMIN + 9, v) == 0);
	}
}

static void take(int sig)
{
	sigset_t set;
	siginfo_t si;

	sigemptyset(&set);
	sigaddset(&set, sig);
	for (int i = 0; i < 1000 && !guest_failed; i++) {
		while (sigwaitinfo(&set, &si) < 0 && errno == EINTR)
			;
		CHECK(si.si_signo == sig && si.si_code == SI_QUEUE && si.si_value.sival_int == i &&
		      si.si_pid == getpid());
	}
}

static timer_t make(clockid_t clock, int notify, int signal, pid_t tid)
{
	struct sigevent ev = { .sigev_notify = notify, .sigev_signo = signal };
	timer_t t;
	int id;

	ev.sigev_value.sival_int = 4711;
	ev._sigev_un._tid = tid;
	CHECK(syscall(SYS_timer_create, clock, &ev, &id) == 0);
	t = (timer_t)(long)id; /* NOLINT */
	return t;
}

static void set(timer_t t, long value_ms, long interval_ms)
{
	struct itimerspec v = { { interval_ms / 1000, interval_ms % 1000 * 1000000 },
				{ value_ms / 1000, value_ms % 1000 * 1000000 } };

	CHECK(syscall(SYS_timer_settime, t, 0, &v, NULL) == 0);
}

static long left_ms(timer_t t, long *interval_ms)
{
	struct itimerspec v;

	CHECK(syscall(SYS_timer_gettime, t, &v) == 0);
	*interval_ms = v.it_interval.tv_sec * 1000 + v.it_interval.tv_nsec / 1000000;
	return v.it_value.tv_sec * 1000 + v.it_value.tv_nsec / 1000000;
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_rt, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerval soon = { { 0, 3000 }, { 0, 2000 } };
	timer_t t[8], silent, cpu, gone, once, often, mine, last;
	volatile int up = 0;
	pthread_t p;
	long left, every;
	int before;

	sigaction(SIGRTMIN + 3, &sa, NULL);
	sigaction(SIGRTMIN + 4, &sa, NULL);
	signal(SIGALRM, on_alarm);
	queue();
	pthread_create(&p, NULL, thread, (void *)&up);
	while (!up)
		usleep(1000);
	for (int i = 0; i < 8; i++)
		t[i] = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
	silent = t[5];
	set(silent, 500000, 7000);
	for (int i = 0; i < 8; i++)
		if (i != 5 && i != 0)
			CHECK(syscall(SYS_timer_delete, t[i]) == 0);
	once = make(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN + 3, 0);
	often = make(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGRTMIN + 3, 0);
	mine = make(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGRTMIN + 4, thread_tid);
	cpu = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_NONE, 0, 0);
	gone = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
	CHECK(syscall(SYS_timer_delete, gone) == 0);
	set(once, 900000, 0);
	set(often, 2, 2);
	set(mine, 800000, 4);
	set(cpu, 700000, 0);
	setitimer(ITIMER_REAL, &soon, NULL);
	wait_for_restore();
	take(SIGRTMIN + 8);
	take(SIGRTMIN + 9);
	left = left_ms(silent, &every);
	CHECK(every == 7000 && left > 400000 && left <= 500000);
	left = left_ms(once, &every);
	CHECK(every == 0 && left > 800000 && left <= 900000);
	left = left_ms(mine, &every);
	CHECK(every == 4 && left > 700000 && left <= 800000);
	left = left_ms(cpu, &every);
	CHECK(every == 0 && left > 600000 && left <= 700000);
	left = left_ms(t[0], &every);
	CHECK(left == 0 && every == 0);
	before = rung;
	while (rung < before + 5)
		usleep(1000);
	before = alarms;
	while (alarms < before + 5)
		usleep(1000);
	CHECK(thread_rung == 0);
	set(mine, 1, 0);
	while (!thread_rung)
		usleep(1000);
	last = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
	CHECK(last != silent && last != once && last != often && last != mine && last != cpu);
	return done();
}
