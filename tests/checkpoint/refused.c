/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Built once an obstacle (WHAT): it is refused by name, and what has it runs on. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { TIMER = 1, SOCKET, BREAKING, NAMESPACE, FANOTIFY, DONTFORK, MOUNT };

static int ready[2];

static _Noreturn void stay(void)
{
	if (write(ready[1], "x", 1) == 1)
		for (;;)
			pause();
	_exit(1);
}

static void child(void)
{
	if (WHAT == NAMESPACE && unshare(CLONE_NEWUTS) == 0)
		stay();
	_exit(0);
}

int main(void)
{
	int fd;

	CHECK(pipe(ready) == 0);
	if (WHAT == BREAKING) {
		/* A lease that somebody wants to have ended. */
		close(open("/run/file", O_RDWR | O_CREAT, 0600));
		fd = open("/run/file", O_RDONLY);
		signal(SIGIO, SIG_IGN);
		CHECK(fcntl(fd, F_SETLEASE, F_RDLCK) == 0 && open("/run/file", O_WRONLY | O_NONBLOCK) < 0);
	}
	if (WHAT == SOCKET)
		socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */);
	if (WHAT == NAMESPACE && fork() == 0)
		child();
	if (WHAT == MOUNT)
		mount("none", "/tmp", "tmpfs", 0, NULL);
	if (WHAT == FANOTIFY)
		CHECK(fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY) >= 0);
	if (WHAT == DONTFORK)
		madvise(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096,
			MADV_DONTFORK);
	if (WHAT == NAMESPACE) {
		char c;

		CHECK(read(ready[0], &c, 1) == 1);
	}
	close(ready[0]);
	close(ready[1]);
	wait_for_restore();
	return done();
}
