/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Requests of io_uring that wait for what may never come: polls (also for every time), receives, reads, accepts,
 * time-outs of all clocks; of a ring that is for one thread alone; of a ring's child. None has ended afterwards, each
 * does when what it waits for comes, with its own number, and those that were only prepared are there still.
 */
#include "tests/checkpoint/ring.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { ONCE = 10, EVERY, RECEIVE, READ, ACCEPT, ACCEPTS, HOUR, WALL, BOOT, OWN, CHILD };
#define SOON 2ull /* seconds: it ends by itself, not before its time */
#define LATER 4000000000 /* a time of day, in seconds, that does not come: 2096 */

static struct ring ring;
static int polled[2], counted, pair[2], read_from[2], listener;
static char received[16], was_read[16];
static struct __kernel_timespec hour = { .tv_sec = 3600 }, wall = { .tv_sec = LATER };

static struct io_uring_sqe *ask(struct ring *r, unsigned opcode, int fd, uint64_t data)
{
	struct io_uring_sqe *s = next(r, opcode, data);

	s->fd = fd;
	return s;
}

static void poll_for(struct ring *r, int fd, uint64_t data, unsigned how)
{
	struct io_uring_sqe *s = ask(r, IORING_OP_POLL_ADD, fd, data);

	s->poll32_events = POLLIN;
	s->len = how;
	submit(r, 0);
}

static void take_into(unsigned opcode, int fd, char *buf, uint64_t data)
{
	struct io_uring_sqe *s = ask(&ring, opcode, fd, data);

	s->addr = (uintptr_t)buf;
	s->len = 16;
	submit(&ring, 0);
}

static void accept_on(int fd, unsigned how, uint64_t data)
{
	struct io_uring_sqe *s = ask(&ring, IORING_OP_ACCEPT, fd, data);

	s->accept_flags = SOCK_CLOEXEC;
	s->ioprio = (uint16_t)how;
	submit(&ring, 0);
}

static void time_out(const struct __kernel_timespec *ts, unsigned how, uint64_t data)
{
	struct io_uring_sqe *s = ask(&ring, IORING_OP_TIMEOUT, -1, data);

	s->addr = (uintptr_t)ts;
	s->len = 1;
	s->timeout_flags = how;
	submit(&ring, 0);
}

static int listen_at(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", name);
	unlink(name);
	CHECK(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 5) == 0);
	return fd;
}

static int connect_to(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", name);
	CHECK(connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	return fd;
}

static void ask_all(void)
{
	set_up(&ring, 16, 0, 0);
	CHECK(pipe(polled) == 0 && pipe(read_from) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	counted = eventfd(0, EFD_NONBLOCK);
	listener = listen_at("/run/many");
	poll_for(&ring, polled[0], ONCE, 0);
	poll_for(&ring, counted, EVERY, IORING_POLL_ADD_MULTI);
	take_into(IORING_OP_RECV, pair[0], received, RECEIVE);
	take_into(IORING_OP_READ, read_from[0], was_read, READ);
	accept_on(listen_at("/run/one"), 0, ACCEPT);
	accept_on(listener, 1 /* IORING_ACCEPT_MULTISHOT */, ACCEPTS);
	time_out(&hour, 0, HOUR);
	time_out(&hour, IORING_TIMEOUT_BOOTTIME, BOOT);
	time_out(&wall, IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME, WALL);
	next(&ring, IORING_OP_NOP, 99); /* and not asked for yet */
	*word(&ring, ring.p.sq_off.tail) = ring.tail;
}

static void check_completion(uint64_t data, int least)
{
	struct io_uring_cqe c = take(&ring);

	CHECK(c.user_data == data && c.res >= least);
	if (c.user_data != data || c.res < least)
		dprintf(1, "failed: %d of %d\n", c.res, (int)c.user_data);
}

static void cancel(uint64_t data)
{
	struct io_uring_sqe *s = next(&ring, IORING_OP_TIMEOUT_REMOVE, 98);
	int of = 0;

	s->addr = data;
	submit(&ring, 2);
	for (int i = 0; i < 2; i++) {
		struct io_uring_cqe c = take(&ring);

		of += c.user_data == data && c.res == -ECANCELED ? 1 : c.user_data == 98 && c.res == 0 ? 2 : 8;
	}
	CHECK(of == 3);
}

static void check_all(void)
{
	CHECK(waiting(&ring) == 0);
	submit(&ring, 1);
	check_completion(99, 0);
	CHECK(write(polled[1], "p", 1) == 1);
	check_completion(ONCE, POLLIN);
	for (int i = 0; i < 3; i++) {
		uint64_t n;

		CHECK(eventfd_write(counted, 1) == 0);
		check_completion(EVERY, POLLIN);
		CHECK(read(counted, &n, 8) == 8);
	}
	CHECK(write(pair[1], "received", 8) == 8);
	check_completion(RECEIVE, 8);
	CHECK(write(read_from[1], "read", 4) == 4);
	check_completion(READ, 4);
	CHECK(memcmp(received, "received", 8) == 0 && memcmp(was_read, "read", 4) == 0);
	connect_to("/run/one");
	check_completion(ACCEPT, 1);
	for (int i = 0; i < 2; i++) {
		connect_to("/run/many");
		check_completion(ACCEPTS, 1);
	}
	cancel(HOUR);
	cancel(BOOT);
	cancel(WALL);
	CHECK(waiting(&ring) == 0);
}

static struct ring timed;
static uint64_t due;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void ask_soon(void)
{
	static struct __kernel_timespec soon = { .tv_sec = SOON };
	struct io_uring_sqe *s;

	set_up(&timed, 2, 0, 0);
	s = next(&timed, IORING_OP_TIMEOUT, 5);
	s->addr = (uintptr_t)&soon;
	s->len = 1;
	due = now_ns() + SOON * 1000000000ull;
	submit(&timed, 0);
}

static void check_soon(void)
{
	struct io_uring_cqe c = take(&timed);

	CHECK(c.user_data == 5 && c.res == -ETIME && now_ns() >= due);
}

static pthread_barrier_t asked, restored;

static void *own(void *arg)
{
	struct ring r = { 0 };

	set_up(&r, 4, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0);
	poll_for(&r, polled[0], OWN, 0);
	pthread_barrier_wait(&asked);
	pthread_barrier_wait(&restored);
	CHECK(take(&r).user_data == OWN);
	return arg;
}

/* Of a ring that the parent made. */
static void child(struct ring *r, int ready)
{
	poll_for(r, polled[0], CHILD, 0);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	CHECK(take(r).user_data == CHILD);
	_exit(guest_failed);
}

int main(void)
{
	static struct ring shared;
	int ready[2], status = 0;
	pthread_t thread;
	pid_t pid;
	char c;

	if (!tells_all()) {
		wait_for_restore();
		return done();
	}
	ask_all();
	ask_soon();
	set_up(&shared, 4, 0, 0);
	CHECK(pipe(ready) == 0);
	pid = fork();
	if (pid == 0)
		child(&shared, ready[1]);
	CHECK(read(ready[0], &c, 1) == 1);
	CHECK(pthread_barrier_init(&asked, NULL, 2) == 0 && pthread_barrier_init(&restored, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, own, NULL) == 0);
	pthread_barrier_wait(&asked);
	wait_for_restore();
	check_all();
	check_soon();
	pthread_barrier_wait(&restored);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return done();
}
