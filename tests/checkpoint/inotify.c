/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * inotify: watches on files of the root, of tmpfs and of control groups, under numbers with gaps; a deleted file that
 * is still open; a symbolic link; one that is watched once; a file of the template that was changed afterwards; a
 * file that only another mount namespace has; events that nobody has read; an epoll that waits for them; control
 * groups, of which each stop is told.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* The next event is this one. */
static bool hears(int fd, int wd, uint32_t mask, const char *name)
{
	_Alignas(8) char buf[512];
	const struct inotify_event *ev = (const void *)buf;
	ssize_t n = read(fd, buf, sizeof(struct inotify_event) + (*name ? 16 : 0));

	if (n < (ssize_t)sizeof(*ev) || ev->wd != wd || ev->mask != mask || strcmp(ev->len ? ev->name : "", name)) {
		dprintf(1, "heard %zd bytes: %d %#x, not %d %#x\n", n, ev->wd, ev->mask, wd, mask);
		return false;
	}
	return true;
}

static int make(const char *path)
{
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* A tmpfs that only it sees. */
static void elsewhere(int said, int go)
{
	int in = inotify_init1(IN_NONBLOCK), wd;
	char c;

	CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount("none", "/tmp", "tmpfs", 0, NULL) == 0 && mkdir("/tmp/own", 0700) == 0);
	wd = inotify_add_watch(in, "/tmp/own", IN_CREATE);
	CHECK(wd > 0 && write(said, "x", 1) == 1 && read(go, &c, 1) == 1);
	close(make("/tmp/own/new"));
	CHECK(hears(in, wd, IN_CREATE, "new"));
	_exit(guest_failed);
}

/* Of two groups, perhaps more than once, and nothing else. */
static void hears_of_groups(int fd, const int wd[2])
{
	const struct timespec moment = { 0, 1000000 };
	struct inotify_event ev;
	bool heard[2] = { false, false };

	/* The kernel may tell of a change some milliseconds after it. */
	for (int i = 0; i < 20000 && !(heard[0] && heard[1]); i++) {
		if (read(fd, &ev, sizeof(ev)) != sizeof(ev)) {
			nanosleep(&moment, NULL);
			continue;
		}
		CHECK(ev.mask == IN_MODIFY && (ev.wd == wd[0] || ev.wd == wd[1]));
		heard[ev.wd == wd[1]] = true;
	}
	CHECK(heard[0] && heard[1]);
	while (read(fd, &ev, sizeof(ev)) == sizeof(ev))
		CHECK(ev.mask == IN_MODIFY);
}

int main(void)
{
	int said[2], go[2], status;
	pid_t far;
	char c;
	int in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), busy = inotify_init1(IN_NONBLOCK), ep = epoll_create1(0);
	int groups = inotify_init1(IN_NONBLOCK), wd[2];
	int gap, dir, tmp, deleted, link, once, lower, first, fd, gone, len, proc;
	struct epoll_event e = { EPOLLIN, { .u64 = 9 } }, got;

	umask(0);
	CHECK(pipe(said) == 0 && pipe(go) == 0);
	CHECK(mkdir("/sys/fs/cgroup/watched", 0755) == 0);
	wd[0] = inotify_add_watch(groups, "/sys/fs/cgroup/cgroup.events", IN_MODIFY);
	wd[1] = inotify_add_watch(groups, "/sys/fs/cgroup/watched/cgroup.events", IN_MODIFY);
	far = fork();
	if (far == 0)
		elsewhere(said[1], go[0]);
	CHECK(read(said[0], &c, 1) == 1);
	gap = inotify_add_watch(in, "/tmp", IN_CREATE);
	CHECK(mkdir("/root/dir", 0700) == 0 && mkdir("/run/dir", 0755) == 0);
	dir = inotify_add_watch(in, "/root/dir", IN_CREATE | IN_MOVED_TO | IN_EXCL_UNLINK);
	tmp = inotify_add_watch(in, "/run/dir", IN_DELETE | IN_ONLYDIR);
	gone = make("/run/gone");
	deleted = inotify_add_watch(in, "/run/gone", IN_MODIFY);
	CHECK(unlink("/run/gone") == 0);
	CHECK(symlink("nowhere", "/root/link") == 0);
	link = inotify_add_watch(in, "/root/link", IN_ATTRIB | IN_DONT_FOLLOW);
	close(make("/root/once"));
	once = inotify_add_watch(in, "/root/once", IN_OPEN | IN_ONESHOT);
	lower = inotify_add_watch(in, "/test", IN_ATTRIB);
	CHECK(dir > 0 && tmp > 0 && deleted > 0 && link > 0 && once > 0 && lower > 0);
	CHECK(inotify_rm_watch(in, gap) == 0 && hears(in, gap, IN_IGNORED, ""));
	first = inotify_add_watch(busy, "/root/dir", IN_CREATE);
	close(make("/root/dir/lost"));
	CHECK(hears(in, dir, IN_CREATE, "lost"));
	epoll_ctl(ep, EPOLL_CTL_ADD, busy, &e);
	wait_for_restore();
	hears_of_groups(groups, wd);
	CHECK(ioctl(in, FIONREAD, &len) == 0 && len == 0);
	close(make("/root/dir/new"));
	CHECK(hears(in, dir, IN_CREATE, "new"));
	close(make("/run/dir/new"));
	CHECK(unlink("/run/dir/new") == 0 && hears(in, tmp, IN_DELETE, "new"));
	CHECK(write(gone, "x", 1) == 1 && hears(in, deleted, IN_MODIFY, ""));
	CHECK(lchown("/root/link", 5, 5) == 0 && hears(in, link, IN_ATTRIB, ""));
	fd = open("/root/once", O_RDONLY);
	close(fd);
	CHECK(hears(in, once, IN_OPEN, "") && hears(in, once, IN_IGNORED, ""));
	CHECK(chmod("/test", 0755) == 0 && hears(in, lower, IN_ATTRIB, ""));
	CHECK(ioctl(in, FIONREAD, &len) == 0 && len == 0);
	proc = inotify_add_watch(in, "/tmp", IN_CREATE);
	CHECK(proc > lower);
	CHECK(epoll_wait(ep, &got, 1, 0) == 1 && got.data.u64 == 9);
	CHECK(hears(busy, -1, IN_Q_OVERFLOW, ""));
	CHECK(hears(busy, first, IN_CREATE, "new"));
	CHECK(ioctl(busy, FIONREAD, &len) == 0 && len == 0);
	CHECK(write(go[1], "x", 1) == 1 && waitpid(far, &status, 0) == far && status == 0);
	return done();
}
