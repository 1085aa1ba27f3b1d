/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * When a timer goes off is kept as a time of its clock. CLOCK_MONOTONIC and CLOCK_BOOTTIME go on where they
 * were (time namespace), CLOCK_REALTIME is what it is: absolute timers that are overdue go off at once, and
 * relative ones, which the kernel runs by CLOCK_MONOTONIC whatever their clock, have as much left as they
 * had. Expirations that nobody has read are set with TFD_IOC_SET_TICKS.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SET_TICKS _IOW('T', 0, uint64_t) /* linux/timerfd.h, needs CONFIG_CHECKPOINT_RESTORE */
#define SECOND 1000000000ull
#define TRIES 1000

enum { M_FLAGS, M_VALUE, M_VALUE_NS, M_INTERVAL, M_INTERVAL_NS, M_COUNT };

static bool is(const struct ckpt_fd *f)
{
	return strcmp(f->link, "anon_inode:[timerfd]") == 0;
}

static int times(const char *info, const char *key, uint64_t *ret)
{
	const char *l = strstr(info, key);
	unsigned long long s, ns;

	if (!l || sscanf(l + strlen(key), ": (%llu, %llu)", &s, &ns) != 2)
		return -1;
	ret[0] = s;
	ret[1] = ns;
	return 0;
}

static int read_state(const char *info, Ckpt__File *out)
{
	struct ckpt_fd f = { .info = info };

	return ckpt_info_number(&f, "clockid", 10, &out->value) < 0 ||
	       ckpt_info_number(&f, "ticks", 10, &out->value2) < 0 ||
	       ckpt_info_number(&f, "settime flags", 8, &out->more[M_FLAGS]) < 0 ||
	       times(info, "it_value", &out->more[M_VALUE]) < 0 ||
	       times(info, "it_interval", &out->more[M_INTERVAL]) < 0 ? -1 : 0;
}

/*
 * A periodic timer that went off stands until it is asked (which changes nothing that could be seen): its
 * next expiration is not known before.
 */
static int read_running(const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	for (int i = 0; i < TRIES; i++) {
		cleanup_free char *info = NULL;
		struct itimerspec its;
		int r;

		if (timerfd_gettime(f->own, &its) < 0)
			return err_sys(e, "look at a timerfd of process %d", (int)f->pid);
		r = ckpt_fd_info(f->pid, f->fd, &info, e);
		if (r < 0)
			return r;
		if (!info || read_state(info, out) < 0)
			return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell the state of a timerfd");
		if (out->more[M_VALUE] || out->more[M_VALUE_NS] ||
		    (!out->more[M_INTERVAL] && !out->more[M_INTERVAL_NS]))
			return 0;
	}
	/* Faster than it can be looked at: any moment will do. */
	out->more[M_VALUE_NS] = 1;
	return 0;
}

static bool is_relative(const Ckpt__File *f)
{
	return f->value == CLOCK_REALTIME && !(f->more[M_FLAGS] & TFD_TIMER_ABSTIME);
}

static uint64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

/* From what is left to when it is, on the VPS's clock. Rather late than early. */
static int make_absolute(struct ckpt_dump *d, Ckpt__File *f, struct err *e)
{
	uint64_t at = f->more[M_VALUE] * SECOND + f->more[M_VALUE_NS] + now((clockid_t)f->value);
	int64_t offset[2];
	int r;

	if ((!f->more[M_VALUE] && !f->more[M_VALUE_NS]) || is_relative(f))
		return 0;
	if (f->value != CLOCK_REALTIME) {
		r = ckpt_clock_offsets(d->init, offset, e);
		if (r < 0)
			return r;
		at += (uint64_t)offset[f->value == CLOCK_BOOTTIME];
	}
	f->more[M_VALUE] = at / SECOND;
	f->more[M_VALUE_NS] = at % SECOND;
	return 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	int r;

	out->more = ckpt_alloc(ckpt_dump_arena(d), M_COUNT * sizeof(uint64_t));
	if (!out->more)
		return err_code(e, -ENOMEM, "collect a timerfd");
	out->n_more = M_COUNT;
	r = read_running(f, out, e);
	if (r == 0 && out->value != CLOCK_REALTIME && out->value != CLOCK_MONOTONIC && out->value != CLOCK_BOOTTIME)
		return err_set(e, ERR_UNSUPPORTED,
			       "fd %d of process %d is a timer that wakes the machine, which cannot "
			       "be saved",
			       f->fd, (int)f->pid);
	return r == 0 ? make_absolute(d, out, e) : r;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	struct itimerspec its;
	int fd, flags;

	(void)o;
	if (f->n_more != M_COUNT || f->more[M_VALUE_NS] >= SECOND || f->more[M_INTERVAL_NS] >= SECOND)
		return err_set(e, ERR_FAIL, "the image is damaged: a timerfd");
	fd = timerfd_create((int)f->value, TFD_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "make a timerfd");
	its.it_value.tv_sec = (time_t)f->more[M_VALUE];
	its.it_value.tv_nsec = (long)f->more[M_VALUE_NS];
	its.it_interval.tv_sec = (time_t)f->more[M_INTERVAL];
	its.it_interval.tv_nsec = (long)f->more[M_INTERVAL_NS];
	flags = is_relative(f) ? 0 : TFD_TIMER_ABSTIME;
	if (f->value == CLOCK_REALTIME)
		flags |= (int)f->more[M_FLAGS] & TFD_TIMER_CANCEL_ON_SET;
	if (timerfd_settime(fd, flags, &its, NULL) < 0 ||
	    (f->value2 && ioctl(fd, SET_TICKS, &f->value2) < 0)) {
		err_sys(e, "set a timerfd");
		close(fd);
		return -EIO;
	}
	return fd;
}

const struct ckpt_kind ckpt_kind_timerfd = { "timerfd", is, dump, open_again, false };
