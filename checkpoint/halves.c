/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Two at once: what is done for each of many processes, and needs no ptrace(2). */
#include "base/macro.h"
#include "checkpoint/beside.h"
#include "checkpoint/internal.h"

#include <pthread.h>

#define WORTH_IT 8

struct half {
	size_t from, to;
	ckpt_each run;
	void *arg;
	int result;
	struct err e;
};

static void *run(void *arg)
{
	struct half *h = arg;

	for (size_t i = h->from; h->result == 0 && i < h->to; i++)
		h->result = h->run(h->arg, i, &h->e);
	return NULL;
}

int ckpt_in_halves(size_t count, ckpt_each fn, void *arg, struct err *e)
{
	size_t mid = count < WORTH_IT ? count : count / 2;
	struct half one = { 0, mid, fn, arg, 0, { 0 } }, other = { mid, count, fn, arg, 0, { 0 } };
	const struct half *failed;
	pthread_t thread;
	bool running;

	running = mid < count && ckpt_beside(&thread, run, &other);
	run(&one);
	if (running)
		pthread_join(thread, NULL);
	else
		run(&other);
	failed = one.result < 0 ? &one : &other;
	if (failed->result < 0)
		*e = failed->e;
	return failed->result;
}
