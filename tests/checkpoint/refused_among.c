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

/* It says that it is ready, and waits in a call that must go on where it was. */
static int stay(int odd, int looks)
{
	char c = 'x';
	size_t maps;

	if (odd && WHAT == PROCESS) { /* events that nobody reads */
		CHECK(fanotify_mark(fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY), FAN_MARK_ADD, FAN_OPEN,
				    AT_FDCWD, "/test") == 0);
		close(open("/test", O_RDONLY));
	}
	if (odd && WHAT == THREAD) /* in a nested user namespace: see main() */
		CHECK(unshare(CLONE_NEWUTS) == 0);
	maps = count_maps();
	CHECK(write(ready[1], &c, 1) == 1);
	CHECK(read(go[0], &c, 1) == 1 && c == 'g');
	CHECK(!looks || count_maps() == maps); /* nothing of what was begun is left */
	return guest_failed;
}

static void *thread(void *arg)
{
	stay(arg != NULL, 0);
	CHECK(write(ready[1], "x", 1) == 1);
	for (;;)
		pause();
	return NULL;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* A process of many threads; the first looks when all others are there. */
static int threads(void)
{
	pthread_t t[COUNT];
	char c;

	CHECK(unshare(CLONE_NEWUSER) == 0);
	put("/proc/self/setgroups", "deny");
	put("/proc/self/uid_map", "0 0 1");
	put("/proc/self/gid_map", "0 0 1");
	for (int i = 0; i < COUNT; i++)
		CHECK(pthread_create(&t[i], NULL, thread, i == ODD ? &t : NULL) == 0);
	stay(0, 1);
	for (int i = 0; i < COUNT; i++)
		CHECK(read(ready[0], &c, 1) == 1);
	return guest_failed;
}

int main(void)
{
	const int processes = WHAT == THREAD ? 1 : COUNT, all = WHAT == THREAD ? COUNT + 1 : COUNT;
	size_t maps;
	char c;

	CHECK(pipe(ready) == 0 && pipe(go) == 0);
	for (int i = 0; i < processes; i++)
		if (fork() == 0)
			_exit(WHAT == THREAD ? threads() : stay(i == ODD, 1));
	for (int i = 0; i < all; i++)
		CHECK(read(ready[0], &c, 1) == 1);
	maps = count_maps();
	wait_for_restore();
	CHECK(count_maps() == maps);
	for (int i = 0; i < all; i++)
		CHECK(write(go[1], "g", 1) == 1);
	for (int i = 0, status; i < processes; i++)
		CHECK(wait(&status) > 0 && status == 0);
	return done();
}
