/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Processes and threads that start programs all the time, by vfork(2), with children that take their time
 * before they become another program: a parent that waits for one hears nobody. */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

static volatile int *stop, *started;

static void spawn(int slow)
{
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		if (slow)
			usleep(2000);
		execl("/test", "/test", "end", NULL);
		_exit(99);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 23);
	__sync_fetch_and_add(started, 1);
}

static void *spawn_all(void *arg)
{
	while (!*stop) {
		spawn(arg != NULL);
		usleep(500);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t;
	int before, status;

	(void)argv;
	if (argc > 1)
		return 23;
	stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	started = stop + 1;
	for (int i = 0; i < 2; i++)
		if (fork() == 0) {
			pthread_create(&t, NULL, spawn_all, i ? (void *)stop : NULL);
			spawn_all(NULL);
			pthread_join(t, NULL);
			_exit(guest_failed);
		}
	while (*started < 10)
		usleep(1000);
	wait_for_restore();
	before = *started;
	while (*started < before + 20)
		usleep(1000);
	*stop = 1;
	while (wait(&status) > 0)
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return done();
}
