/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/channel.h"
#include "tests/unit/tap.h"

#include "base/macro.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* Two ends in one process, by sockets or through a file. */

static struct err e;

struct pair {
	struct mig_channel a, b;
};

static void pair_init(struct pair *p)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		abort();
	*p = (struct pair){
		.a = { .in = fd[0], .out = fd[0], .peer = "b", .timeout_ms = 2000 },
		.b = { .in = fd[1], .out = fd[1], .peer = "a", .timeout_ms = 2000 },
	};
}

static void pair_done(struct pair *p)
{
	mig_channel_done(&p->a);
	mig_channel_done(&p->b);
	if (p->a.in >= 0)
		close(p->a.in);
	close(p->b.in >= 0 ? p->b.in : p->b.out);
}

TEST(frames_arrive_in_each_encoding) {
	static char data[30000];
	struct mig_frame f;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i / 100);
	for (int k = 0; k < MIG_ENCODING_COUNT; k++) {
		struct pair p;

		pair_init(&p);
		p.a.encoding = (enum mig_encoding)k;
		ok(mig_send(&p.a, MIG_FILES, data, sizeof(data), &e) == 0 &&
		   mig_send(&p.a, MIG_SYNC, NULL, 0, &e) == 0 &&
		   mig_send_json(&p.a, MIG_HELLO, json_pack("{s:i}", "x", 1), &e) == 0 &&
		   mig_flush(&p.a, &e) == 0, "sent: %s", e.msg);
		eq_int(mig_recv(&p.b, &f, &e), 0, "received: %s", e.msg);
		ok(f.type == MIG_FILES && f.len == sizeof(data) && memcmp(f.data, data, f.len) == 0,
		   "it is what was sent");
		ok(k == MIG_RAW || p.a.sent < sizeof(data) / 10, "in less bytes");
		ok(mig_recv(&p.b, &f, &e) == 0 && f.type == MIG_SYNC && f.len == 0, "an empty one");
		ok(mig_recv(&p.b, &f, &e) == 0 && f.type == MIG_HELLO && STREQ(f.data, "{\"x\":1}"), "JSON");
		close(p.a.in);
		p.a.in = -EBADF;
		ok(mig_recv(&p.b, &f, &e) == 0 && f.type == MIG_TYPE_COUNT, "the end between two frames");
		pair_done(&p);
	}
}

/* What was sent into a file, to be damaged. */
static int file_of(size_t *ret_size)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);
	struct mig_channel c = { .in = -EBADF, .out = fd, .timeout_ms = -1 };

	for (int i = 0; i < 3; i++)
		if (mig_send(&c, MIG_FILES, "0123456789", 10, &e) < 0)
			abort();
	if (mig_flush(&c, &e) < 0)
		abort();
	*ret_size = (size_t)c.sent;
	mig_channel_done(&c);
	return fd;
}

static int read_all(int fd, int *ret_count)
{
	struct mig_channel c = { .in = fd, .out = -EBADF, .timeout_ms = -1 };
	struct mig_frame f;
	int r;

	*ret_count = 0;
	lseek(fd, 0, SEEK_SET);
	while ((r = mig_recv(&c, &f, &e)) == 0 && f.type != MIG_TYPE_COUNT)
		++*ret_count;
	mig_channel_done(&c);
	return r;
}

TEST(damage_is_noticed) {
	size_t size, frame = 16 + 10;
	char one[26];
	int count, missed = 0, fd = file_of(&size);

	ok(read_all(fd, &count) == 0 && count == 3, "three frames");
	for (off_t at = 0; at < (off_t)size; at++) {
		char was, is;

		if (pread(fd, &was, 1, at) != 1)
			abort();
		is = was ^ 0x10;
		if (pwrite(fd, &is, 1, at) != 1)
			abort();
		missed += read_all(fd, &count) == 0;
		if (pwrite(fd, &was, 1, at) != 1)
			abort();
	}
	eq_int(missed, 0, "each byte counts");
	if (ftruncate(fd, (off_t)size - 1) < 0)
		abort();
	ok(read_all(fd, &count) < 0 && count == 2, "a cut is noticed: %s", e.msg);
	/* The second frame in the place of the third. */
	if (pread(fd, one, frame, (off_t)(8 + frame)) != (ssize_t)frame ||
	    pwrite(fd, one, frame, (off_t)(8 + 2 * frame)) != (ssize_t)frame)
		abort();
	ok(read_all(fd, &count) < 0 && count == 2, "so is a frame that comes twice");
	close(fd);
}

TEST(errors_come_from_the_other_end) {
	static const char data[1000];
	struct pair p;
	struct err why;
	struct mig_frame f;

	pair_init(&p);
	err_set(&why, ERR_NOSPACE, "the disk is full");
	err_hint(&why, "make room");
	mig_send_error(&p.b, &why);
	ok(mig_recv(&p.a, &f, &e) == -EREMOTEIO, "it is an error of the peer");
	ok(STREQ(e.msg, "b: the disk is full") && STREQ(e.hint, "make room") && e.code == ERR_NOSPACE,
	   "with its words: %s", e.msg);
	pair_done(&p);

	pair_init(&p);
	signal(SIGPIPE, SIG_IGN);
	mig_send_error(&p.b, &why);
	close(p.b.in);
	p.b.in = p.b.out = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0, r = 0; i < 100 && r == 0; i++)
		r = mig_send(&p.a, MIG_FILES, data, sizeof(data), &e) < 0 ? -1 : mig_flush(&p.a, &e);
	ok(STREQ(e.msg, "b: the disk is full"), "also while we write: %s", e.msg);
	pair_done(&p);
}

/* A peer that only says that it goes on is no reason to wait for what else it has to say. */
TEST(who_goes_on_is_sent_more) {
	static const char data[100000];
	struct mig_frame f = { 0 };
	struct pair p;
	int status = 0;
	pid_t pid;

	pair_init(&p);
	pid = fork();
	if (pid == 0) {
		int n = 0;

		for (int i = 0; i < 3; i++)
			if (mig_send(&p.b, MIG_ALIVE, NULL, 0, &e) < 0 || mig_flush(&p.b, &e) < 0)
				_exit(1);
		/* The other end writes, and finds no more room, before it is read from. */
		while (poll(&(struct pollfd){ p.b.in, POLLIN, 0 }, 1, 10000) == 1 && n < 20) {
			if (mig_recv(&p.b, &f, &e) < 0)
				_exit(2);
			n += f.type == MIG_FILES;
		}
		_exit(n == 20 ? 0 : 3);
	}
	for (int i = 0, r = 0; i < 20 && r == 0; i++)
		r = mig_send(&p.a, MIG_FILES, data, sizeof(data), &e) < 0 ? -1 : mig_flush(&p.a, &e);
	waitpid(pid, &status, 0);
	eq_int(status, 0, "all of it was read: %s", e.msg);
	pair_done(&p);
}

static int stop;

static int is_stopped(void)
{
	return stop;
}

TEST(waits_end) {
	struct mig_frame f;
	struct pair p;

	pair_init(&p);
	p.a.timeout_ms = 50;
	mig_recv(&p.a, &f, &e);
	eq_int(e.code, ERR_TIMEOUT, "a peer that says nothing: %s", e.msg);
	p.a.cancelled = is_stopped;
	stop = 1;
	mig_recv(&p.a, &f, &e);
	eq_int(e.code, ERR_CANCELLED, "a cancelled job");
	stop = 0;
	pair_done(&p);
}

/* One that says that it goes on, and never has an answer. */
TEST(a_peer_that_only_lives_is_waited_for_until_a_time) {
	struct mig_frame f;
	struct pair p;
	pid_t pid;

	pair_init(&p);
	pid = fork();
	if (pid == 0) {
		close(p.a.in);
		while (mig_send(&p.b, MIG_ALIVE, NULL, 0, &e) == 0 && mig_flush(&p.b, &e) == 0)
			;
		_exit(0);
	}
	p.a.until_us = now_monotonic_us() + 200000;
	mig_recv(&p.a, &f, &e);
	eq_int(e.code, ERR_TIMEOUT, "what comes of it: %s", e.msg);
	ok(now_monotonic_us() >= p.a.until_us, "as long as that");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	pair_done(&p);
}

TEST(a_rate_is_kept) {
	static char data[100000];
	struct pair p;
	uint64_t from = now_monotonic_us();
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	pair_init(&p);
	p.a.out = null;
	p.a.rate = 2000000;
	for (int i = 0; i < 6; i++)
		mig_send(&p.a, MIG_FILES, data, sizeof(data), &e);
	mig_flush(&p.a, &e);
	ok(now_monotonic_us() - from >= 290000, "600 kB at 2 MB/s take no less than 0.29 s");
	close(null);
	pair_done(&p);
}
