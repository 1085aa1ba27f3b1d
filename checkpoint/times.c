/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/times.h"

#include "base/macro.h"
#include "base/step.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t now_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void ckpt_time(const char *what)
{
	static __thread int64_t wall, cpu;
	static int wanted = -1;
	const char *env;

	if (what)
		step_mark(what);
	if (wanted < 0) {
		env = getenv("VPS_TIMES");
		wanted = env && STREQ(env, "1");
	}
	if (!wanted)
		return;
	if (wall && what)
		fprintf(stderr, "%7lld us, %7lld of them running: %s\n", (long long)(now_us(CLOCK_MONOTONIC) - wall),
			(long long)(now_us(CLOCK_THREAD_CPUTIME_ID) - cpu), what);
	wall = now_us(CLOCK_MONOTONIC);
	cpu = now_us(CLOCK_THREAD_CPUTIME_ID);
}
