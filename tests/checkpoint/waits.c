/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Calls with time-outs that the kernel goes on with by itself (restart_syscall(2)): whoever waits in one goes
 * on waiting, however often it was stopped before, and is woken by what it waits for. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#define COUNT 8

static volatile int returned[COUNT], word[3];
static pthread_t thread[COUNT];
static int ends[2];

static void *wait_in(void *arg)
{
	struct timespec ts = { 5000, 0 }, rest = { 0, 0 };
	struct pollfd p = { ends[0], POLLIN, 0 };
	long me = (long)arg, r = -2;

	switch (me) {
	case 0:
		r = nanosleep(&ts, &ts);
		break;
	case 1:
		r = nanosleep(&ts, &rest);
		break;
	case 2:
		r = clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		break;
	case 3:
		r = poll(&p, 1, 5000000);
		break;
	case 4:
		r = poll(NULL, 0, 5000000);
		break;
	case 5:
		r = syscall(SYS_futex, &word[0], FUTEX_WAIT, 0, &ts, NULL, 0);
		break;
	case 6:
		r = syscall(SYS_futex, &word[1], FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);
		break;
	case 7:
		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_sec += 5000;
		r = syscall(SYS_futex, &word[2], FUTEX_WAIT_BITSET, 0, &ts, NULL, FUTEX_BITSET_MATCH_ANY);
		break;
	}
	returned[me] = r < 0 ? errno + 1 : 1;
	return NULL;
}

/* Until the thread sleeps. */
static void await(long i)
{
	char path[64], text[512], *p;

	for (;;) {
		int fd;
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)(getpid() + 1 + i));
		fd = open(path, O_RDONLY);
		n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = '\0';
		p = strrchr(text, ')');
		if (p && p[2] == 'S')
			return;
		usleep(1000);
	}
}

int main(void)
{
	CHECK(pipe(ends) == 0);
	for (long i = 0; i < COUNT; i++) {
		pthread_create(&thread[i], NULL, wait_in, (void *)i);
		await(i);
	}
	wait_for_restore();
	usleep(20000);
	for (int i = 0; i < COUNT; i++) {
		if (returned[i])
			dprintf(1, "failed: call %d has returned %d\n", i, returned[i] - 1);
		CHECK(returned[i] == 0);
	}
	CHECK(write(ends[1], "x", 1) == 1);
	for (int i = 0; i < 3; i++) {
		word[i] = 1;
		CHECK(syscall(SYS_futex, &word[i], i == 1 ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE, 1, NULL,
			      NULL, 0) == 1);
	}
	pthread_join(thread[3], NULL);
	pthread_join(thread[5], NULL);
	pthread_join(thread[6], NULL);
	pthread_join(thread[7], NULL);
	CHECK(returned[3] == 1 && returned[5] == 1 && returned[6] == 1 && returned[7] == 1);
	CHECK(returned[0] == 0 && returned[1] == 0 && returned[2] == 0 && returned[4] == 0);
	return done();
}
