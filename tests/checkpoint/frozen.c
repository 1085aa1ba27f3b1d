/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Control groups that are frozen from inside, one in another, one empty, one that only its parent freezes; in them
 * what runs, with threads, sleeps, waits, is stopped. Nothing of it runs before it is thawed, and then all of it.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define TOP "/sys/fs/cgroup/top"

enum who { RUNS, THREADS, SLEEPS, WAITS, STOPPED, NESTED, BELOW, COUNT };

static const char *const groups[COUNT] = {
	[RUNS] = TOP, [THREADS] = TOP, [SLEEPS] = TOP, [WAITS] = TOP, [STOPPED] = TOP, [NESTED] = TOP "/inner",
	[BELOW] = TOP "/below",
};

static struct shared {
	volatile long counts[COUNT + 2];
	volatile int go;
} *shared;

static void put(const char *group, const char *file, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	fd = open(path, O_WRONLY);
	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static bool says(const char *group, const char *file, const char *what)
{
	char path[128], text[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, what) != NULL;
}

static void *count(void *arg)
{
	volatile long *n = arg;

	while (!shared->go)
		(*n)++;
	return NULL;
}

static _Noreturn void play(enum who i)
{
	volatile long *n = &shared->counts[i];
	pthread_t t[2];
	int ep;

	put(groups[i], "cgroup.procs", "0");
	if (i == THREADS)
		for (int k = 0; k < 2; k++)
			pthread_create(&t[k], NULL, count, (void *)(uintptr_t)&shared->counts[COUNT + k]);
	if (i == STOPPED)
		raise(SIGSTOP);
	if (i == SLEEPS)
		while (!shared->go) {
			(*n)++;
			nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
		}
	if (i == WAITS) {
		ep = epoll_create1(0);
		while (!shared->go) {
			(*n)++;
			CHECK(epoll_wait(ep, &(struct epoll_event){ 0 }, 1, 1) == 0);
		}
	}
	count((void *)(uintptr_t)n);
	for (int k = 0; i == THREADS && k < 2; k++)
		pthread_join(t[k], NULL);
	_exit(guest_failed);
}

static void await_frozen(const char *group)
{
	for (int i = 0; i < 5000 && !says(group, "cgroup.events", "frozen 1"); i++)
		usleep(1000);
	CHECK(says(group, "cgroup.events", "frozen 1"));
}

static bool all_counted(const long *than)
{
	for (int i = 0; i < COUNT + 2; i++)
		if (i != STOPPED && shared->counts[i] <= than[i])
			return false;
	return true;
}

static const struct timespec tick = { 0, 20000000 };

int main(void)
{
	long was[COUNT + 2] = { 0 };
	pid_t pids[COUNT];
	int status;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(mkdir(TOP, 0755) == 0 && mkdir(TOP "/inner", 0755) == 0 && mkdir(TOP "/below", 0755) == 0);
	CHECK(mkdir("/sys/fs/cgroup/empty", 0755) == 0 && mkdir("/sys/fs/cgroup/running", 0755) == 0);
	for (int i = 0; i < COUNT; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			play((enum who)i);
	}
	CHECK(waitpid(pids[STOPPED], &status, WUNTRACED) == pids[STOPPED] && WIFSTOPPED(status));
	while (!all_counted(was))
		nanosleep(&tick, NULL);
	put("/sys/fs/cgroup/empty", "cgroup.freeze", "1");
	put(TOP "/inner", "cgroup.freeze", "1");
	await_frozen(TOP "/inner");
	put(TOP, "cgroup.freeze", "1");
	await_frozen(TOP);
	memcpy(was, (const void *)(uintptr_t)shared->counts, sizeof(was));
	wait_for_restore();
	nanosleep(&tick, NULL);
	/* An engine that is killed lets them run for a moment. */
	if (strcmp(guest_line, "on") != 0)
		CHECK(memcmp(was, (const void *)(uintptr_t)shared->counts, sizeof(was)) == 0);
	CHECK(says(TOP, "cgroup.freeze", "1") && says(TOP "/inner", "cgroup.freeze", "1"));
	CHECK(says(TOP "/below", "cgroup.freeze", "0") && says("/sys/fs/cgroup/running", "cgroup.freeze", "0"));
	CHECK(says("/sys/fs/cgroup/empty", "cgroup.freeze", "1"));
	await_frozen(TOP "/below");
	put(TOP, "cgroup.freeze", "0");
	while (shared->counts[RUNS] == was[RUNS])
		nanosleep(&tick, NULL);
	await_frozen(TOP "/inner");
	if (strcmp(guest_line, "on") != 0)
		CHECK(shared->counts[NESTED] == was[NESTED] && shared->counts[STOPPED] == 0);
	put(TOP "/inner", "cgroup.freeze", "0");
	while (!all_counted(was))
		nanosleep(&tick, NULL);
	kill(pids[STOPPED], SIGCONT);
	while (!shared->counts[STOPPED])
		nanosleep(&tick, NULL);
	shared->go = 1;
	for (int i = 0; i < COUNT; i++)
		CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
	return done();
}
