/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The disk writes into memory all the time: files that are read past the page cache, by threads and asynchronously.
 * No page table tells of that. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define LEN (256u << 10)
#define PARTS 8u    /* of the file, each of one byte */
#define THREADS 2u
#define REQUESTS 64u
#define POOL 128u

static int stop;

static bool is_all(const uint8_t *p, uint8_t byte)
{
	return p[0] == byte && memcmp(p, p + 1, LEN - 1) == 0;
}

static uint8_t *buffer(void)
{
	return mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void *read_on(void *arg)
{
	int fd = *(int *)arg;
	uint8_t *p = buffer();

	for (unsigned i = 0; !guest_failed && !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
		CHECK(pread(fd, p, LEN, i % PARTS * LEN) == LEN);
		CHECK(is_all(p, (uint8_t)(i % PARTS + 1)));
	}
	return NULL;
}

/* So many requests are under way that each takes its time, and then its memory is left alone for a while. */
static struct iocb cb[POOL];
static uint8_t *pool[POOL];
static unsigned turn[POOL];
static bool under_way[POOL]; /* they do not end in their order */

static void ask(unsigned long ctx, unsigned i, int fd)
{
	struct iocb *list = &cb[i];

	cb[i] = (struct iocb){ .aio_data = i, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (unsigned)fd,
			       .aio_buf = (uint64_t)(uintptr_t)pool[i], .aio_nbytes = LEN,
			       .aio_offset = ++turn[i] % PARTS * LEN };
	CHECK(syscall(SYS_io_submit, ctx, 1, &list) == 1);
	under_way[i] = true;
}

static void *ask_on(void *arg)
{
	unsigned long ctx = 0;
	unsigned next = 0, busy = 0;

	CHECK(syscall(SYS_io_setup, REQUESTS, &ctx) == 0);
	for (unsigned i = 0; i < POOL; i++)
		pool[i] = buffer();
	do {
		struct io_event ev;
		bool more = !guest_failed && !__atomic_load_n(&stop, __ATOMIC_RELAXED);

		for (; more && busy < REQUESTS; next++) {
			if (under_way[next % POOL])
				continue;
			ask(ctx, next % POOL, *(int *)arg);
			busy++;
		}
		CHECK(syscall(SYS_io_getevents, ctx, 1, 1, &ev, NULL) == 1 && ev.res == LEN && ev.data < POOL);
		CHECK(is_all(pool[ev.data % POOL], (uint8_t)(turn[ev.data % POOL] % PARTS + 1)));
		under_way[ev.data % POOL] = false;
		busy--;
	} while (busy);
	for (unsigned i = 0; i < POOL; i++)
		CHECK(!turn[i] || is_all(pool[i], (uint8_t)(turn[i] % PARTS + 1)));
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS + 1];
	uint8_t *p = buffer();
	int fd = open("/root/parts", O_RDWR | O_CREAT, 0600);

	for (unsigned i = 0; i < PARTS; i++) {
		memset(p, (int)i + 1, LEN);
		CHECK(write(fd, p, LEN) == LEN);
	}
	CHECK(fsync(fd) == 0);
	close(fd);
	fd = open("/root/parts", O_RDWR | O_DIRECT);
	CHECK(fd >= 0);
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, read_on, &fd) == 0);
	CHECK(pthread_create(&t[THREADS], NULL, ask_on, &fd) == 0);
	wait_for_restore();
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i <= THREADS; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	return done();
}
