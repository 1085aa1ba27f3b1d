/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/pump.h"

#include "base/macro.h"
#include "checkpoint/beside.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <time.h>

#define PIECE (256u << 10)

/*
 * Under the lock. When the pipe is empty the engine may be long about what comes next: while it scans, or collects in
 * the pause. What it has written is not to wait for that, above all the first record, which has the clocks.
 */
static int pass_on(struct mig_pump *p, char *data, ssize_t *ret)
{
	int r;

	*ret = read(p->in, data, PIECE);
	if (*ret < 0 && errno != EINTR)
		return err_sys(&p->why, "send the image");
	if (*ret <= 0)
		return 0;
	r = mig_send(p->channel, MIG_IMAGE, data, (size_t)*ret, &p->why);
	return r == 0 && *ret < (ssize_t)PIECE ? mig_flush(p->channel, &p->why) : r;
}

static void *run(void *arg)
{
	struct mig_pump *p = arg;
	cleanup_free char *data = malloc(PIECE);
	ssize_t n = -1;

	if (!data)
		p->result = err_code(&p->why, -ENOMEM, "send the image");
	/* Read under the lock: what is not in the pipe any more is in a frame. */
	while (p->result == 0 && n != 0) {
		struct pollfd ready = { .fd = p->in, .events = POLLIN };

		poll(&ready, 1, -1);
		pthread_mutex_lock(&p->lock);
		p->result = pass_on(p, data, &n);
		pthread_mutex_unlock(&p->lock);
	}
	pthread_mutex_lock(&p->lock);
	fd_close(&p->in); /* the writer hears of a failure by EPIPE */
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int mig_pump_start(struct mig_pump *p, struct mig_channel *c, struct err *e)
{
	int fds[2];

	*p = (struct mig_pump){ .channel = c };
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	/* Not more: what the engine has written is to be on its way, as it counts then what was written to
	 * meanwhile. */
	fcntl(fds[1], F_SETPIPE_SZ, PIECE);
	p->in = fds[0];
	p->out = fds[1];
	pthread_mutex_init(&p->lock, NULL);
	p->runs = ckpt_beside(&p->thread, run, p);
	if (p->runs)
		return 0;
	fd_close(&p->in);
	fd_close(&p->out);
	return err_code(e, -EAGAIN, "make a thread");
}

int mig_pump_drain(struct mig_pump *p, struct err *e)
{
	int left = 1, r = 0;

	while (r == 0 && left) {
		pthread_mutex_lock(&p->lock);
		r = p->result;
		if (p->in < 0 || ioctl(p->out, FIONREAD, &left) < 0)
			left = 0;
		pthread_mutex_unlock(&p->lock);
		if (r == 0 && left)
			nanosleep(&(struct timespec){ 0, 100000 }, NULL);
	}
	if (r < 0)
		*e = p->why;
	return r;
}

int mig_pump_finish(struct mig_pump *p, struct err *e)
{
	if (!p->runs)
		return 0;
	fd_close(&p->out);
	pthread_join(p->thread, NULL);
	p->runs = false;
	pthread_mutex_destroy(&p->lock);
	if (p->result < 0)
		*e = p->why;
	return p->result;
}
