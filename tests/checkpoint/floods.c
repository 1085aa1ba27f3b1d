/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A terminal that was typed on until the kernel took no more, which is more than it takes at once. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

static unsigned char nth(unsigned n)
{
	return (unsigned char)(n % 251);
}

static int open_terminal(int *slave)
{
	int m = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	struct termios t;

	CHECK(m >= 0 && grantpt(m) == 0 && unlockpt(m) == 0);
	*slave = ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
	CHECK(*slave >= 0 && tcgetattr(*slave, &t) == 0);
	cfmakeraw(&t);
	CHECK(tcsetattr(*slave, TCSANOW, &t) == 0);
	return m;
}

/* Nobody is told when there is room again: a worker of the kernel's makes some while nothing is read. */
static unsigned flood(int master)
{
	unsigned n = 0;

	for (int quiet = 0; quiet < 100;) {
		unsigned char c = nth(n);

		if (write(master, &c, 1) == 1) {
			n++;
			quiet = 0;
		} else {
			quiet++;
			usleep(1000);
		}
	}
	return n;
}

int main(void)
{
	int slave, master = open_terminal(&slave);
	unsigned count = flood(master);

	CHECK(count > 12000);
	wait_for_restore();
	for (unsigned n = 0; n < count; n++) {
		struct pollfd p = { .fd = slave, .events = POLLIN };
		unsigned char c = 0;

		CHECK(poll(&p, 1, 20000) == 1 && read(slave, &c, 1) == 1 && c == nth(n));
	}
	CHECK(write(master, "x", 1) == 1);
	return done();
}
