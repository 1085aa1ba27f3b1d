/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is on its way in terminals: lines of which the last is not complete, with an end of file, with bytes that
 * were quoted, with what begins the next one; what was said by who is stopped by a key, both ways at once;
 * terminals that are echoed, of more than their reader's buffer holds.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#define LONG 3000

enum { PLAIN, ENDED, QUOTED, STOPPED, TOLD, RAW, COUNT };

static int master[COUNT], slave[COUNT];

static void open_pair(int i, bool echo)
{
	struct termios t;
	int off = 0;

	master[i] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
	CHECK(master[i] >= 0 && ioctl(master[i], TIOCSPTLCK, &off) == 0);
	slave[i] = ioctl(master[i], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
	CHECK(slave[i] >= 0 && tcgetattr(slave[i], &t) == 0);
	if (!echo)
		t.c_lflag &= ~(tcflag_t)ECHO;
	CHECK(tcsetattr(slave[i], TCSANOW, &t) == 0);
}

static void type(int i, const char *text, size_t len)
{
	CHECK(write(master[i], text, len) == (ssize_t)len);
}

/* All that comes within a while. */
static bool hears(int fd, const char *what, size_t len)
{
	static char text[65536];
	struct pollfd p = { fd, POLLIN, 0 };
	size_t n = 0;
	ssize_t r;

	while (n < len && poll(&p, 1, 10000) == 1 && (r = read(fd, text + n, sizeof(text) - n)) > 0)
		n += (size_t)r;
	if (n != len || memcmp(text, what, len) != 0)
		dprintf(1, "# %zu bytes: \"%.*s\"\n", n, (int)(n < 40 ? n : 40), text);
	return n == len && memcmp(text, what, len) == 0;
}

static bool nothing(int fd)
{
	char c;

	return read(fd, &c, 1) < 0 && errno == EAGAIN;
}

static bool may_write(int fd)
{
	struct pollfd p = { fd, POLLOUT, 0 };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

/* A worker of the kernel's brings what was typed. */
static void await_echo(int i, const char *what)
{
	CHECK(hears(master[i], what, strlen(what)));
}

static char raw[LONG];

static void set_up(void)
{
	struct termios t;

	for (int i = 0; i < COUNT; i++)
		open_pair(i, i == PLAIN || i == TOLD);
	type(PLAIN, "one\ntwo\nthr", 11);
	await_echo(PLAIN, "one\r\ntwo\r\nthr");
	/* What was typed up to an end of file is read by itself; the next begins a line. */
	type(ENDED, "abc\4de", 6);
	/* ^V: the next byte is nothing but itself. */
	type(QUOTED, "a\26\3b\n\26\4c", 8);
	CHECK(write(slave[STOPPED], "said before", 11) == 11);
	type(STOPPED, "first\nsec\23", 10);
	for (int i = 0; i < 20000 && may_write(slave[STOPPED]); i++)
		usleep(1000);
	CHECK(!may_write(slave[STOPPED]) && write(slave[STOPPED], "x", 1) < 0 && errno == EAGAIN);
	/* Echoed, and nobody has read the echo. */
	type(TOLD, "echo\nun", 7);
	CHECK(tcgetattr(slave[RAW], &t) == 0);
	cfmakeraw(&t);
	CHECK(tcsetattr(slave[RAW], TCSANOW, &t) == 0);
	for (size_t i = 0; i < LONG; i++)
		raw[i] = (char)(i * 7);
	type(RAW, raw, LONG);
	CHECK(write(slave[RAW], raw, LONG) == LONG);
	usleep(100000);
}

int main(void)
{
	set_up();
	wait_for_restore();
	CHECK(hears(slave[PLAIN], "one\ntwo\n", 8) && nothing(slave[PLAIN]));
	type(PLAIN, "\177ee\n", 4); /* the last of what was there is taken back */
	CHECK(hears(slave[PLAIN], "thee\n", 5));
	await_echo(PLAIN, "\b \bee\r\n");
	CHECK(hears(slave[ENDED], "abc", 3) && nothing(slave[ENDED]));
	type(ENDED, "f\n", 2);
	CHECK(hears(slave[ENDED], "def\n", 4));
	CHECK(hears(slave[QUOTED], "a\3b\n", 4) && nothing(slave[QUOTED]));
	type(QUOTED, "d\n", 2);
	CHECK(hears(slave[QUOTED], "\4cd\n", 4));
	CHECK(!may_write(slave[STOPPED]) && write(slave[STOPPED], "x", 1) < 0 && errno == EAGAIN);
	CHECK(hears(master[STOPPED], "said before", 11) && nothing(master[STOPPED]));
	CHECK(hears(slave[STOPPED], "first\n", 6) && nothing(slave[STOPPED]));
	type(STOPPED, "\21ond\n", 5);
	CHECK(hears(slave[STOPPED], "second\n", 7));
	CHECK(may_write(slave[STOPPED]) && write(slave[STOPPED], "on", 2) == 2 && hears(master[STOPPED], "on", 2));
	CHECK(hears(master[TOLD], "echo\r\nun", 8) && nothing(master[TOLD]));
	CHECK(hears(slave[TOLD], "echo\n", 5) && nothing(slave[TOLD]));
	type(TOLD, "til\n", 4);
	CHECK(hears(slave[TOLD], "until\n", 6));
	CHECK(hears(slave[RAW], raw, LONG) && hears(master[RAW], raw, LONG));
	return done();
}
