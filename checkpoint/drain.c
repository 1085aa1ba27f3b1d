/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/drain.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/internal.h"
#include "checkpoint/uring_waiting.h"
#include "runtime/value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#define PENDING_US 1000000
#define PAUSE_NS 200000

/* Whether anybody on this host has asynchronous I/O set up; as a rule nobody. */
static bool any_contexts(void)
{
	cleanup_free char *text = NULL;

	return fd_read_file_at(AT_FDCWD, "/proc/sys/fs/aio-nr", 64, &text, NULL) < 0 || strtoull(text, NULL, 10) > 0;
}

static int count_contexts(struct ckpt_dump *d, uint64_t *ret, pid_t *ret_who, struct err *e)
{
	int r = 0;

	*ret = 0;
	for (size_t i = 0; r == 0 && !*ret && i < d->frozen.count; i++) {
		*ret_who = d->frozen.procs[i].pid;
		r = ckpt_aio_pending(d, *ret_who, ret, e);
	}
	return r;
}

/* What is under way; 1: some is that must end. */
static int look(struct ckpt_dump *d, const struct ckpt_uring_waits *w, bool contexts, struct ckpt_uring_left *ret_left,
		pid_t *ret_who, struct err *e)
{
	const struct ckpt_uring_wait *who = NULL;
	uint64_t rings = 0, requests = 0;
	int r = contexts ? count_contexts(d, &requests, ret_who, e) : 0;

	*ret_left = (struct ckpt_uring_left){ 0 };
	if (r == 0)
		r = ckpt_uring_waits_count(d, w, &rings, &who, ret_left, e);
	if (r < 0)
		return r;
	if (rings) {
		*ret_who = d->frozen.procs[who->process].pid;
		err_set(e, ERR_UNSUPPORTED, "thread %d of process %d waits for %llu requests of io_uring that do not end",
			(int)who->tid, (int)*ret_who, (unsigned long long)rings);
	} else if (requests) {
		err_set(e, ERR_UNSUPPORTED, "process %d waits for %llu requests of asynchronous I/O (io_submit)",
			(int)*ret_who, (unsigned long long)requests);
	}
	return rings || requests;
}

/* Over when nothing has changed while all were served: what ends meanwhile may be news for who was so before. */
static int wait_for_all(struct ckpt_dump *d, const struct ckpt_uring_waits *w, bool contexts, struct err *e)
{
	uint64_t end = now_monotonic_us() + PENDING_US;
	struct ckpt_uring_left before;
	pid_t who = 0;
	int r = look(d, w, contexts, &before, &who, e);

	while (r >= 0) {
		bool busy = r > 0, same;

		if (busy)
			nanosleep(&(struct timespec){ 0, PAUSE_NS }, NULL);
		r = ckpt_uring_waits_serve(d, w, e);
		if (r == 0)
			r = look(d, w, contexts, &d->left, &who, e);
		same = r == 0 && !busy && ckpt_uring_left_same(&before, &d->left);
		ckpt_uring_left_done(&before);
		if (r < 0 || same || now_monotonic_us() > end)
			break;
		before = d->left;
		d->left = (struct ckpt_uring_left){ 0 };
	}
	return r > 0 ? ckpt_note(d, -EOPNOTSUPP, who, -1, e) : r;
}

int ckpt_drain(struct ckpt_dump *d, struct err *e)
{
	bool rings = d->kernel && (d->spec->features & RT_FEATURE_IO_URING), contexts = d->kernel && any_contexts();
	struct ckpt_uring_waits w = { 0 };
	int r = rings ? ckpt_uring_waits_find(d, &w, e) : 0;

	d->urings = w.count > 0;
	if (r == 0 && (w.count || contexts))
		r = wait_for_all(d, &w, contexts, e);
	ckpt_uring_waits_done(&w);
	return r;
}
