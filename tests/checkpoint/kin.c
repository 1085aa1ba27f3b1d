/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A parent that forks children all the time, which have its memory copy-on-write, as its own goes on changing: each
 * of them and their children must have what was there when they were born, but for what they wrote or dropped
 * themselves. Memory is sent in rounds meanwhile: children are met in every stage.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGES 1024
#define WORDS 512
#define CHILDREN 6

/* Which count each page has lies in the same memory, and is shared in the same way. */
static uint64_t *mem, count[PAGES], turns;
static pid_t children[CHILDREN];
static int go[CHILDREN];
static volatile int stop;

static void write_page(unsigned n, uint64_t c)
{
	mem[n * WORDS] = mem[n * WORDS + WORDS - 1] = c * PAGES + n;
	count[n] = c;
}

static void turn(unsigned *seed)
{
	unsigned n = (unsigned)rand_r(seed) % PAGES;

	turns++;
	if (rand_r(seed) % 16) {
		write_page(n, turns);
	} else {
		CHECK(madvise(mem + n * WORDS, 4096, MADV_DONTNEED) == 0);
		count[n] = 0;
	}
}

static void verify(void)
{
	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t want = count[i] ? count[i] * PAGES + i : 0;

		if (mem[i * WORDS] == want && mem[i * WORDS + WORDS - 1] == want)
			continue;
		dprintf(1, "failed: page %u of process %d is of %lu, not %lu\n", i, (int)getpid(),
			(unsigned long)(mem[i * WORDS] / PAGES), (unsigned long)count[i]);
		guest_failed = 1;
		return;
	}
}

/* Changes little, and may have a child of its own that changes nothing. */
static _Noreturn void child(int from, unsigned seed)
{
	int status = 0;
	pid_t pid = -1;
	char c;

	if (seed % 3 == 0)
		pid = fork();
	fcntl(from, F_SETFL, O_NONBLOCK);
	if (pid != 0)
		for (int i = 0; i < 40; i++)
			turn(&seed);
	while (read(from, &c, 1) < 0 && errno == EAGAIN) {
		if (pid != 0 && seed % 2)
			turn(&seed);
		usleep(2000);
	}
	verify();
	if (pid > 0)
		waitpid(pid, &status, 0);
	_exit(guest_failed || status != 0);
}

static void end_child(int i)
{
	int status;

	close(go[i]); /* the end of the file is the word */
	CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
	children[i] = 0;
}

static void bear_child(int i, unsigned seed)
{
	int fds[2];

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	children[i] = fork();
	if (children[i] == 0) {
		close(fds[1]);
		for (int k = 0; k < CHILDREN; k++)
			if (children[k])
				close(go[k]);
		child(fds[0], seed);
	}
	close(fds[0]);
	go[i] = fds[1];
}

static void *live(void *arg)
{
	unsigned seed = 1;

	while (!stop) {
		int i = rand_r(&seed) % CHILDREN;

		for (int k = 0; k < 60; k++)
			turn(&seed);
		if (children[i] && rand_r(&seed) % 4 == 0)
			end_child(i);
		if (!children[i])
			bear_child(i, (unsigned)rand_r(&seed));
		usleep(3000);
	}
	return arg;
}

/* In a session whose leader has ended, so that it is not born before all is known. */
static void bear_daemon(int fds[2])
{
	pid_t pid;

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		setsid();
		if (fork() == 0) {
			close(fds[1]);
			child(fds[0], 7);
		}
		_exit(0);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
}

int main(void)
{
	int daemon[2], status;
	pthread_t t;

	mem = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned i = 0; i < PAGES; i++)
		write_page(i, ++turns);
	bear_daemon(daemon);
	pthread_create(&t, NULL, live, NULL);
	wait_for_restore();
	stop = 1;
	pthread_join(t, NULL);
	verify();
	for (int i = 0; i < CHILDREN; i++)
		if (children[i])
			end_child(i);
	close(daemon[1]);
	CHECK(wait(&status) > 0 && status == 0);
	return done();
}
