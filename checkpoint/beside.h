/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_BESIDE_H
#define CHECKPOINT_BESIDE_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>

/* Begins a thread of the engine's own that gets no signals, which are the main thread's. A leaf. False: there is none,
 * and the caller does its work. */
bool ckpt_beside(pthread_t *ret, void *(*run)(void *arg), void *arg);

/* Work of which it matters what comes of it: it begins with start(), and is done when that returns if there is no
 * thread, or none is wanted. wait() tells, once, and what e says is its. */
struct ckpt_job {
	int (*work)(void *arg, struct err *e);
	void *arg;
	pthread_t thread;
	bool beside;
	int result;
	struct err why;
};
void ckpt_job_start(struct ckpt_job *j, bool beside, int (*work)(void *arg, struct err *e), void *arg);
int ckpt_job_wait(struct ckpt_job *j, struct err *e);

#endif
