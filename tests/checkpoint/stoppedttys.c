/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Terminals that are stopped, by a call and by a key, with something that waits to be read and without. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <termios.h>

enum { BY_CALL, BY_CALL_FULL, BY_KEY, BY_KEY_FULL, COUNT };

static int master[COUNT], terminal[COUNT];

static bool may_write(int fd)
{
	struct pollfd p = { fd, POLLOUT, 0 };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

static void await(int fd, bool writable)
{
	for (int i = 0; i < 20000 && may_write(fd) != writable; i++)
		usleep(1000);
	CHECK(may_write(fd) == writable);
}

static void open_pair(int i)
{
	master[i] = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	CHECK(grantpt(master[i]) == 0 && unlockpt(master[i]) == 0);
	terminal[i] = open(ptsname(master[i]), O_RDWR | O_NOCTTY | O_NONBLOCK);
	CHECK(master[i] >= 0 && terminal[i] >= 0);
	if (i == BY_CALL_FULL || i == BY_KEY_FULL)
		CHECK(write(terminal[i], "said", 4) == 4);
	if (i == BY_CALL || i == BY_CALL_FULL)
		CHECK(tcflow(terminal[i], TCOOFF) == 0);
	else
		CHECK(write(master[i], "\023", 1) == 1);
	await(terminal[i], false);
}

static void check_pair(int i)
{
	bool full = i == BY_CALL_FULL || i == BY_KEY_FULL;
	char t[16];

	CHECK(!may_write(terminal[i]) && write(terminal[i], "x", 1) == -1 && errno == EAGAIN);
	CHECK(read(master[i], t, sizeof(t)) == (full ? 4 : -1));
	/* The key that lets it go on does so after a key alone. */
	CHECK(write(master[i], "\021", 1) == 1);
	if (i == BY_KEY || i == BY_KEY_FULL) {
		await(terminal[i], true);
	} else {
		usleep(20000);
		CHECK(!may_write(terminal[i]) && tcflow(terminal[i], TCOON) == 0 && may_write(terminal[i]));
	}
	CHECK(write(terminal[i], "on", 2) == 2);
}

int main(void)
{
	for (int i = 0; i < COUNT; i++)
		open_pair(i);
	wait_for_restore();
	for (int i = 0; i < COUNT; i++)
		check_pair(i);
	return done();
}
