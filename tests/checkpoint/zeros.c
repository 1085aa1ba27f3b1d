/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Pages that held something when they were sent, and hold zeros at the stop, of a process that is not born before all
 * is known: its session's leader has ended. It has a file open with O_DIRECT while requests may be under way, so that
 * what it wrote since the last round is sent at the very end.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGES 256u
#define WORDS 512u

/* Half of the pages are zeros, in each turn others. */
static uint64_t value(uint64_t turn, unsigned page)
{
	return turn * (page + 1) / 8 % 2 ? turn : 0;
}

/* Each page must have what it got in the turn before. */
static void turn(uint64_t *mem, uint64_t n)
{
	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t had = mem[i * WORDS];

		if (had != value(n - 1, i)) {
			dprintf(1, "failed: page %u has %lu, not %lu\n", i, (unsigned long)had,
				(unsigned long)value(n - 1, i));
			_exit(1);
		}
		mem[i * WORDS] = value(n, i);
	}
}

/* The end of the file is the word. */
static _Noreturn void live(int from)
{
	uint64_t *mem = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), n = 1;
	char c;

	fcntl(from, F_SETFL, O_NONBLOCK);
	for (; read(from, &c, 1) < 0; n++) {
		turn(mem, n);
		usleep(200);
	}
	turn(mem, n);
	_exit(0);
}

static int bear_daemon(void)
{
	int fds[2];
	pid_t pid;

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		setsid();
		if (fork() == 0) {
			close(fds[1]);
			live(fds[0]);
		}
		_exit(0);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
	close(fds[0]);
	return fds[1];
}

int main(void)
{
	int fd = open("/root/direct", O_RDWR | O_CREAT | O_DIRECT, 0600), daemon, status;
	aio_context_t ctx = 0;

	CHECK(fd >= 0 && syscall(SYS_io_setup, 1, &ctx) == 0);
	daemon = bear_daemon();
	wait_for_restore();
	close(daemon);
	CHECK(wait(&status) > 0 && status == 0);
	return done();
}
