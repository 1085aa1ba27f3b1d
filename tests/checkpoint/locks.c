/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Locks: of processes (fcntl), through one of several fds and after a fork; of open files, shared with a
 * child; of flock, whose maker has ended; leases; one that waits for a lock. Who is told by signals, with
 * which one, by whose rights.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int make(const char *path)
{
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static int lock(int fd, int how, short type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_start = start, .l_len = len };

	return fcntl(fd, how, &l);
}

/* Who holds what another process could not have; -2: nobody. */
static pid_t holder(int fd, short type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_start = start, .l_len = len };

	CHECK(fcntl(fd, F_GETLK, &l) == 0);
	return l.l_type == F_UNLCK ? -2 : l.l_pid;
}

static volatile sig_atomic_t heard;

static void on_signal(int sig, siginfo_t *si, void *context)
{
	(void)context;
	(void)si;
	heard = sig;
}

/* Holds nothing: what the locks look like from there. */
static void watch(const char *path, int go, int said)
{
	int fd = make(path);
	char c;

	CHECK(read(go, &c, 1) == 1);
	CHECK(holder(fd, F_RDLCK, 0, 10) == 1 && holder(fd, F_WRLCK, 20, 5) == 1 && holder(fd, F_RDLCK, 20, 5) == -2);
	CHECK(holder(fd, F_RDLCK, 1000, 1) == 1 && holder(fd, F_WRLCK, 10, 10) == -2);
	CHECK(write(said, "x", 1) == 1);
	CHECK(lock(fd, F_SETLKW, F_WRLCK, 0, 1) == 0); /* when it lets go */
	_exit(guest_failed);
}

static void wait_for_lock(const char *path, int said)
{
	int fd = make(path);

	CHECK(write(said, "x", 1) == 1);
	CHECK(lock(fd, F_SETLKW, F_WRLCK, 5, 1) == 0);
	_exit(guest_failed);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	struct f_owner_ex own;
	int fd = make("/root/locks"), other, ofd, ofd2, fl, fl2, lease, pair[2], go[2], said[2], status, writer;
	pid_t watcher, waiter, pid;
	uint32_t uids[2];
	char c;

	signal(SIGUSR2, SIG_IGN); /* the children, who are in the group that is told */
	CHECK(pipe(go) == 0 && pipe(said) == 0);
	other = open("/root/locks", O_RDONLY | O_CLOEXEC);
	CHECK(lock(fd, F_SETLK, F_WRLCK, 0, 10) == 0 && lock(other, F_SETLK, F_RDLCK, 20, 5) == 0);
	CHECK(lock(fd, F_SETLK, F_WRLCK, 1000, 0) == 0);
	ofd = make("/root/ofd");
	ofd2 = make("/root/ofd");
	CHECK(lock(ofd, F_OFD_SETLK, F_WRLCK, 3, 4) == 0 && lock(ofd2, F_OFD_SETLK, F_RDLCK, 100, 0) == 0);
	fl = make("/run/flock");
	pid = fork();
	if (pid == 0)
		_exit(flock(fl, LOCK_EX));
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	fl2 = make("/run/flock");
	CHECK(flock(fl2, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	lease = make("/run/lease");
	close(lease);
	lease = open("/run/lease", O_RDONLY);
	CHECK(fcntl(lease, F_SETLEASE, F_RDLCK) == 0 && fcntl(lease, F_SETSIG, SIGRTMIN + 3) == 0);
	watcher = fork();
	if (watcher == 0)
		watch("/root/locks", go[0], said[1]);
	waiter = fork();
	if (waiter == 0)
		wait_for_lock("/root/locks", said[1]);
	CHECK(read(said[0], &c, 1) == 1);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && fcntl(pair[0], F_SETSIG, SIGUSR2) == 0);
	CHECK(setresuid(0, 12, 0) == 0 && fcntl(pair[0], F_SETOWN, -getpgrp()) == 0 && setresuid(0, 0, 0) == 0);
	CHECK(fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
	sigaction(SIGUSR2, &sa, NULL);
	sigaction(SIGRTMIN + 3, &sa, NULL);
	wait_for_restore();
	CHECK(fcntl(pair[0], F_GETSIG) == SIGUSR2 && fcntl(pair[0], F_GETOWN_EX, &own) == 0);
	CHECK(own.type == F_OWNER_PGRP && own.pid == getpgrp() && fcntl(pair[0], 17, uids) == 0);
	CHECK(uids[0] == 0 && uids[1] == 12 &&
	      (fcntl(pair[0], F_GETFL) & (O_ASYNC | O_NONBLOCK)) == (O_ASYNC | O_NONBLOCK));
	heard = 0;
	CHECK(setresuid(-1, 0, -1) == 0 && write(pair[1], "x", 1) == 1 && heard == SIGUSR2);
	CHECK(lock(ofd2, F_OFD_SETLK, F_WRLCK, 3, 1) < 0 && lock(ofd, F_OFD_SETLK, F_WRLCK, 200, 1) < 0);
	CHECK(lock(ofd, F_OFD_SETLK, F_RDLCK, 200, 1) == 0 && lock(ofd2, F_OFD_SETLK, F_WRLCK, 7, 1) == 0);
	CHECK(flock(fl2, LOCK_SH | LOCK_NB) < 0 && flock(fl, LOCK_UN) == 0 && flock(fl2, LOCK_SH | LOCK_NB) == 0);
	CHECK(fcntl(lease, F_GETLEASE) == F_RDLCK);
	heard = 0;
	writer = open("/run/lease", O_WRONLY | O_NONBLOCK);
	CHECK(writer < 0 && errno == EWOULDBLOCK && heard == SIGRTMIN + 3);
	CHECK(fcntl(lease, F_SETLEASE, F_UNLCK) == 0);
	CHECK(waitpid(waiter, &status, WNOHANG) == 0);
	CHECK(write(go[1], "x", 1) == 1 && read(said[0], &c, 1) == 1);
	CHECK(lock(fd, F_SETLK, F_UNLCK, 5, 1) == 0 && waitpid(waiter, &status, 0) == waiter && status == 0);
	/* Closing any fd of a file lets go of all. */
	close(other);
	CHECK(waitpid(watcher, &status, 0) == watcher && status == 0);
	return done();
}
