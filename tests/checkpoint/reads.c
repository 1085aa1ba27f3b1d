/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Many threads read past the page cache at once, so that each read takes its time, and leave what they have got alone
 * for a while. No request is asynchronous: rounds look at what each thread does (precopy_direct.c). */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#define LEN (512u << 10)
#define PARTS 8u     /* of the file, each of one byte */
#define THREADS 64u
#define BUFFERS 3u   /* of each thread */

static int stop, file;

static bool is_all(const uint8_t *p, unsigned byte)
{
	return p[0] == byte && memcmp(p, p + 1, LEN - 1) == 0;
}

static void *read_on(void *arg)
{
	unsigned holds[BUFFERS] = { 0 };
	uint8_t *p = mmap(NULL, BUFFERS * LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	for (unsigned i = 0; !guest_failed && !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
		unsigned b = i % BUFFERS, part = i % PARTS;

		CHECK(!holds[b] || is_all(p + b * LEN, holds[b]));
		CHECK(pread(file, p + b * LEN, LEN, part * LEN) == LEN);
		holds[b] = part + 1;
	}
	for (unsigned b = 0; b < BUFFERS; b++)
		CHECK(!holds[b] || is_all(p + b * LEN, holds[b]));
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];
	uint8_t *part = malloc(LEN);

	file = open("/root/parts", O_RDWR | O_CREAT, 0600);
	for (unsigned i = 0; i < PARTS; i++) {
		memset(part, (int)i + 1, LEN);
		CHECK(write(file, part, LEN) == LEN);
	}
	CHECK(fsync(file) == 0);
	close(file);
	file = open("/root/parts", O_RDWR | O_DIRECT);
	CHECK(file >= 0);
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, read_on, NULL) == 0);
	wait_for_restore();
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	return done();
}
