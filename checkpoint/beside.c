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

static void *run_job(void *arg)
{
	struct ckpt_job *j = arg;

	j->result = j->work(j->arg, &j->why);
	return NULL;
}

void ckpt_job_start(struct ckpt_job *j, bool beside, int (*work)(void *arg, struct err *e), void *arg)
{
	*j = (struct ckpt_job){ .work = work, .arg = arg };
	j->beside = beside && ckpt_beside(&j->thread, run_job, j);
	if (!j->beside)
		run_job(j);
}

int ckpt_job_wait(struct ckpt_job *j, struct err *e)
{
	if (j->beside)
		pthread_join(j->thread, NULL);
	if (j->result < 0)
		*e = j->why;
	return j->result;
}
