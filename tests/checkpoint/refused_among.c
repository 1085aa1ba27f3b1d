/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * As refused.c: one of many is refused, while others before and behind it are being collected (collect.c). WHAT is a
 * process among processes, or a thread among threads. All run on as they were.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/fanotify.h>
#include <sys/wait.h>

enum { PROCESS = 1, THREAD };

#define COUNT 12
#define ODD 6

static int ready[2], go[2];

static size_t count_maps(void)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	size_t lines = 0;
	char c;

	while (read(fd, &c, 1) == 1)
		lines += c == '\n';
	close(fd);
	return lines;
}

/* It says that it is ready, and waits in a call that must go on where it was. */
static int stay(int odd)
{
	char c = 'x';
	size_t maps;

	if (odd && WHAT == PROCESS) { /* events that nobody reads */
		CHECK(fanotify_mark(fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY), FAN_MARK_ADD, FAN_OPEN,
				    AT_FDCWD, "/test") == 0);
		close(open("/test", O_RDONLY));
	}
	if (odd && WHAT == THREAD)
		CHECK(unshare(CLONE_NEWNS) == 0);
	maps = count_maps();
	CHECK(write(ready[1], &c, 1) == 1);
	CHECK(read(go[0], &c, 1) == 1 && c == 'g');
	if (WHAT == PROCESS)
		CHECK(count_maps() == maps);
	return guest_failed;
}

static void *thread(void *arg)
{
	stay(arg != NULL);
	return NULL;
}

int main(void)
{
	pthread_t t[COUNT];
	size_t maps;
	char c;

	CHECK(pipe(ready) == 0 && pipe(go) == 0);
	for (int i = 0; i < COUNT; i++) {
		if (WHAT == THREAD)
			CHECK(pthread_create(&t[i], NULL, thread, i == ODD ? &t : NULL) == 0);
		else if (fork() == 0)
			_exit(stay(i == ODD));
	}
	for (int i = 0; i < COUNT; i++)
		CHECK(read(ready[0], &c, 1) == 1);
	maps = count_maps();
	wait_for_restore();
	CHECK(count_maps() == maps); /* nothing of what was begun is left */
	for (int i = 0; i < COUNT; i++)
		CHECK(write(go[1], "g", 1) == 1);
	for (int i = 0, status; i < COUNT; i++) {
		if (WHAT == THREAD)
			CHECK(pthread_join(t[i], NULL) == 0);
		else
			CHECK(wait(&status) > 0 && status == 0);
	}
	return done();
}
