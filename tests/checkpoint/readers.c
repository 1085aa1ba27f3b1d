/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * System V memory that a process has attached for reading alone, and then at the same place for writing, and so on, while
 * it is sent in rounds: what has no marks for good has some the next time. Each page must be what was written last.
 */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <time.h>

#define PAGE 4096ul
#define PAGES 4096ul
#define WORDS (PAGE / sizeof(uint64_t))
#define TURN_MS 70 /* so long it may be written to */

static uint64_t *memory, *own, count[PAGES];
static int segment;
static volatile int stop;

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void attach(int flags)
{
	CHECK(shmdt(memory) == 0 && shmat(segment, memory, flags) == memory);
}

static void *take_turns(void *arg)
{
	unsigned seed = 1;

	while (!stop) {
		long end;

		attach(SHM_RDONLY);
		usleep(1000 * (rand_r(&seed) % TURN_MS));
		attach(0);
		for (end = now_ms() + TURN_MS * 4; !stop && now_ms() < end; usleep(1000)) {
			unsigned n = (unsigned)rand_r(&seed) % PAGES;

			memory[n * WORDS] = ++count[n];
		}
	}
	return arg;
}

int main(void)
{
	pthread_t t;

	segment = shmget(IPC_PRIVATE, PAGES * PAGE, IPC_CREAT | 0600);
	memory = shmat(segment, NULL, 0);
	own = shmat(segment, NULL, 0); /* somebody always has it */
	CHECK(memory != (void *)-1 && own != (void *)-1);
	for (unsigned long n = 0; n < PAGES; n++)
		memory[n * WORDS] = count[n] = n + 1;
	pthread_create(&t, NULL, take_turns, NULL);
	wait_for_restore();
	stop = 1;
	pthread_join(t, NULL);
	for (unsigned long n = 0; n < PAGES; n++)
		CHECK(own[n * WORDS] == count[n]);
	return done();
}
