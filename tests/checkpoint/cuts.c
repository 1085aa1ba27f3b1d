/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Threads that take pages out of shared memory as fast as they can, while it is watched: each time the engine is told,
 * and it is not kept from all else. What is in the memory stays.
 */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define PAGES 4096ul
#define CUTTERS 6

static uint8_t *memory;
static atomic_bool over;

static void *cut(void *arg)
{
	uint8_t *at = memory + (size_t)arg * PAGE;

	while (!over)
		CHECK(madvise(at, PAGE, MADV_DONTNEED) == 0);
	return NULL;
}

int main(void)
{
	pthread_t threads[CUTTERS];

	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	for (size_t i = 0; i < PAGES; i++)
		memory[i * PAGE + i % PAGE] = (uint8_t)(i % 255 + 1);
	for (size_t i = 0; i < CUTTERS; i++)
		CHECK(pthread_create(&threads[i], NULL, cut, (void *)i) == 0);
	wait_for_restore();
	over = true;
	for (size_t i = 0; i < CUTTERS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (size_t i = 0; i < PAGES; i++)
		CHECK(memory[i * PAGE + i % PAGE] == (uint8_t)(i % 255 + 1));
	return done();
}
