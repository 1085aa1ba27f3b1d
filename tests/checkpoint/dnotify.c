/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Directories that are watched by fcntl(2), F_NOTIFY: for good with a signal of its own, once, by a child too through
 * the same open file, twice through two, beside an inotify.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static int watch(const char *dir, int signal, unsigned long mask)
{
	int fd;

	mkdir(dir, 0755);
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0 && fcntl(fd, F_SETSIG, signal) == 0 && fcntl(fd, F_NOTIFY, mask) == 0);
	return fd;
}

/* The fd that a signal tells of, which must be pending; -1: none. */
static int told(int signal)
{
	siginfo_t si;

	return take_signal(signal, &si) ? si.si_fd : -1;
}

static void touch(const char *path)
{
	close(open(path, O_CREAT | O_RDWR, 0600));
}

int main(void)
{
	int for_good, once, other, both, notify = inotify_init1(IN_NONBLOCK), go[2], ready[2], status;
	char text[256], c;
	sigset_t set;
	pid_t child;

	CHECK(pipe(go) == 0 && pipe(ready) == 0);
	sigemptyset(&set);
	for (int i = 0; i < 4; i++)
		sigaddset(&set, SIGRTMIN + i);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for_good = watch("/tmp/good", SIGRTMIN, DN_CREATE | DN_MULTISHOT);
	once = watch("/tmp/once", SIGRTMIN + 1, DN_CREATE | DN_DELETE);
	other = watch("/tmp/once", SIGRTMIN + 2, DN_DELETE | DN_MULTISHOT);
	both = watch("/root", SIGRTMIN + 3, DN_RENAME | DN_CREATE | DN_MULTISHOT);
	CHECK(inotify_add_watch(notify, "/root", IN_CREATE) == 1);
	child = fork();
	if (child == 0) {
		int own = watch("/tmp/child", SIGRTMIN, DN_CREATE | DN_MULTISHOT);

		CHECK(write(ready[1], "x", 1) == 1 && read(go[0], &c, 1) == 1);
		touch("/tmp/child/a");
		CHECK(told(SIGRTMIN) == own && told(SIGRTMIN) == -1);
		_exit(guest_failed);
	}
	CHECK(read(ready[0], &c, 1) == 1);
	wait_for_restore();
	CHECK(told(SIGRTMIN) == -1 && told(SIGRTMIN + 1) == -1 && told(SIGRTMIN + 2) == -1 && told(SIGRTMIN + 3) == -1);
	touch("/tmp/good/a");
	touch("/tmp/good/b");
	CHECK(told(SIGRTMIN) == for_good && told(SIGRTMIN) == for_good && told(SIGRTMIN) == -1);
	touch("/tmp/once/a");
	CHECK(told(SIGRTMIN + 1) == once && told(SIGRTMIN + 2) == -1);
	unlink("/tmp/once/a");
	CHECK(told(SIGRTMIN + 1) == -1 && told(SIGRTMIN + 2) == other);
	touch("/root/a");
	CHECK(told(SIGRTMIN + 3) == both && read(notify, text, sizeof(text)) > 0);
	CHECK(rename("/root/a", "/root/b") == 0 && told(SIGRTMIN + 3) == both);
	CHECK(fcntl(both, F_GETOWN) == 1);
	CHECK(write(go[1], "x", 1) == 1 && waitpid(child, &status, 0) == child && status == 0);
	return done();
}
