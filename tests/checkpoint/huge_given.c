/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Huge pages that come and go while the memory is sent in rounds, written to in parts: what was sent of one that is
 * gone is gone at the other end, too. Run by huge-pages.
 */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sys/mman.h>

#define HUGE ((size_t)2 << 20)
#define PAGES 4

static char *volatile memory;
static volatile int stop;
static volatile unsigned turn; /* which of the pages is there: turn % PAGES, with `turn` in it */

static void *come_and_go(void *arg)
{
	(void)arg;
	while (!stop) {
		char *page = memory + (turn + 1) % PAGES * HUGE;

		for (unsigned i = 0; i < 5; i++)
			*(volatile unsigned *)(page + 4096 * (3 + 7 * i)) = turn + 1;
		CHECK(madvise(memory + turn % PAGES * HUGE, HUGE, MADV_DONTNEED) == 0);
		turn++;
		usleep(20000);
	}
	return NULL;
}

int main(void)
{
	pthread_t t;

	memory = mmap(NULL, PAGES * HUGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		CHECK(!"huge pages");
		return done();
	}
	pthread_create(&t, NULL, come_and_go, NULL);
	wait_for_restore();
	stop = 1;
	pthread_join(t, NULL);
	for (unsigned k = 0; k < PAGES; k++)
		for (unsigned i = 0; i < 5; i++)
			CHECK(*(unsigned *)(memory + k * HUGE + 4096 * (3 + 7 * i)) == (k == turn % PAGES ? turn : 0));
	return done();
}
