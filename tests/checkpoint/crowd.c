/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Many processes: some forked by others, some with threads, some that are another program. Each has memory, open files
 * and an action of its own, which must be there afterwards.
 */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#ifndef CROWD
#define CROWD 300
#endif
#define EACH 10 /* of which one begins the others */

static int own;            /* each has its number there */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void ring(int sig)
{
	(void)sig;
}

static void *wait_at_gate(void *arg)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return arg;
}

/* Until nobody can write to `go` any more. */
static void stay(int go, int told, int number)
{
	int *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int pair[2], got = 0;
	char c;

	CHECK(page != MAP_FAILED && pipe2(pair, O_CLOEXEC) == 0 && write(pair[1], &number, sizeof(number)) == sizeof(number));
	page[1500] = own = number;
	signal(SIGUSR1, number % 2 ? ring : SIG_IGN);
	CHECK(write(told, "", 1) == 1);
	close(told);
	while (read(go, &c, 1) < 0 && errno == EINTR)
		;
	CHECK(own == number && page[1500] == number && page[0] == 0);
	CHECK(read(pair[0], &got, sizeof(got)) == sizeof(got) && got == number);
	CHECK((signal(SIGUSR1, SIG_DFL) == ring) == (number % 2));
}

static void stay_with_threads(int go, int told, int number)
{
	pthread_t t[2];

	pthread_mutex_lock(&gate);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&t[i], NULL, wait_at_gate, NULL) == 0);
	stay(go, told, number);
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
}

static bool reap(int count)
{
	bool good = true;
	int status;

	for (; count > 0; count--)
		good = wait(&status) > 0 && status == 0 && good;
	return good;
}

/* One and those that it begins. */
static int begin_some(int go, int told, int first, int last)
{
	int begun = 0;

	for (int i = first + 1; i < last; i++, begun++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid != 0)
			continue;
		if (i % EACH == 3)
			stay_with_threads(go, told, i);
		else
			stay(go, told, i);
		_exit(guest_failed);
	}
	stay(go, told, first);
	CHECK(reap(begun));
	return guest_failed;
}

static void run_again(int go, int told, int first)
{
	char text[3][16];

	snprintf(text[0], sizeof(text[0]), "%d", go);
	snprintf(text[1], sizeof(text[1]), "%d", told);
	snprintf(text[2], sizeof(text[2]), "%d", first);
	execl("/proc/self/exe", "crowd", text[0], text[1], text[2], (char *)NULL);
	_exit(1);
}

int main(int argc, char **argv)
{
	int go[2], told[2], begun = 0;
	char c;

	if (argc == 4)
		return begin_some(atoi(argv[1]), atoi(argv[2]), atoi(argv[3]), atoi(argv[3]) + EACH);
	CHECK(pipe(go) == 0 && pipe(told) == 0);
	for (int i = 0; i < CROWD; i += EACH, begun++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid != 0)
			continue;
		close(go[1]);
		close(told[0]);
		if (i / EACH % 2)
			run_again(go[0], told[1], i);
		_exit(begin_some(go[0], told[1], i, i + EACH));
	}
	close(told[1]);
	for (int i = 0; i < CROWD; i++)
		CHECK(read(told[0], &c, 1) == 1);
	wait_for_restore();
	close(go[1]);
	CHECK(reap(begun));
	return done();
}
