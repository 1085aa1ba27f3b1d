/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_CREW_H
#define TESTS_CHECKPOINT_CREW_H

/*
 * Processes beside process 1 that hold what is saved: each sets its own up and serves, which is to say that it is
 * ready, and verifies when process 1 lets all of them do so.
 */
#include "tests/checkpoint/guest.h"

#include <sys/mman.h>

static struct crew {
	volatile int ready, check, checked, failed;
} *crew;

/* In process 1, before the first fork. */
__attribute__((unused)) static void crew_begin(void)
{
	crew = mmap(NULL, sizeof(*crew), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* The two halves of crew_serve(), for who has to do something of its own between them. */
__attribute__((unused)) static void crew_ready(void)
{
	crew->failed |= guest_failed;
	__sync_fetch_and_add(&crew->ready, 1);
	while (!crew->check)
		usleep(1000);
}

__attribute__((unused, noreturn)) static void crew_checked(void)
{
	crew->failed |= guest_failed;
	__sync_fetch_and_add(&crew->checked, 1);
	for (;;)
		pause();
}

__attribute__((unused, noreturn)) static void crew_serve(void (*check)(void))
{
	crew_ready();
	if (check)
		check();
	crew_checked();
}

__attribute__((unused)) static void crew_wait(int count)
{
	while (crew->ready < count)
		usleep(1000);
}

/* One more process, which run() makes one of the crew; returned when it is ready. */
__attribute__((unused)) static pid_t crew_start(void (*run)(void))
{
	int was = crew->ready;
	pid_t pid = fork();

	if (pid == 0) {
		run();
		_exit(1);
	}
	crew_wait(was + 1);
	return pid;
}

/* All that are ready verify. */
__attribute__((unused)) static void crew_check(void)
{
	crew->check = 1;
	while (crew->checked < crew->ready)
		usleep(1000);
	CHECK(!crew->failed);
}

#endif
