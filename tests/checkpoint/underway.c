/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Requests of io_uring and asynchronous I/O that are under way when all is stopped, and end by themselves a moment
 * later. What they change is as they have left it: positions of files, counts of eventfds, what is in pipes, which files
 * are open and how long they are. Each waits for its time in a chain, those of a child for what the parent's do.
 */
#include "tests/checkpoint/ring.h"

#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#define PIECE 100
#define REQUESTS 11
#define LINK_NS 600000000 /* less than is waited for when all has stopped */

static struct __kernel_timespec when = { .tv_nsec = LINK_NS };
static char data[PIECE], got[2][PIECE], passed[PIECE];

/* What follows is not begun before. */
static void wait_first(struct ring *r)
{
	struct io_uring_sqe *s = next(r, IORING_OP_TIMEOUT, 0);

	s->addr = (uintptr_t)&when;
	s->len = 1;
	s->flags = IOSQE_IO_HARDLINK;
}

/* At the file's position. */
static void transfer(struct ring *r, unsigned opcode, int fd, char *buf, bool more)
{
	struct io_uring_sqe *s = next(r, opcode, 1);

	s->fd = fd;
	s->addr = (uintptr_t)buf;
	s->len = PIECE;
	s->off = UINT64_MAX;
	s->flags = more ? IOSQE_IO_HARDLINK : 0;
}

static void open_and_close(struct ring *r, int fd)
{
	struct io_uring_sqe *s;

	wait_first(r);
	s = next(r, IORING_OP_CLOSE, 2);
	s->fd = fd;
	s->flags = IOSQE_IO_HARDLINK;
	s = next(r, IORING_OP_OPENAT, 3);
	s->fd = AT_FDCWD;
	s->addr = (uintptr_t)"/dev/zero";
	s->open_flags = O_RDONLY;
}

static int file_of(const char *path, size_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	for (size_t i = 0; i < size; i += PIECE)
		CHECK(write(fd, data, PIECE) == PIECE);
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* Tells `told` when the pipe has something. */
static unsigned long poll_by_aio(int fd, int told)
{
	static struct iocb cb;
	struct iocb *list = &cb;
	unsigned long ctx = 0;

	cb = (struct iocb){ .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (unsigned)fd, .aio_buf = 1 /* POLLIN */,
			    .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (unsigned)told };
	CHECK(syscall(SYS_io_setup, 4, &ctx) == 0 && syscall(SYS_io_submit, ctx, 1, &list) == 1);
	return ctx;
}

/* Passes on what it gets, in a chain of its own: then it waits for the end of a pipe that nobody writes to. */
static int child(int from, int to, int end)
{
	struct ring r = { 0 };
	char c;

	set_up(&r, 4, 0, 0);
	transfer(&r, IORING_OP_READ, from, got[0], true);
	transfer(&r, IORING_OP_WRITE, to, got[0], false);
	submit(&r, 0);
	CHECK(write(to, "r", 1) == 1 && read(end, &c, 1) == 0);
	CHECK(waiting(&r) == 2 && take(&r).res == PIECE && take(&r).res == PIECE);
	return guest_failed;
}

static uint64_t count_of(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, 8) == 8 ? n : 0;
}

static struct ring chains;
static int source, sink, full[2], empty[2], child_out[2], end[2], told, by_aio, closed;

static pid_t set_up_all(void)
{
	pid_t pid;
	char c;

	memset(data, 'd', sizeof(data));
	source = file_of("/root/source", 10 * PIECE);
	sink = file_of("/root/sink", 0);
	told = eventfd(0, EFD_NONBLOCK);
	by_aio = eventfd(0, EFD_NONBLOCK);
	CHECK(pipe(full) == 0 && pipe(empty) == 0 && pipe(child_out) == 0 && pipe(end) == 0);
	CHECK(write(full[1], data, PIECE) == PIECE);
	pid = fork();
	if (pid == 0) {
		close(end[1]);
		_exit(child(empty[0], child_out[1], end[0]));
	}
	CHECK(read(child_out[0], &c, 1) == 1);
	closed = dup(full[0]); /* the lowest that is free then */
	set_up(&chains, 16, 0, 0);
	CHECK(syscall(SYS_io_uring_register, chains.fd, IORING_REGISTER_EVENTFD, &told, 1) == 0);
	return pid;
}

static void start(void)
{
	wait_first(&chains);
	transfer(&chains, IORING_OP_READ, source, got[0], true);
	transfer(&chains, IORING_OP_WRITE, sink, data, true);
	transfer(&chains, IORING_OP_READ, source, got[1], true);
	transfer(&chains, IORING_OP_WRITE, sink, data, false);
	wait_first(&chains);
	transfer(&chains, IORING_OP_READ, full[0], passed, true);
	transfer(&chains, IORING_OP_WRITE, empty[1], data, false);
	open_and_close(&chains, closed);
	submit(&chains, 0);
}

/* All have ended, unless the engine was killed before it waited. */
static void check_completions(void)
{
	while (waiting(&chains) < REQUESTS)
		CHECK(syscall(SYS_io_uring_enter, chains.fd, 0, REQUESTS, IORING_ENTER_GETEVENTS, NULL, 0) >= 0 ||
		      errno == EINTR);
	for (int i = 0; i < REQUESTS; i++) {
		const int result[] = { -ETIME, PIECE, 0, closed };
		struct io_uring_cqe c = take(&chains);

		CHECK(c.res == result[c.user_data]);
	}
}

static void check_files(void)
{
	char buf[2 * PIECE], c;

	CHECK(count_of(told) > 0);
	CHECK(lseek(source, 0, SEEK_CUR) == 2 * PIECE && lseek(sink, 0, SEEK_CUR) == 2 * PIECE);
	CHECK(lseek(sink, 0, SEEK_END) == 2 * PIECE && pread(sink, buf, sizeof(buf), 0) == 2 * PIECE);
	CHECK(memcmp(got[0], data, PIECE) == 0 && memcmp(got[1], data, PIECE) == 0 && buf[2 * PIECE - 1] == 'd');
	CHECK(fcntl(full[0], F_SETFL, O_NONBLOCK) == 0 && read(full[0], &c, 1) < 0 && errno == EAGAIN);
	CHECK(read(closed, &c, 1) == 1 && c == 0); /* another file by now */
	CHECK(read(child_out[0], buf, sizeof(buf)) == PIECE && memcmp(buf, data, PIECE) == 0);
}

int main(void)
{
	struct timespec none = { 0, 0 };
	struct io_event ev = { 0 };
	unsigned long ctx;
	int status = 0;
	pid_t pid = set_up_all();

	ctx = poll_by_aio(child_out[0], by_aio);
	start();
	wait_for_restore();
	check_completions();
	check_files();
	CHECK(syscall(SYS_io_getevents, ctx, 1, 1, &ev, &none) == 1 && count_of(by_aio) == 1);
	close(end[1]);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return done();
}
