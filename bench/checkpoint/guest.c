/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The loads of the table in checkpoint/README.md: process 1 of a VPS that is saved and restored. WHAT is
 * chosen when it is compiled. As tests/checkpoint/guest.h has it: "ready", a line of input, "good". */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define MIB ((size_t)1 << 20)

enum { SLEEPER, GIB, GIB_HUGE, PROCESSES, THREADS, FAMILY };

static volatile int stop;

static uint64_t value(size_t i)
{
	return i * 0x9e3779b97f4a7c15ull | 1;
}

/* No two pages alike, none of them easy to compress. */
static uint64_t *fill(size_t size, int advice)
{
	uint64_t *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		exit(1);
	madvise(m, size, advice);
	for (size_t i = 0; i < size / 8; i++)
		m[i] = value(i);
	return m;
}

static int is_filled(const uint64_t *m, size_t size)
{
	for (size_t i = 0; i < size / 8; i++)
		if (m[i] != value(i))
			return 0;
	return 1;
}

static void *sleep_on(void *arg)
{
	while (!stop)
		pause();
	return arg;
}

static void fork_some(int n, const uint64_t *m, size_t size)
{
	for (int i = 0; i < n; i++)
		if (fork() == 0) {
			pause();
			_exit(!is_filled(m, size));
		}
}

int main(void)
{
	const size_t size = WHAT == GIB || WHAT == GIB_HUGE ? 1024 * MIB : WHAT == FAMILY ? 128 * MIB : 0;
	uint64_t *m = size ? fill(size, WHAT == GIB_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) : NULL;
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	if (WHAT == PROCESSES || WHAT == FAMILY)
		fork_some(WHAT == FAMILY ? 8 : 99, m, size);
	for (int i = 0; WHAT == THREADS && i < 99; i++)
		CHECK(pthread_create(&t, &attr, sleep_on, NULL) == 0);
	wait_for_restore();
	CHECK(is_filled(m, size));
	return done();
}
