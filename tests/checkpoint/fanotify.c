/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * fanotify, as a user namespace may have it: marks on files of the root, of tmpfs, on a directory and what is in it, on
 * a deleted file that is open, with events that are ignored; an epoll that waits for it; one that reports names.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <sys/stat.h>

static int make(const char *path)
{
	return open(path, O_RDWR | O_CREAT, 0600);
}

static void mark(int fd, unsigned how, uint64_t mask, const char *path)
{
	CHECK(fanotify_mark(fd, FAN_MARK_ADD | how, mask, AT_FDCWD, path) == 0);
}

/* All that is to be heard now. */
static uint64_t hears(int fd)
{
	char buf[4096] __attribute__((aligned(8)));
	uint64_t mask = 0;
	ssize_t n = read(fd, buf, sizeof(buf));

	CHECK(n > 0 || errno == EAGAIN);
	for (struct fanotify_event_metadata *m = (void *)buf; n > 0 && FAN_EVENT_OK(m, n); m = FAN_EVENT_NEXT(m, n))
		mask |= m->mask;
	return mask;
}

static void change(const char *path)
{
	int fd = open(path, O_WRONLY);

	CHECK(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
}

int main(void)
{
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK, O_RDONLY), gone,
	    epoll = epoll_create1(0);
	int names = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_NONBLOCK, O_RDONLY);
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 5 };

	CHECK(fd >= 0 && names >= 0);
	close(make("/root/plain"));
	close(make("/run/memory"));
	gone = make("/root/gone");
	mkdir("/root/dir", 0700);
	close(make("/root/dir/in"));
	mark(fd, 0, FAN_MODIFY | FAN_OPEN, "/root/plain");
	mark(fd, FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_OPEN, "/root/plain");
	mark(fd, 0, FAN_CLOSE_WRITE, "/run/memory");
	mark(fd, 0, FAN_MODIFY | FAN_EVENT_ON_CHILD, "/root/dir");
	mark(fd, 0, FAN_MODIFY, "/root/gone");
	CHECK(unlink("/root/gone") == 0);
	mark(names, FAN_MARK_ONLYDIR, FAN_CREATE | FAN_DELETE | FAN_ONDIR, "/root/dir");
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) == 0);
	hears(fd);
	wait_for_restore();
	CHECK(hears(fd) == 0 && hears(names) == 0 && epoll_wait(epoll, &ev, 1, 0) == 0);
	change("/root/plain");
	CHECK(epoll_wait(epoll, &ev, 1, 0) == 1 && ev.data.u64 == 5);
	CHECK(hears(fd) == FAN_MODIFY);
	change("/run/memory");
	CHECK(hears(fd) == FAN_CLOSE_WRITE);
	change("/root/dir/in");
	CHECK(hears(fd) == FAN_MODIFY);
	CHECK(write(gone, "x", 1) == 1 && hears(fd) == FAN_MODIFY);
	CHECK(mkdir("/root/dir/sub", 0700) == 0 && hears(names) == (FAN_CREATE | FAN_ONDIR));
	CHECK(hears(fd) == 0);
	return done();
}
