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
#include <sys/ioctl.h>
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

static int moved, kept[2], last;

/* Two files that were `last`; a third that has it now. */
static void make_moved(void)
{
	int number = eventfd(0, 0);

	moved = epoll_create1(0);
	kept[0] = dup(number);
	add(moved, number, EPOLLIN, 1);
	close(number);
	CHECK(eventfd(0, 0) == number);
	add(moved, number, EPOLLIN | EPOLLET, 2);
	kept[1] = fcntl(number, F_DUPFD, 700);
	close(number);
	last = eventfd(0, 0);
	CHECK(last == number);
	add(moved, number, EPOLLIN, 3);
}

static void check_moved(void)
{
	CHECK(hears(moved, 0));
	set(kept[0]);
	CHECK(hears(moved, 1));
	clear(kept[0]);
	set(kept[1]);
	CHECK(hears(moved, 2) && hears(moved, 0));
	set(last);
	CHECK(hears(moved, 3));
	clear(last);
}

static int nested, inner, in;

static void make_nested(void)
{
	nested = epoll_create1(0);
	inner = epoll_create1(0);
	in = eventfd(0, 0);
	add(inner, in, EPOLLIN, 4);
	add(nested, inner, EPOLLIN | EPOLLET, 5);
}

static void check_nested(void)
{
	CHECK(hears(nested, 0));
	set(in);
	CHECK(hears(nested, 5) && hears(nested, 0) && hears(inner, 4));
}

static int shots, armed, quiet[2], pairs[2];

static void make_shots(void)
{
	int off = eventfd(0, 0);
	char c;

	shots = epoll_create1(0);
	armed = eventfd(0, EFD_NONBLOCK);
	add(shots, armed, EPOLLIN | EPOLLONESHOT | EPOLLET, 6);
	add(shots, off, EPOLLIN | EPOLLONESHOT, 7);
	set(off);
	CHECK(hears(shots, 7) && hears(shots, 0));
	CHECK(pipe(quiet) == 0 && write(quiet[1], "x", 1) == 1);
	add(shots, quiet[0], EPOLLIN | EPOLLONESHOT, 8);
	CHECK(hears(shots, 8) && read(quiet[0], &c, 1) == 1);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs) == 0);
	add(shots, pairs[0], EPOLLOUT | EPOLLONESHOT, 9);
	CHECK(hears(shots, 9));
}

static void check_shots(void)
{
	struct epoll_event e = { EPOLLIN | EPOLLONESHOT, { .u64 = 11 } };

	CHECK(hears(shots, 0));
	set(armed);
	CHECK(hears(shots, 6) && hears(shots, 0));
	CHECK(write(quiet[1], "y", 1) == 1 && hears(shots, 0));
	CHECK(epoll_ctl(shots, EPOLL_CTL_MOD, quiet[0], &e) == 0 && hears(shots, 11));
	close(pairs[1]);
	CHECK(hears(shots, 0));
}

static int shared, go[2];
static pid_t child;

/* Only the child has the file that both watch. */
static void make_shared(void)
{
	int far = eventfd(0, 0);
	char c;

	shared = epoll_create1(0);
	CHECK(pipe(go) == 0);
	add(shared, far, EPOLLIN | EPOLLEXCLUSIVE, 10);
	child = fork();
	if (child == 0) {
		CHECK(read(go[0], &c, 1) == 1);
		set(far);
		_exit(hears(shared, 10) ? 33 : 1);
	}
	close(far);
}

static void check_shared(void)
{
	int status;

	CHECK(hears(shared, 0) && write(go[1], "x", 1) == 1);
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 33);
}

static int many;

static void make_many(void)
{
	many = epoll_create1(0);
	for (int i = 0; i < MANY / 10; i++) {
		int fd = eventfd(1, 0);

		for (int k = 0; k < 10; k++) {
			int other = fcntl(fd, F_DUPFD, 900 + k);

			add(many, other, EPOLLIN, (uint64_t)(i * 10 + k));
			close(other);
		}
	}
}

static void check_many(void)
{
	static struct epoll_event got[MANY];
	static bool heard[MANY];
	int n = epoll_wait(many, got, MANY, 0);

	CHECK(n == MANY);
	for (int i = 0; i < n; i++) {
		CHECK(got[i].data.u64 < MANY && !heard[got[i].data.u64]);
		heard[got[i].data.u64 % MANY] = true;
	}
}

static int ended, ends[2];

/* Whom an event has been told of, and who has not asked for another, is not told that the writer is gone. */
static void make_ended(void)
{
	char c;

	ended = epoll_create1(0);
	CHECK(pipe(ends) == 0 && write(ends[1], "x", 1) == 1);
	add(ended, ends[0], EPOLLIN | EPOLLONESHOT, 12);
	CHECK(hears(ended, 12) && read(ends[0], &c, 1) == 1);
}

static void check_ended(void)
{
	struct epoll_event e = { EPOLLIN | EPOLLONESHOT, { .u64 = 13 } };
	int left = -1;

	CHECK(ioctl(ends[0], FIONREAD, &left) == 0 && left == 0 && hears(ended, 0));
	close(ends[1]);
	CHECK(hears(ended, 0));
	CHECK(epoll_ctl(ended, EPOLL_CTL_MOD, ends[0], &e) == 0 && hears(ended, 13));
}

static int filled, full[2];

/* Likewise of a pipe into which nothing more fits. */
static void make_full(void)
{
	char page[4096] = "";

	filled = epoll_create1(0);
	CHECK(pipe2(full, O_NONBLOCK) == 0);
	add(filled, full[1], EPOLLOUT | EPOLLONESHOT, 14);
	CHECK(hears(filled, 14));
	while (write(full[1], page, sizeof(page)) > 0)
		continue;
}

static void check_full(void)
{
	struct epoll_event e = { EPOLLOUT | EPOLLONESHOT, { .u64 = 15 } };
	int left = 0;
	char page[4096];

	CHECK(ioctl(full[0], FIONREAD, &left) == 0 && left == 16 * 4096 && hears(filled, 0));
	CHECK(read(full[0], page, sizeof(page)) == sizeof(page) && hears(filled, 0));
	CHECK(epoll_ctl(filled, EPOLL_CTL_MOD, full[1], &e) == 0 && hears(filled, 15));
}

int main(void)
{
	pid_t signaled;
	int status;

	make_moved();
	make_nested();
	make_shots();
	make_shared();
	make_many();
	signaled = watch_signals();
	make_ended(); /* nobody else has it */
	make_full();
	wait_for_restore();
	CHECK(kill(signaled, SIGTERM) == 0);
	CHECK(waitpid(signaled, &status, 0) == signaled && WIFEXITED(status) && WEXITSTATUS(status) == 34);
	check_moved();
	check_nested();
	check_shots();
	check_shared();
	check_many();
	check_ended();
	check_full();
	return done();
}
