/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Actions, pending signals of process and thread with what they carry, their order, timers. */
#include "tests/checkpoint/guest.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile int got_usr1, got_alarm;

static void on_usr1(int sig, siginfo_t *si, void *ctx)
{
	(void)ctx;
	got_usr1 = sig == SIGUSR1 ? si->si_value.sival_int : -1;
}

static void on_alarm(int sig)
{
	(void)sig;
	got_alarm = 1;
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | SA_RESTART }, now;
	struct sigaction al = { .sa_handler = on_alarm };
	struct itimerval it = { { 3600, 5 }, { 7200, 0 } }, left, soon = { { 0, 0 }, { 0, 1000 } };
	union sigval v = { .sival_int = 4711 };
	struct timespec none = { 0, 0 };
	sigset_t set;
	siginfo_t si;

	sigaddset(&sa.sa_mask, SIGHUP);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGALRM, &al, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	for (int i = 0; i < 4; i++)
		sigaddset(&set, SIGRTMIN + i);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigqueue(getpid(), SIGUSR1, v);
	kill(getpid(), SIGTERM);
	for (int i = 0; i < 10; i++) {
		v.sival_int = i;
		sigqueue(getpid(), SIGRTMIN + 1, v);
	}
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGRTMIN + 2);
	setitimer(ITIMER_VIRTUAL, &it, NULL);
	wait_for_restore();
	CHECK(got_usr1 == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	for (int i = 0; i < 10; i++)
		CHECK(sigtimedwait(&set, &si, &none) == SIGRTMIN + 1 && si.si_value.sival_int == i &&
		      si.si_pid == 1 && si.si_code == SI_QUEUE);
	CHECK(sigtimedwait(&set, &si, &none) < 0 && errno == EAGAIN);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	CHECK(sigtimedwait(&set, &si, &none) == SIGRTMIN + 2 && si.si_code == SI_USER); /* libc says so of SI_TKILL */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	CHECK(sigtimedwait(&set, &si, &none) == SIGTERM && si.si_code == SI_USER);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	CHECK(got_usr1 == 4711);
	CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_sigaction == on_usr1 &&
	      (now.sa_flags & SA_RESTART) && sigismember(&now.sa_mask, SIGHUP));
	CHECK(sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_IGN);
	CHECK(getitimer(ITIMER_VIRTUAL, &left) == 0 && left.it_interval.tv_sec == 3600 &&
	      left.it_value.tv_sec > 7100 && left.it_value.tv_sec <= 7200);
	setitimer(ITIMER_REAL, &soon, NULL);
	while (!got_alarm)
		usleep(100);
	return done();
}
