/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/in.h"

#include "checkpoint/beside.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

/* What others write to the same disk goes with it, and so it takes as long as it takes: the source hears meanwhile
 * that we are there. */

struct sync_job {
	int fd, error;
};

static void *write_all(void *arg)
{
	struct sync_job *j = arg;

	j->error = syncfs(j->fd) < 0 ? errno : 0;
	return NULL;
}

static void wait_for(struct mig_receiving *r, pthread_t thread)
{
	struct timespec until;

	do {
		mig_in_told(r, "write to the disk", 0, 0);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
	} while (pthread_timedjoin_np(thread, NULL, &until) == ETIMEDOUT);
}

int mig_in_sync(struct mig_receiving *r, struct err *e)
{
	struct sync_job j = { .fd = r->dir };
	pthread_t thread;

	if (ckpt_beside(&thread, write_all, &j))
		wait_for(r, thread);
	else
		write_all(&j);
	return j.error ? err_code(e, -j.error, "write it to the disk") : 0;
}

int mig_in_await_files(struct mig_receiving *r, struct err *e)
{
	int ret = storage_receive_settle(r->files, 1000, e);

	while (ret > 0) {
		mig_in_told(r, "write to the disk", 0, 0);
		ret = storage_receive_settle(r->files, 1000, e);
	}
	return ret;
}
