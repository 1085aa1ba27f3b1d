/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_BUSY_H
#define TESTS_CHECKPOINT_BUSY_H

/* For programs that the driver says "late" to (drive -l, -L): always something to be sent, which children do not have. */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sys/mman.h>

#define BUSY (4 << 20)  /* enough for the round to tell of its progress */
#define FULL (68 << 20) /* so much that no other round comes before the stop */

static struct {
	volatile char *memory;
	size_t size;
	useconds_t rest; /* from one turn to the next */
} busy;

static void *keep_busy(void *arg)
{
	(void)arg;
	for (char n = 2;; n++) {
		for (size_t i = 0; i < busy.size; i += 4096)
			busy.memory[i] = n;
		usleep(busy.rest);
	}
	return NULL;
}

/* All of it is there from the first round on. */
static void be_busy(size_t size, useconds_t rest)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;

	CHECK(memory != MAP_FAILED && madvise(memory, size, MADV_DONTFORK) == 0);
	memset(memory, 1, size);
	busy.memory = memory;
	busy.size = size;
	busy.rest = rest;
	CHECK(pthread_create(&thread, NULL, keep_busy, NULL) == 0);
}

#endif
