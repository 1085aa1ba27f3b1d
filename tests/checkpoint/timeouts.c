/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Waits with a time-out that every stop interrupts. Of epoll_wait(2) less is left afterwards, which
 * is seen in the arguments of the call, but not less than there should be; a program that looks at them again finds what it
 * had put there. What waits on a socket with a time-out hears nothing of a stop.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#define LONG 5000000u /* milliseconds */
#define WAITERS 3

enum { BY_LIBRARY, BY_LIBRARY_AGAIN, LOOKS_AGAIN };

static struct waiter {
	int ep, fd, tid;
	int ready, result; /* of the call */
	long kept;         /* what the program finds in the register */
	pthread_t thread;
} waiters[WAITERS], busy;
static int ends[2], given[2];
static volatile int received = -2;

static unsigned long began; /* when the busy one last began to wait */

static unsigned long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (unsigned long)ts.tv_sec * 1000 + (unsigned long)ts.tv_nsec / 1000000;
}

/* Keeps its time-out in the register, and looks at it behind the call. */
static long wait_and_keep(int ep, struct epoll_event *e, long *ret_kept)
{
	register long timeout __asm__("r10") = LONG;
	long r = SYS_epoll_wait;

	__asm__ volatile("syscall\n\tmov %%r10, %1"
			 : "+a"(r), "=m"(*ret_kept)
			 : "D"(ep), "S"(e), "d"(4), "r"(timeout)
			 : "rcx", "r11", "memory");
	return r;
}

static void *wait_in(void *arg)
{
	struct waiter *w = arg;
	struct epoll_event e[4];
	sigset_t none;

	sigemptyset(&none);
	w->tid = (int)syscall(SYS_gettid);
	__atomic_store_n(&w->ready, 1, __ATOMIC_SEQ_CST);
	if (w == &waiters[LOOKS_AGAIN])
		w->result = (int)wait_and_keep(w->ep, e, &w->kept);
	else if (w == &waiters[BY_LIBRARY])
		w->result = epoll_wait(w->ep, e, 4, LONG);
	else
		w->result = epoll_pwait(w->ep, e, 4, LONG, &none);
	return NULL;
}

/* Waits anew again and again, with the same arguments. */
static void *be_busy(void *arg)
{
	struct epoll_event e[4];
	uint64_t v;

	(void)arg;
	busy.tid = (int)syscall(SYS_gettid);
	do {
		__atomic_store_n(&began, now_ms(), __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&busy.ready, 1, __ATOMIC_SEQ_CST);
		CHECK(epoll_wait(busy.ep, e, 4, LONG) == 1);
		CHECK(read(busy.fd, &v, 8) == 8);
	} while (v < 1000);
	return NULL;
}

static void *keep_busy(void *arg)
{
	uint64_t one = 1;

	(void)arg;
	for (int seen = 0; !given[0];) {
		int now = __atomic_load_n(&busy.ready, __ATOMIC_SEQ_CST);

		if (now != seen && write(busy.fd, &one, 8) == 8)
			seen = now;
		usleep(200);
	}
	return NULL;
}

static void *receive(void *arg)
{
	char c;
	ssize_t n = recv(ends[0], &c, 1, 0);

	(void)arg;
	received = n < 0 ? -errno : (int)n;
	return NULL;
}

/* The time-out among the arguments of the call that the thread sleeps in; 0: it does not, now. */
static unsigned long timeout_of(int tid)
{
	unsigned long nr, a[4];
	char path[64], text[256] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	if (sscanf(text, "%lu %lx %lx %lx %lx", &nr, &a[0], &a[1], &a[2], &a[3]) != 5 ||
	    (nr != SYS_epoll_wait && nr != SYS_epoll_pwait))
		return 0;
	return a[3];
}

static unsigned long await_timeout_of(int tid)
{
	for (int i = 0; i < 20000; i++) {
		unsigned long t = timeout_of(tid);

		if (t)
			return t;
		usleep(1000);
	}
	CHECK(!"the thread waits");
	return 0;
}

static void begin(struct waiter *w, void *(*run)(void *))
{
	struct epoll_event e = { EPOLLIN, { 0 } };

	w->ep = epoll_create1(0);
	w->fd = eventfd(0, 0);
	w->result = -2;
	CHECK(epoll_ctl(w->ep, EPOLL_CTL_ADD, w->fd, &e) == 0);
	CHECK(pthread_create(&w->thread, NULL, run, w) == 0);
	while (!__atomic_load_n(&w->ready, __ATOMIC_SEQ_CST))
		usleep(1000);
	await_timeout_of(w->tid);
}

static void end(struct waiter *w, uint64_t word)
{
	CHECK(write(w->fd, &word, 8) == 8);
	CHECK(pthread_join(w->thread, NULL) == 0);
}

int main(void)
{
	struct timeval tv = { 5000, 0 };
	pthread_t reader, writer;
	unsigned long left[WAITERS], last, over;
	bool told = access("/proc/self/sched", R_OK) == 0;

	for (int i = 0; i < WAITERS; i++) {
		begin(&waiters[i], wait_in);
		usleep(20000); /* of its time-out */
	}
	begin(&busy, be_busy);
	pthread_create(&writer, NULL, keep_busy, NULL);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	CHECK(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	pthread_create(&reader, NULL, receive, NULL);
	wait_for_restore();
	for (int i = 0; i < WAITERS; i++)
		left[i] = await_timeout_of(waiters[i].tid);
	over = __atomic_load_n(&began, __ATOMIC_SEQ_CST);
	last = await_timeout_of(busy.tid);
	over = now_ms() - over;
	/* Nobody hears of the end of a time-out too early. */
	if (left[0] >= LONG || left[1] >= LONG || last + over + 1 < LONG)
		dprintf(1, "failed: left %lu, %lu, %lu after %lu\n", left[0], left[1], last, over);
	CHECK(!told || (left[0] < LONG && left[1] < LONG));
	CHECK(last <= LONG && last + over + 1 >= LONG);
	CHECK(left[LOOKS_AGAIN] == LONG);
	given[0] = 1;
	pthread_join(writer, NULL);
	end(&busy, 1000);
	for (int i = 0; i < WAITERS; i++) {
		end(&waiters[i], 1);
		CHECK(waiters[i].result == 1);
	}
	CHECK(waiters[LOOKS_AGAIN].kept == LONG);
	CHECK(received == -2 && send(ends[1], "x", 1, 0) == 1);
	pthread_join(reader, NULL);
	CHECK(received == 1);
	return done();
}
