/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Asynchronous I/O: contexts of all sizes, whose rings stand anywhere, with completed requests in them. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define BLOCK 4096
#define DIRECT 64

struct ring {
	unsigned id, slots, head, tail, magic, compat, incompat, header;
	struct io_event events[];
};

static int file, zero;

static unsigned long set_up(unsigned nr)
{
	unsigned long ctx = 0;

	CHECK(syscall(SYS_io_setup, nr, &ctx) == 0);
	return ctx;
}

static long take(unsigned long ctx, long least, long most, struct io_event *ev, struct timespec *ts)
{
	return syscall(SYS_io_getevents, ctx, least, most, ev, ts);
}

/* A request that is complete when this returns. */
static void put(unsigned long ctx, uint64_t data)
{
	static struct iocb cb;
	struct iocb *list = &cb;
	static char byte;

	cb = (struct iocb){ .aio_data = data, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (unsigned)zero,
			    .aio_buf = (uint64_t)(uintptr_t)&byte, .aio_nbytes = 1 };
	CHECK(syscall(SYS_io_submit, ctx, 1, &list) == 1);
}

static const struct ring *ring_of(unsigned long ctx)
{
	return (const struct ring *)ctx; /* NOLINT */
}

/* So many requests in all, of which so many were taken out. */
static void fill(unsigned long ctx, unsigned requests, unsigned taken)
{
	struct io_event ev;

	for (unsigned i = 0; i < requests; i++) {
		put(ctx, i);
		if (i < taken)
			CHECK(take(ctx, 1, 1, &ev, NULL) == 1 && ev.data == i);
	}
}

static void check_fill(unsigned long ctx, unsigned requests, unsigned taken)
{
	struct timespec none = { 0, 0 };
	struct io_event ev;

	for (unsigned i = taken; i < requests; i++)
		CHECK(take(ctx, 1, 1, &ev, &none) == 1 && ev.data == i && ev.res == 1 && ev.obj);
	CHECK(take(ctx, 0, 1, &ev, &none) == 0);
	/* And on: around the end, too. */
	fill(ctx, ring_of(ctx)->slots + 3, ring_of(ctx)->slots + 3);
}

static unsigned long waited;
static pthread_t waiter;
static int waits;

/* Waits without end: nothing comes before the main thread says so. When the engine is killed as soon as it has
 * stopped it, the kernel has ended the call. */
static void *wait_event(void *arg)
{
	struct io_event ev = { 0 };
	bool interrupted = false;

	(void)arg;
	__atomic_store_n(&waits, 1, __ATOMIC_RELEASE);
	while (take(waited, 1, 1, &ev, NULL) < 0 && errno == EINTR)
		interrupted = true;
	CHECK(ev.data == 77 && (!interrupted || strcmp(guest_line, "on") == 0));
	return NULL;
}

/* Requests that take their time. */
static struct iocb direct[DIRECT];
static uint8_t *buffer;
static int done_fd;

static void start_direct(unsigned long ctx, int fd)
{
	struct iocb *list[DIRECT];

	for (unsigned i = 0; i < DIRECT; i++) {
		memset(buffer + i * BLOCK, (int)i + 1, BLOCK);
		direct[i] = (struct iocb){ .aio_data = i, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (unsigned)fd,
					   .aio_buf = (uint64_t)(uintptr_t)(buffer + i * BLOCK), .aio_nbytes = BLOCK,
					   .aio_offset = i * BLOCK, .aio_flags = IOCB_FLAG_RESFD,
					   .aio_resfd = (unsigned)done_fd };
		list[i] = &direct[i];
	}
	CHECK(syscall(SYS_io_submit, ctx, DIRECT, list) == DIRECT);
}

static void check_direct(unsigned long ctx, int fd)
{
	struct io_event ev[DIRECT];
	uint64_t seen = 0, count = 0;

	CHECK(take(ctx, DIRECT, DIRECT, ev, NULL) == DIRECT);
	for (unsigned i = 0; i < DIRECT; i++) {
		CHECK(ev[i].res == BLOCK && ev[i].obj == (uint64_t)(uintptr_t)&direct[ev[i].data]);
		seen |= 1ull << ev[i].data;
	}
	CHECK(seen == ~0ull);
	CHECK(read(done_fd, &count, 8) == 8 && count == DIRECT);
	for (unsigned i = 0; i < DIRECT; i++) {
		uint8_t block[BLOCK];

		CHECK(pread(fd, block, BLOCK, i * BLOCK) == BLOCK && block[0] == i + 1 && block[BLOCK - 1] == i + 1);
	}
}

/* What a fork leaves in the child is the parent's. */
static int child(unsigned long parents, const int *go)
{
	unsigned long own = set_up(3);
	struct io_event ev;
	char c;

	fill(own, 5, 2);
	CHECK(read(go[0], &c, 1) == 1);
	CHECK(take(parents, 0, 1, &ev, NULL) < 0 && errno == EINVAL);
	check_fill(own, 5, 2);
	return guest_failed;
}

int main(void)
{
	unsigned long fresh, middle, wrapped, full, large, slow, gone = set_up(10);
	int go[2], fd, status = 0;
	unsigned slots;
	pid_t pid;

	zero = open("/dev/zero", O_RDONLY);
	file = open("/root/direct", O_RDWR | O_CREAT, 0600);
	fd = open("/root/direct", O_RDWR | O_DIRECT);
	buffer = mmap(NULL, DIRECT * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	done_fd = eventfd(0, 0);
	fresh = set_up(1);
	middle = set_up(16);
	wrapped = set_up(100);
	CHECK(syscall(SYS_io_destroy, gone) == 0);
	full = set_up(2);
	large = set_up(5000);
	slow = set_up(DIRECT);
	waited = set_up(4);
	slots = ring_of(wrapped)->slots;
	fill(middle, 9, 4);
	fill(wrapped, slots + 20, slots - 10);
	fill(full, ring_of(full)->slots / 4 * 3, 0);
	fill(large, 7000, 6990);
	CHECK(pipe(go) == 0);
	pid = fork();
	if (pid == 0)
		_exit(child(middle, go));
	CHECK(pthread_create(&waiter, NULL, wait_event, NULL) == 0);
	while (!__atomic_load_n(&waits, __ATOMIC_ACQUIRE))
		sched_yield();
	start_direct(slow, fd);
	wait_for_restore();
	CHECK(ring_of(fresh)->head == 0 && ring_of(fresh)->tail == 0);
	CHECK(ring_of(middle)->head == 4 && ring_of(middle)->tail == 9);
	CHECK(ring_of(wrapped)->head == slots - 10 && ring_of(wrapped)->tail == 20 && ring_of(wrapped)->slots == slots);
	check_direct(slow, file);
	check_fill(fresh, 0, 0);
	check_fill(middle, 9, 4);
	check_fill(wrapped, slots + 20, slots - 10);
	check_fill(full, ring_of(full)->slots / 4 * 3, 0);
	check_fill(large, 7000, 6990);
	put(waited, 77);
	CHECK(pthread_join(waiter, NULL) == 0);
	CHECK(write(go[1], "g", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(syscall(SYS_io_destroy, large) == 0 && syscall(SYS_io_destroy, large) < 0);
	return done();
}
