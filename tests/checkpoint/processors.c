/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The processors of threads: so few of them that a restore has them on its own one meanwhile. Each has what it had. */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

static cpu_set_t all, last;

static void check(const cpu_set_t *want)
{
	cpu_set_t now;

	CHECK(sched_getaffinity(0, sizeof(now), &now) == 0 && CPU_EQUAL(&now, want));
}

static void *bound(void *arg)
{
	CHECK(sched_setaffinity(0, sizeof(last), &last) == 0);
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg);
	check(&last);
	return NULL;
}

static pid_t bear(int from)
{
	pid_t pid = fork();
	char c;

	if (pid)
		return pid;
	CHECK(read(from, &c, 1) == 1);
	check(&all);
	_exit(guest_failed);
}

int main(void)
{
	pthread_barrier_t barrier;
	int pipes[2], status = -1, cpu = CPU_SETSIZE - 1;
	pthread_t t;
	pid_t child;

	CHECK(sched_getaffinity(0, sizeof(all), &all) == 0 && pipe(pipes) == 0);
	while (cpu > 0 && !CPU_ISSET(cpu, &all))
		cpu--;
	CPU_SET(cpu, &last);
	child = bear(pipes[0]);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&t, NULL, bound, &barrier);
	pthread_barrier_wait(&barrier);
	wait_for_restore();
	check(&all);
	pthread_barrier_wait(&barrier);
	pthread_join(t, NULL);
	CHECK(write(pipes[1], "", 1) == 1);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	return done();
}
