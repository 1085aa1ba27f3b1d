/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Locks on what has no place: pipes, sockets, FIFOs and files without a name, descriptors of the kernel's own, terminals,
 * directories. Of flock(2), of open files, of a process; with one who waits for each.
 */
#include "tests/checkpoint/guest.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

enum { PIPE, PAIR, TCP, NETLINK, EVENTFD, TIMERFD, SIGNALFD, EPOLL, INOTIFY, PIDFD, MEMFD, FIFO, NAMELESS, PTY,
       DIRECTORY, PROC, COUNT };

static int fds[COUNT], pipe_end;

static void open_all(void)
{
	int pipes[2], pair[2];
	sigset_t none;

	sigemptyset(&none);
	CHECK(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	fds[PIPE] = pipes[0];
	pipe_end = pipes[1];
	fds[PAIR] = pair[0];
	fds[TCP] = socket(AF_INET, SOCK_STREAM, 0);
	fds[NETLINK] = socket(AF_NETLINK, SOCK_RAW, 0);
	fds[EVENTFD] = eventfd(0, 0);
	fds[TIMERFD] = timerfd_create(CLOCK_MONOTONIC, 0);
	fds[SIGNALFD] = signalfd(-1, &none, 0);
	fds[EPOLL] = epoll_create1(0);
	fds[INOTIFY] = inotify_init();
	fds[PIDFD] = (int)syscall(SYS_pidfd_open, getpid(), 0);
	fds[MEMFD] = memfd_create("locked", 0);
	CHECK(mkfifo("/run/fifo", 0600) == 0);
	fds[FIFO] = open("/run/fifo", O_RDWR);
	CHECK(unlink("/run/fifo") == 0);
	fds[NAMELESS] = open("/run", O_TMPFILE | O_RDWR, 0600);
	fds[PTY] = posix_openpt(O_RDWR | O_NOCTTY);
	fds[DIRECTORY] = open("/root", O_RDONLY | O_DIRECTORY);
	fds[PROC] = open("/proc/self/status", O_RDONLY);
}

/* Those of the kernel's own are one file to it, for the whole machine: a lock that others could not have, too, is not for
 * a test. */
static bool is_shared(int i)
{
	return i >= EVENTFD && i <= PIDFD;
}

static bool has_lock(int fd, const char *what)
{
	char path[64], text[4096] = { 0 };
	ssize_t n;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY);
	n = read(info, text, sizeof(text) - 1);
	close(info);
	return n > 0 && strstr(text, what);
}

static void check_all(void)
{
	for (int i = 0; i < COUNT; i++)
		if (!has_lock(fds[i], is_shared(i) ? "FLOCK  ADVISORY  READ" : "FLOCK  ADVISORY  WRITE")) {
			dprintf(1, "file %d\n", i);
			CHECK(!"is locked");
		}
}

static int lock(int fd, int how, short type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_start = start, .l_len = len };

	return fcntl(fd, how, &l);
}

static int open_again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

/* Waits for a lock of each sort on a pipe, one after the other. */
static _Noreturn void waits(int said)
{
	int again = open_again(fds[PIPE], O_RDWR);

	CHECK(write(said, "x", 1) == 1);
	CHECK(flock(again, LOCK_EX) == 0 && write(said, "x", 1) == 1);
	CHECK(lock(again, F_SETLKW, F_WRLCK, 0, 1) == 0 && write(said, "x", 1) == 1);
	CHECK(lock(again, F_OFD_SETLKW, F_WRLCK, 10, 1) == 0 && write(said, "x", 1) == 1);
	_exit(guest_failed);
}

static bool is_silent(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

int main(void)
{
	int said[2], status, other;
	pid_t waiter;
	char c;

	open_all();
	for (int i = 0; i < COUNT; i++)
		CHECK(flock(fds[i], is_shared(i) ? LOCK_SH : LOCK_EX) == 0);
	CHECK(lock(fds[PIPE], F_SETLK, F_RDLCK, 0, 5) == 0 && lock(pipe_end, F_OFD_SETLK, F_WRLCK, 10, 5) == 0);
	CHECK(lock(fds[PAIR], F_SETLK, F_WRLCK, 3, 0) == 0 && lock(fds[TCP], F_OFD_SETLK, F_RDLCK, 1, 1) == 0);
	CHECK(lock(fds[TIMERFD], F_OFD_SETLK, F_RDLCK, 7777, 3) == 0 && lock(fds[PTY], F_SETLK, F_WRLCK, 1, 1) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, said) == 0);
	waiter = fork();
	if (waiter == 0)
		waits(said[1]);
	CHECK(read(said[0], &c, 1) == 1);
	wait_for_restore();
	check_all();
	other = open_again(fds[PIPE], O_RDWR);
	CHECK(flock(other, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	CHECK(lock(other, F_OFD_SETLK, F_WRLCK, 4, 1) < 0 && lock(other, F_OFD_SETLK, F_RDLCK, 4, 1) == 0);
	CHECK(lock(other, F_OFD_SETLK, F_RDLCK, 14, 1) < 0 && lock(other, F_OFD_SETLK, F_WRLCK, 15, 1) == 0);
	close(other); /* and with it what the process has */
	CHECK(lock(fds[PIPE], F_SETLK, F_RDLCK, 0, 5) == 0);
	CHECK(has_lock(fds[PAIR], "POSIX  ADVISORY  WRITE") && has_lock(fds[TCP], "OFDLCK ADVISORY  READ"));
	CHECK(has_lock(fds[TIMERFD], "OFDLCK ADVISORY  READ") && has_lock(fds[PTY], "POSIX  ADVISORY  WRITE"));
	CHECK(is_silent(said[0]) && flock(fds[PIPE], LOCK_UN) == 0 && read(said[0], &c, 1) == 1);
	CHECK(is_silent(said[0]) && lock(fds[PIPE], F_SETLK, F_UNLCK, 0, 5) == 0 && read(said[0], &c, 1) == 1);
	CHECK(is_silent(said[0]) && lock(pipe_end, F_OFD_SETLK, F_UNLCK, 10, 5) == 0 && read(said[0], &c, 1) == 1);
	CHECK(waitpid(waiter, &status, 0) == waiter && status == 0);
	return done();
}
