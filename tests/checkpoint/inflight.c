/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Open files of all sorts that are on their way in a socket, some of them nowhere else: eventfd, timerfd, signalfd,
 * epolls (one that another watches, one that watches what is under way with it), inotify, memfd, pidfds of a process
 * that is gone, of a living one and of a zombie, files of /proc (watched by an epoll beside them; where who sent them
 * has closed its end; with data of others before and behind), a pipe's end, a file without a name, a socket with
 * another in it.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

static int way[2];

static void send_fd(int over, int fd)
{
	char byte = 'f';
	struct iovec v = { &byte, 1 };
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { .room = { 0 } };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof(u.room) };

	u.align = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&u.align), &fd, sizeof(fd));
	CHECK(sendmsg(over, &m, 0) == 1);
}

static int receive(int over)
{
	char byte;
	struct iovec v = { &byte, 1 };
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof(u.room) };
	int fd = -1;

	CHECK(recvmsg(over, &m, MSG_DONTWAIT) == 1 && m.msg_controllen >= CMSG_LEN(sizeof(int)));
	memcpy(&fd, CMSG_DATA(&u.align), sizeof(fd));
	return fd;
}

static void away(int fd)
{
	send_fd(way[0], fd);
	close(fd);
}

static void watch(int epoll, int fd, uint64_t data)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = data };

	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) == 0);
}

static uint64_t ready(int epoll)
{
	struct epoll_event ev = { 0 };
	int n = epoll_wait(epoll, &ev, 1, 0);

	return n == 1 ? ev.data.u64 : n == 0 ? 0 : UINT64_MAX;
}

static int pidfd(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void send_text(int over, const char *text)
{
	CHECK(send(over, text, strlen(text), 0) == (ssize_t)strlen(text));
}

static short seen(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	poll(&p, 1, 0);
	return p.revents;
}

static pid_t child(bool ends)
{
	pid_t pid = fork();

	if (pid == 0 && !ends)
		for (;;)
			pause();
	if (pid == 0)
		_exit(3);
	return pid;
}

static int late[2], closed[2], gram[2], watcher;

/* What can only be opened when all processes are there. */
static void send_late(pid_t living, pid_t zombie)
{
	int zombies = pidfd(zombie), self = open("/proc/self/status", O_RDONLY),
	    mounts = open("/proc/self/mounts", O_RDONLY);

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, late) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, closed) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, gram) == 0);
	watcher = epoll_create1(0);
	watch(watcher, zombies, 44);
	send_text(late[0], "before");
	send_fd(late[0], pidfd(living));
	send_text(late[0], "behind");
	send_fd(late[0], zombies);
	close(zombies);
	shutdown(late[0], SHUT_WR);
	send_text(closed[0], "first");
	send_fd(closed[0], self);
	close(self);
	close(closed[0]);
	send_fd(gram[0], mounts);
	close(mounts);
	send_text(gram[0], "datagram");
	send_text(gram[1], "other way");
}

static void check_late(pid_t living, pid_t zombie)
{
	char text[4096] = { 0 };
	int fd;

	CHECK(read(late[1], text, 6) == 6 && memcmp(text, "before", 6) == 0);
	fd = receive(late[1]);
	CHECK(fd >= 0 && seen(fd) == 0 && syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0 && kill(living, 0) == 0);
	CHECK(read(late[1], text, 6) == 6 && memcmp(text, "behind", 6) == 0);
	CHECK(ready(watcher) == 44);
	fd = receive(late[1]);
	CHECK(fd >= 0 && seen(fd) & POLLIN && read(late[1], text, 1) == 0);
	CHECK(read(closed[1], text, 64) == 5 && memcmp(text, "first", 5) == 0);
	fd = receive(closed[1]);
	CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0 && strstr(text, "\nPid:\t1\n"));
	CHECK(read(closed[1], text, 1) == 0 && seen(closed[1]) & POLLHUP);
	fd = receive(gram[1]);
	CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0 && strstr(text, " /proc "));
	CHECK(read(gram[1], text, 64) == 8 && memcmp(text, "datagram", 8) == 0);
	CHECK(read(gram[0], text, 64) == 9 && memcmp(text, "other way", 9) == 0);
	CHECK(kill(zombie, 0) == 0);
}

int main(void)
{
	int event = eventfd(7, 0), kept = dup(event), timer = timerfd_create(CLOCK_MONOTONIC, 0);
	int outer = epoll_create1(0), inner = epoll_create1(0), own = eventfd(0, 0), alone, inner_kept;
	int notify = inotify_init1(IN_NONBLOCK), memory = memfd_create("way", MFD_ALLOW_SEALING), ends[2], pair[2];
	int fds[16], n = 0, status, lives, ended;
	struct itimerspec its = { { 0, 0 }, { 5000, 0 } };
	struct signalfd_siginfo si;
	pid_t living = child(false), zombie = child(true), gone = child(true);
	char text[64] = { 0 };
	uint64_t v;
	sigset_t set;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, way) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	away(event);
	CHECK(timerfd_settime(timer, 0, &its, NULL) == 0);
	away(timer);
	away(signalfd(-1, &set, SFD_NONBLOCK));
	/* `outer` watches `inner`, which watches `own`, which is only on its way. */
	watch(inner, own, 11);
	watch(outer, inner, 22);
	alone = epoll_create1(0);
	watch(alone, kept, 33);
	inner_kept = dup(inner);
	away(own);
	away(inner);
	away(outer);
	away(alone);
	mkdir("/run/watched", 0700);
	CHECK(inotify_add_watch(notify, "/run/watched", IN_CREATE) == 1);
	away(notify);
	CHECK(write(memory, "remembered", 10) == 10 && fcntl(memory, F_ADD_SEALS, F_SEAL_GROW) == 0);
	away(memory);
	lives = pidfd(living);
	waitid(P_PID, (id_t)zombie, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	ended = pidfd(zombie);
	status = pidfd(gone);
	CHECK(waitpid(gone, NULL, 0) == gone);
	away(status);
	CHECK(pipe(ends) == 0 && write(ends[1], "piped", 5) == 5);
	away(ends[0]);
	status = open("/root", O_TMPFILE | O_RDWR, 0600);
	CHECK(write(status, "nameless", 8) == 8);
	away(status);
	send_fd(pair[0], kept);
	away(pair[1]);
	send_late(living, zombie);
	wait_for_restore();
	check_late(living, zombie);
	for (; n < 12; n++)
		fds[n] = receive(way[1]);
	CHECK(read(fds[0], &v, 8) == 8 && v == 7 && write(kept, &(uint64_t){ 2 }, 8) == 8 && read(fds[0], &v, 8) == 8);
	CHECK(timerfd_gettime(fds[1], &its) == 0 && its.it_value.tv_sec > 4000);
	CHECK(kill(getpid(), SIGUSR1) == 0 && read(fds[2], &si, sizeof(si)) == sizeof(si) && si.ssi_signo == SIGUSR1);
	CHECK(ready(fds[5]) == 0 && write(fds[3], &(uint64_t){ 1 }, 8) == 8);
	CHECK(ready(fds[5]) == 22 && ready(fds[4]) == 11 && ready(inner_kept) == 11);
	CHECK(ready(fds[6]) == 0 && write(kept, &(uint64_t){ 1 }, 8) == 8 && ready(fds[6]) == 33);
	close(open("/run/watched/new", O_CREAT | O_RDWR, 0600));
	CHECK(read(fds[7], text, sizeof(text)) > (ssize_t)sizeof(struct inotify_event));
	memset(text, 0, sizeof(text));
	CHECK(pread(fds[8], text, 20, 0) == 10 && strcmp(text, "remembered") == 0 && ftruncate(fds[8], 20) < 0);
	CHECK(seen(lives) == 0 && syscall(SYS_pidfd_send_signal, lives, SIGKILL, NULL, 0) == 0);
	CHECK(waitpid(living, &status, 0) == living && seen(lives) & POLLIN);
	CHECK(seen(ended) & POLLIN && waitpid(zombie, &status, 0) == zombie && WEXITSTATUS(status) == 3);
	CHECK(syscall(SYS_pidfd_send_signal, fds[9], 0, NULL, 0) < 0 && errno == ESRCH);
	memset(text, 0, sizeof(text));
	CHECK(read(fds[10], text, 9) == 5 && strcmp(text, "piped") == 0 && write(ends[1], "!", 1) == 1);
	CHECK(pread(fds[11], text, 9, 0) == 8 && memcmp(text, "nameless", 8) == 0);
	fds[12] = receive(receive(way[1]));
	CHECK(read(fds[12], &v, 8) == 8 && v == 1);
	return done();
}
