/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Who is heard without end keeps nobody waiting: /dev/random always has another message. */
#include "base/fd.h"
#include "checkpoint/moves.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#define LOUD 20 /* more than are listened to at a time */

TEST(without_end)
{
	struct ckpt_moves *m = ckpt_moves_new();
	atomic_uint moved[LOUD] = { 0 };
	int fd[LOUD];
	bool all = true, closed = true;

	alarm(60);
	for (int i = 0; i < LOUD; i++) {
		fd[i] = open("/dev/random", O_RDONLY | O_CLOEXEC);
		all = ckpt_moves_add(m, fd[i], &moved[i]) == 0 && all;
	}
	ok(all, "they are listened to");
	for (int i = 0; i < LOUD; i++)
		while (!moved[i])
			sched_yield();
	ok(true, "all are heard");
	for (int i = 0; i < 1000; i++)
		ckpt_moves_settle(m);
	ok(true, "settled a thousand times meanwhile");
	for (int i = 0; i < LOUD / 2; i++) {
		unsigned before;

		ckpt_moves_close(m, &fd[i]);
		before = moved[i];
		ckpt_moves_settle(m);
		closed = fd[i] < 0 && moved[i] == before && closed;
	}
	ok(closed, "nothing is heard of what was closed");
	ckpt_moves_free(m);
	ok(true, "and it ends");
	for (int i = LOUD / 2; i < LOUD; i++)
		close(fd[i]);
}
