/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * epoll in full: targets whose number was closed, or means another file by now, or that only another
 * process has; epolls in epolls and in several processes; edges, one shots that are armed and that have
 * gone off, exclusive ones; more targets than fit in one list of calls.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define MANY 1500

static void add(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = { events, { .u64 = data } };

	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0);
}

/* One event, of this; nothing when it is 0. */
static bool hears(int ep, uint64_t data)
{
	struct epoll_event e[4];
	int n = epoll_wait(ep, e, 4, data ? 5000 : 0);

	return data ? n == 1 && e[0].data.u64 == data : n == 0;
}

static void set(int fd)
{
	uint64_t one = 1;

	CHECK(write(fd, &one, 8) == 8);
}

static void clear(int fd)
{
	uint64_t v;

	CHECK(read(fd, &v, 8) == 8);
}

/* A process that waits for its own signals by an epoll, as daemons do. */
static pid_t watch_signals(void)
{
	struct epoll_event got;
	sigset_t set;
	int ep, fd, ready[2];
	pid_t pid;

	CHECK(pipe(ready) == 0);
	pid = fork();
	close(ready[pid ? 1 : 0]);
	if (pid) {
		CHECK(read(ready[0], &fd, 1) == 0);
		close(ready[0]);
		return pid;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ep = epoll_create1(0);
	fd = signalfd(-1, &set, 0);
	add(ep, fd, EPOLLIN, 12);
	alarm(20);
	close(ready[1]);
	CHECK(epoll_wait(ep, &got, 1, -1) == 1 && got.data.u64 == 12);
	_exit(guest_failed ? 1 : 34);
}

int main(void)
{
	pid_t signaled;
	int moved = epoll_create1(0), nested = epoll_create1(0), inner = epoll_create1(0), shots = epoll_create1(0);
	int shared = epoll_create1(0), many = epoll_create1(0);
	int a = eventfd(0, 0), b, c, number, kept_a, kept_b, in = eventfd(0, 0), armed = eventfd(0, EFD_NONBLOCK);
	int off = eventfd(0, 0), far, go[2], quiet[2], status, pairs[2], fds[MANY / 10], n = 0;
	struct epoll_event e, *got = calloc(MANY, sizeof(*got));
	pid_t pid;

	/* Two files that were `number`; a third that has it now. */
	kept_a = dup(a);
	number = a;
	add(moved, number, EPOLLIN, 1);
	close(a);
	b = eventfd(0, 0);
	CHECK(b == number);
	add(moved, number, EPOLLIN | EPOLLET, 2);
	kept_b = fcntl(b, F_DUPFD, 700);
	close(b);
	c = eventfd(0, 0);
	CHECK(c == number);
	add(moved, number, EPOLLIN, 3);

	add(inner, in, EPOLLIN, 4);
	add(nested, inner, EPOLLIN | EPOLLET, 5);

	add(shots, armed, EPOLLIN | EPOLLONESHOT | EPOLLET, 6);
	add(shots, off, EPOLLIN | EPOLLONESHOT, 7);
	set(off);
	CHECK(hears(shots, 7) && hears(shots, 0));
	CHECK(pipe(quiet) == 0 && write(quiet[1], "x", 1) == 1);
	add(shots, quiet[0], EPOLLIN | EPOLLONESHOT, 8);
	CHECK(hears(shots, 8) && read(quiet[0], &status, 1) == 1);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs) == 0);
	add(shots, pairs[0], EPOLLOUT | EPOLLONESHOT, 9);
	CHECK(hears(shots, 9));

	/* Only the child has the file that both watch. */
	CHECK(pipe(go) == 0);
	far = eventfd(0, 0);
	add(shared, far, EPOLLIN | EPOLLEXCLUSIVE, 10);
	pid = fork();
	if (pid == 0) {
		char x;

		CHECK(read(go[0], &x, 1) == 1);
		set(far);
		_exit(hears(shared, 10) ? 33 : 1);
	}
	close(far);

	for (int i = 0; i < MANY / 10; i++) {
		fds[i] = eventfd(1, 0);
		for (int k = 0; k < 10; k++) {
			int other = fcntl(fds[i], F_DUPFD, 900 + k);

			add(many, other, EPOLLIN, (uint64_t)(100 + i * 10 + k));
			close(other);
		}
	}
	signaled = watch_signals();
	wait_for_restore();
	CHECK(kill(signaled, SIGTERM) == 0);
	CHECK(waitpid(signaled, &status, 0) == signaled && WIFEXITED(status) && WEXITSTATUS(status) == 34);
	CHECK(hears(moved, 0));
	set(kept_a);
	CHECK(hears(moved, 1));
	clear(kept_a);
	set(kept_b);
	CHECK(hears(moved, 2) && hears(moved, 0));
	set(c);
	CHECK(hears(moved, 3));
	clear(c);

	CHECK(hears(nested, 0));
	set(in);
	CHECK(hears(nested, 5) && hears(nested, 0) && hears(inner, 4));

	CHECK(hears(shots, 0));
	set(armed);
	CHECK(hears(shots, 6) && hears(shots, 0));
	CHECK(write(quiet[1], "y", 1) == 1 && hears(shots, 0));
	e = (struct epoll_event){ EPOLLIN | EPOLLONESHOT, { .u64 = 11 } };
	CHECK(epoll_ctl(shots, EPOLL_CTL_MOD, quiet[0], &e) == 0 && hears(shots, 11));
	close(pairs[1]);
	CHECK(hears(shots, 0));

	CHECK(hears(shared, 0) && write(go[1], "x", 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 33);

	n = epoll_wait(many, got, MANY, 0);
	CHECK(n == MANY);
	for (int i = 0; i < n; i++)
		fds[(got[i].data.u64 - 100) / 10] += 1 << 20;
	for (int i = 0; i < MANY / 10; i++)
		CHECK(fds[i] >> 20 == 10);
	return done();
}
