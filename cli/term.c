/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/term.h"

#include "base/macro.h"
#include "base/proc.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <termios.h>

#define LEAVE_KEY 0x1d /* Ctrl-] */
#define LEAVE_US 1000000

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

bool term_leaves(uint64_t keys_us[2], const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t now = now_monotonic_us();

		if (data[i] != LEAVE_KEY) {
			keys_us[0] = keys_us[1] = 0;
			continue;
		}
		if (keys_us[0] && now - keys_us[0] <= LEAVE_US)
			return true;
		keys_us[0] = keys_us[1];
		keys_us[1] = now;
	}
	return false;
}
