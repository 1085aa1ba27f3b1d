/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Files that show the system: of processes that are there, have ended, and of itself; lists of mounts that
 * are waited for; sysctls, /sys, control groups. pidfds of processes that live and that have ended. Places
 * (O_PATH) of files, directories and links. Some in a mount namespace of its own.
 */
#include "tests/checkpoint/guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static bool shows(int fd, const char *what)
{
	static char text[65536];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return n > 0 && strstr(text, what);
}

static int proc(pid_t pid, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return open(path, flags | O_CLOEXEC);
}

/* Files that are nowhere but in a mount namespace of its own. */
static void elsewhere(int said, int go)
{
	int host, group, x;
	struct stat st;
	char c;

	CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount("/proc/sys", "/tmp", NULL, MS_BIND, NULL) == 0);
	host = open("/tmp/kernel/hostname", O_RDONLY);
	x = open("/tmp/kernel", O_RDONLY | O_DIRECTORY);
	group = open("/sys/fs/cgroup/cgroup.procs", O_RDONLY);
	CHECK(host >= 0 && x >= 0 && group >= 0 && write(said, "x", 1) == 1);
	CHECK(read(go, &c, 1) == 1);
	CHECK(shows(host, "test") && faccessat(x, "hostname", F_OK, 0) == 0 && shows(group, "1\n"));
	CHECK(fstat(x, &st) == 0 && open("/tmp/kernel/hostname", O_RDONLY) >= 0);
	_exit(guest_failed);
}

int main(void)
{
	int mounts = open("/proc/self/mountinfo", O_RDONLY), self = open("/proc/self/status", O_RDONLY), of_child, fds;
	int of_dead, host = open("/proc/sys/kernel/hostname", O_RDONLY | O_NONBLOCK),
		     up = open("/proc/uptime", O_RDONLY);
	int sys = open("/sys/class/net", O_RDONLY | O_DIRECTORY), group = open("/sys/fs/cgroup", O_PATH | O_DIRECTORY);
	int live, dead, killed, place, link, etc, ep = epoll_create1(0), go[2], said[2], end[2], sock, status;
	struct epoll_event e = { EPOLLPRI, { .u64 = 1 } }, got;
	struct pollfd p;
	pid_t child, gone, far;
	struct stat st;
	siginfo_t si;
	char c, text[64];

	CHECK(pipe(go) == 0 && pipe(said) == 0 && pipe(end) == 0);
	far = fork();
	if (far == 0)
		elsewhere(said[1], end[0]);
	CHECK(read(said[0], &c, 1) == 1);
	child = fork();
	if (child == 0) {
		CHECK(read(go[0], &c, 1) == 1);
		_exit(44);
	}
	of_child = proc(child, "status", O_RDONLY);
	fds = proc(child, "fd", O_RDONLY | O_DIRECTORY);
	live = (int)syscall(SYS_pidfd_open, child, 0);
	gone = fork();
	if (gone == 0) {
		pause();
		_exit(1);
	}
	of_dead = proc(gone, "stat", O_RDONLY);
	killed = (int)syscall(SYS_pidfd_open, gone, O_NONBLOCK);
	dead = dup(killed);
	CHECK(kill(gone, SIGKILL) == 0 && waitpid(gone, NULL, 0) == gone);
	CHECK(pread(of_dead, text, 1, 0) < 0 && errno == ESRCH);
	epoll_ctl(ep, EPOLL_CTL_ADD, mounts, &e);
	CHECK(read(up, text, 3) == 3);
	place = open("/root", O_PATH | O_DIRECTORY);
	CHECK(symlink("/nowhere", "/root/link") == 0 || errno == EEXIST);
	link = open("/root/link", O_PATH | O_NOFOLLOW);
	sock = open("/proc/self/fd", O_PATH);
	etc = open("/", O_RDONLY | O_DIRECTORY);
	CHECK(getdents64(etc, text, sizeof(text)) > 0);
	CHECK(mounts >= 0 && self >= 0 && host >= 0 && up >= 0 && sys >= 0 && live >= 0 && killed >= 0 && link >= 0);
	CHECK(of_child >= 0 && of_dead >= 0 && fds >= 0 && group >= 0 && sock >= 0);
	wait_for_restore();
	CHECK(shows(self, "\nPid:\t1\n"));
	snprintf(text, sizeof(text), "\nPid:\t%d\n", (int)child);
	CHECK(shows(of_child, text) && faccessat(fds, "0", F_OK, AT_SYMLINK_NOFOLLOW) == 0);
	CHECK(pread(of_dead, text, 1, 0) < 0 && errno == ESRCH);
	CHECK(shows(mounts, " / ") && epoll_wait(ep, &got, 1, 0) == 1);
	CHECK(shows(host, "test") && (fcntl(host, F_GETFL) & O_NONBLOCK));
	CHECK(lseek(up, 0, SEEK_CUR) == 3);
	CHECK(faccessat(sys, "lo", F_OK, 0) == 0 && fstat(group, &st) == 0 && S_ISDIR(st.st_mode));
	CHECK(faccessat(place, "link", F_OK, AT_SYMLINK_NOFOLLOW) == 0);
	CHECK((fcntl(place, F_GETFL) & O_PATH) && read(place, text, 1) < 0 && errno == EBADF);
	CHECK(readlinkat(link, "", text, sizeof(text)) == 8 && memcmp(text, "/nowhere", 8) == 0);
	p = (struct pollfd){ live, POLLIN, 0 };
	CHECK(poll(&p, 1, 0) == 0 && syscall(SYS_pidfd_send_signal, live, 0, NULL, 0) == 0);
	p = (struct pollfd){ dead, POLLIN, 0 };
	CHECK(poll(&p, 1, 0) == 1 && syscall(SYS_pidfd_send_signal, killed, 0, NULL, 0) < 0 && errno == ESRCH);
	CHECK((fcntl(killed, F_GETFL) & O_NONBLOCK));
	CHECK(write(go[1], "x", 1) == 1);
	CHECK(waitid(P_PIDFD, (id_t)live, &si, WEXITED) == 0 && si.si_status == 44);
	CHECK(write(end[1], "x", 1) == 1 && waitpid(far, &status, 0) == far && status == 0);
	return done();
}
