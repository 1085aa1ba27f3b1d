/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_BUSY_H
#define TESTS_CHECKPOINT_BUSY_H

/* For programs that the driver says "late" to (drive -l): always something to be sent, which children do not have. */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sys/mman.h>

#define BUSY (4 << 20) /* enough for the round to tell of its progress */

static void *keep_busy(void *arg)
{
	volatile char *memory = arg;

	for (char n = 0;; n++) {
		for (size_t i = 0; i < BUSY; i += 4096)
			memory[i] = n;
		usleep(1000);
	}
	return NULL;
}

static void be_busy(void)
{
	char *memory = mmap(NULL, BUSY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t busy;

	CHECK(memory != MAP_FAILED && madvise(memory, BUSY, MADV_DONTFORK) == 0);
	CHECK(pthread_create(&busy, NULL, keep_busy, memory) == 0);
}

#endif
