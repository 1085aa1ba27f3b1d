/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/beside.h"

#include <signal.h>

bool ckpt_beside(pthread_t *ret, void *(*run)(void *arg), void *arg)
{
	sigset_t all, old;
	int r;

	/* It has the mask from its first instruction on. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(ret, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r == 0;
}
