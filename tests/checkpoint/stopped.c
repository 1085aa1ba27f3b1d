/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Processes that are stopped: by SIGSTOP with all threads, by a terminal's signal, in the midst of a call; one
 * whose parent knows it and one whose does not; they go on when they are told to. */
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

int main(void)
{
	pid_t a, b;
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
