/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Terminals that were stopped: by tcflow(3), or by a key (Ctrl-S), which another key undoes. No call tells; whoever may not
 * write to a terminal of which nothing waits to be read finds out by letting it go on.
 */
#include "checkpoint/kinds/pty.h"

#include <poll.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define STILL_MS 20 /* for so long nothing more has come */
#define TAKES_EFFECT_MS 1000 /* what is typed goes by way of a worker of the kernel's */

static bool may_write(int slave)
{
	struct pollfd p = { slave, POLLOUT, 0 };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

unsigned ckpt_pty_stopped(int slave)
{
	if (may_write(slave))
		return CKPT_PTY_RUNS;
	ioctl(slave, TCXONC, TCOON);
	if (!may_write(slave))
		return CKPT_PTY_STOPPED_BY_KEY;
	ioctl(slave, TCXONC, TCOOFF);
	return CKPT_PTY_STOPPED_BY_CALL;
}

unsigned ckpt_pty_start(int slave)
{
	if (may_write(slave))
		return CKPT_PTY_RUNS;
	ioctl(slave, TCXONC, TCOON);
	if (may_write(slave))
		return CKPT_PTY_STOPPED_BY_CALL;
	/* Which lets it go on, whatever had stopped it. */
	ioctl(slave, TCXONC, TCOOFF);
	ioctl(slave, TCXONC, TCOON);
	return may_write(slave) ? CKPT_PTY_STOPPED_BY_KEY : CKPT_PTY_RUNS;
}

void ckpt_pty_stop(int master, int slave, const struct ckpt_pty_modes *m, unsigned how)
{
	bool by_key = how == CKPT_PTY_STOPPED_BY_KEY && (m->iflag & IXON) && m->cc[VSTOP];

	if (how == CKPT_PTY_RUNS || !may_write(slave))
		return;
	if (by_key && (ioctl(slave, TIOCSTI, &m->cc[VSTOP]) == 0 || write(master, &m->cc[VSTOP], 1) == 1)) {
		for (int i = 0; i < TAKES_EFFECT_MS && may_write(slave); i++)
			poll(NULL, 0, 1);
		return;
	}
	ioctl(slave, TCXONC, TCOOFF);
}

/* Without a key: as many bytes of whole lines, or at all, as before. */
static void await_still(int slave)
{
	int before = -1, now = 0;

	for (int i = 0, still = 0; i < TAKES_EFFECT_MS && still < STILL_MS; i++) {
		if (ioctl(slave, FIONREAD, &now) < 0)
			return;
		still = now == before ? still + 1 : 0;
		before = now;
		poll(NULL, 0, 1);
	}
}

/* The worker that brings it brings a key, too, that stops the terminal. Modes without such a key let it go on. */
void ckpt_pty_settle(int master, int slave, const struct ckpt_pty_modes *bare, uint8_t key)
{
	struct ckpt_pty_modes keyed = *bare;

	if (!key || !may_write(slave)) {
		await_still(slave);
		return;
	}
	keyed.iflag |= IXON;
	keyed.cc[VSTOP] = key;
	if (ioctl(master, CKPT_PTY_SET, &keyed) == 0 && write(master, &key, 1) == 1)
		for (int i = 0; i < TAKES_EFFECT_MS && may_write(slave); i++)
			poll(NULL, 0, 1);
	ioctl(master, CKPT_PTY_SET, bare);
}
