/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/term.h"

#include "base/macro.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <termios.h>

static int raw_fd = -1;
static struct termios saved;

void term_restore(void)
{
	if (raw_fd >= 0)
		tcsetattr(raw_fd, TCSADRAIN, &saved);
	raw_fd = -1;
}

bool term_is_raw(void)
{
	return raw_fd >= 0;
}

int term_raw(int fd)
{
	static bool registered;
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return -errno;
	saved = t;
	if (!registered && atexit(term_restore) != 0)
		return -ENOMEM;
	registered = true;
	cfmakeraw(&t);
	if (tcsetattr(fd, TCSADRAIN, &t) < 0)
		return -errno;
	raw_fd = fd;
	return 0;
}

bool term_size(unsigned short *rows, unsigned short *cols)
{
	struct winsize ws;

	for (int fd = 0; fd < 3; fd++)
		if (ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_row && ws.ws_col) {
			*rows = ws.ws_row;
			*cols = ws.ws_col;
			return true;
		}
	*rows = 24;
	*cols = 80;
	return false;
}
