/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * CLOCK_MONOTONIC and CLOCK_BOOTTIME go on where they were (time namespace), so that what is left of
 * a timer is what matters. Expirations that nobody has read are set with TFD_IOC_SET_TICKS.
 */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SET_TICKS _IOW('T', 0, uint64_t) /* linux/timerfd.h, needs CONFIG_CHECKPOINT_RESTORE */

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

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	out->more = ckpt_alloc(ckpt_dump_arena(d), 5 * sizeof(uint64_t));
	if (!out->more)
		return err_code(e, -ENOMEM, "collect a timerfd");
	out->n_more = 5;
	if (ckpt_info_number(f, "clockid", 10, &out->value) < 0 ||
	    ckpt_info_number(f, "ticks", 10, &out->value2) < 0 ||
	    ckpt_info_number(f, "settime flags", 8, &out->more[0]) < 0 ||
	    times(f->info, "it_value", &out->more[1]) < 0 ||
	    times(f->info, "it_interval", &out->more[3]) < 0)
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell the state of a timerfd");
	return 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	struct itimerspec its;
	int fd;

	(void)o;
	if (f->n_more != 5 || f->more[2] > 999999999 || f->more[4] > 999999999)
		return err_set(e, ERR_FAIL, "the image is damaged: a timerfd");
	fd = timerfd_create((int)f->value, TFD_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "make a timerfd");
	its.it_value.tv_sec = (time_t)f->more[1];
	its.it_value.tv_nsec = (long)f->more[2];
	its.it_interval.tv_sec = (time_t)f->more[3];
	its.it_interval.tv_nsec = (long)f->more[4];
	if (timerfd_settime(fd, 0, &its, NULL) < 0 ||
	    (f->value2 && ioctl(fd, SET_TICKS, &f->value2) < 0)) {
		err_sys(e, "set a timerfd");
		close(fd);
		return -EIO;
	}
	return fd;
}

const struct ckpt_kind ckpt_kind_timerfd = { "timerfd", is, dump, open_again, false, .info = true };
