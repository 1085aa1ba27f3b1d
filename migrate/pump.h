/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_PUMP_H
#define MIGRATE_PUMP_H

#include "migrate/channel.h"

#include <pthread.h>

/*
 * The engine writes its image into a pipe; a thread makes frames of what comes out. What else is sent
 * meanwhile goes between them under the lock.
 */
struct mig_pump {
	struct mig_channel *channel;
	pthread_mutex_t lock;
	pthread_t thread;
	int in, out; /* the pipe's ends */
	int result;  /* of the thread, with why */
	struct err why;
	bool runs;
};

int mig_pump_start(struct mig_pump *p, struct mig_channel *c, struct err *e);
/* Returns when all that was written so far is in frames. */
int mig_pump_drain(struct mig_pump *p, struct err *e);
/* All that was written is in frames, sent or queued. Its failure is why the writer failed. */
int mig_pump_finish(struct mig_pump *p, struct err *e);

#endif
