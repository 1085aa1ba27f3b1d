/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Processes that end while all others are stopped. The kernel takes one out of its control group, which is frozen then,
 * a moment before it becomes a zombie, its children get another parent and its parent a signal (cgroup_exit() and
 * exit_notify() in do_exit(), 6.18). A moment is long where a processor stands still, as those of virtual machines do.
 */
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <sched.h>

#define END_TIMEOUT_US 1000000 /* process 1 of a pid namespace waits for all others there, which may wait for us */
#define EXITING 4 /* PF_EXITING in the flags of proc_pid_stat(5) */

/* A first thread that is a zombie has passed on its children, whether or not others live. */
static bool is_ending(pid_t pid)
{
	uint64_t field[53] = { 0 };
	char state = proc_state(pid);

	return state != 'X' && state != 'Z' && ckpt_stat_read(pid, field) == 0 && (field[9] & EXITING);
}

int ckpt_ending_await(pid_t pid, struct err *e)
{
	uint64_t end = now_monotonic_us() + END_TIMEOUT_US;

	while (is_ending(pid)) {
		if (now_monotonic_us() > end) {
			err_set(e, ERR_TIMEOUT, "process %d does not come to its end", (int)pid);
			return -EAGAIN;
		}
		sched_yield();
	}
	return 0;
}

int ckpt_ending_parent(const struct ckpt_frozen *f, pid_t pid, pid_t *ret, struct err *e)
{
	pid_t before = 0;
	size_t at = 0;

	for (;; before = *ret) {
		uint64_t field[53] = { 0 };
		int r = ckpt_stat_read(pid, field);

		if (r < 0)
			return err_code(e, r, "look at process %d", (int)pid);
		*ret = (pid_t)field[4];
		if (*ret == before || ckpt_is_frozen(f, *ret, &at))
			return 0;
		r = ckpt_ending_await(*ret, e);
		if (r < 0)
			return r;
	}
}
