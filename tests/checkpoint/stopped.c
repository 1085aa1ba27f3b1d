/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Processes that are stopped: by SIGSTOP with all threads, by a terminal's signal, in the midst of a call; one
 * whose parent knows it and one whose does not; they go on when they are told to. And those that went on before, of
 * one of which the parent has not heard that. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

static volatile int *counts; /* of each thread */
static volatile int told;

static void on_child(int sig)
{
	(void)sig;
	told++;
}

static void *count(void *arg)
{
	for (;;) {
		counts[(long)arg]++;
		usleep(100);
	}
	return NULL;
}

static _Noreturn void busy(void)
{
	pthread_t t;

	setpgid(0, 0);
	for (long i = 1; i < 4; i++)
		pthread_create(&t, NULL, count, (void *)i);
	count(NULL);
	_exit(0);
}

/* Stops itself as a shell's job does; its sleep was interrupted by that. */
static _Noreturn void job(void)
{
	struct timespec ts = { 0, 300000000 };

	setpgid(0, 0);
	counts[8] = 1;
	while (nanosleep(&ts, &ts) < 0)
		CHECK(errno == EINTR);
	_exit(guest_failed ? 1 : 31);
}

static char state_of(pid_t pid)
{
	char path[64], text[512] = "", *p;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	p = strrchr(text, ')');
	return p ? p[2] : '?';
}

/* Stopped and gone on again, of which the parent hears by signals alone. */
static pid_t go_on(int first)
{
	pid_t pid = fork();
	pthread_t t;

	if (pid == 0) {
		pthread_create(&t, NULL, count, (void *)(long)(first + 1));
		count((void *)(long)first);
	}
	while (!counts[first + 1])
		usleep(1000);
	told = 0;
	CHECK(kill(pid, SIGSTOP) == 0);
	while (told < 1)
		usleep(1000);
	CHECK(kill(pid, SIGCONT) == 0);
	while (told < 2)
		usleep(1000);
	return pid;
}

static bool goes_on_again(pid_t pid, int how)
{
	siginfo_t si = { 0 };

	CHECK(waitid(P_PID, (id_t)pid, &si, WCONTINUED | WNOHANG | how) == 0);
	return si.si_pid == pid && si.si_code == CLD_CONTINUED && si.si_status == SIGCONT;
}

static void end(pid_t pid)
{
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

int main(void)
{
	pid_t a, b, heard, unheard;
	siginfo_t si = { 0 };
	int status, before[4];

	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	a = fork();
	if (a == 0)
		busy();
	b = fork();
	if (b == 0)
		job();
	while (!counts[3] || !counts[8])
		usleep(1000);
	/* The signal comes after the state. */
	signal(SIGCHLD, on_child);
	CHECK(kill(a, SIGSTOP) == 0);
	while (told < 1)
		usleep(1000);
	CHECK(kill(b, SIGTSTP) == 0);
	while (told < 2)
		usleep(1000);
	heard = go_on(10);
	CHECK(goes_on_again(heard, 0));
	unheard = go_on(12);
	told = 0;
	CHECK(waitpid(b, &status, WUNTRACED) == b && WIFSTOPPED(status) &&
	      WSTOPSIG(status) == SIGTSTP);
	while (state_of(a) != 'T')
		usleep(1000);
	for (int i = 0; i < 4; i++)
		before[i] = counts[i];
	wait_for_restore();
	while (state_of(a) != 'T' || state_of(b) != 'T')
		usleep(1000);
	CHECK(told == 0);
	for (int i = 0; i < 4; i++)
		CHECK(counts[i] == before[i]);
	CHECK(!goes_on_again(heard, 0) && goes_on_again(unheard, WNOWAIT) && goes_on_again(unheard, 0) &&
	      !goes_on_again(unheard, 0) && !goes_on_again(b, 0));
	before[0] = counts[12];
	while (counts[12] == before[0])
		usleep(1000);
	before[0] = counts[0];
	end(heard);
	end(unheard);
	CHECK(waitid(P_PID, (id_t)b, &si, WSTOPPED | WNOHANG) == 0 && si.si_pid == 0);
	CHECK(waitid(P_PID, (id_t)a, &si, WSTOPPED | WNOHANG) == 0 && si.si_pid == a &&
	      si.si_status == SIGSTOP);
	CHECK(kill(a, SIGCONT) == 0 && kill(b, SIGCONT) == 0);
	CHECK(waitid(P_PID, (id_t)a, &si, WCONTINUED) == 0 && si.si_pid == a);
	for (int i = 0; i < 4; i++)
		while (counts[i] == before[i])
			usleep(1000);
	CHECK(kill(a, SIGKILL) == 0 && waitpid(a, &status, 0) == a);
	while (waitpid(b, &status, 0) < 0 && errno == EINTR)
		;
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 31);
	return done();
}
