/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/drain.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/uring_waiting.h"
#include "runtime/value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#define QUIET_US 1000000 /* in which none ends */
#define WHOLE_US 5000000
#define PAUSE_NS 200000
#define AWAY_US 20000 /* between two looks at most, where nobody stands still */

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
	for (size_t i = 0; r == 0 && i < d->frozen.count; i++) {
		uint64_t own = 0;

		r = ckpt_aio_pending(d, d->frozen.procs[i].pid, &own, e);
		*ret += own;
		if (own)
			*ret_who = d->frozen.procs[i].pid;
	}
	return r;
}

struct sight {
	struct ckpt_uring_left left;
	uint64_t all; /* under way, those that need not end too */
	pid_t who;    /* has some that must */
};

/* What is under way; 1: some is that must end. -EAGAIN, -E2BIG: as ckpt_uring_waits_count(). */
static int look(struct ckpt_dump *d, bool contexts, struct sight *ret, struct err *e)
{
	const struct ckpt_uring_wait *who = NULL;
	uint64_t rings = 0, requests = 0;
	int r;

	*ret = (struct sight){ 0 };
	r = contexts ? count_contexts(d, &requests, &ret->who, e) : 0;
	if (r == 0)
		r = ckpt_uring_waits_count(d, &d->waits, &rings, &who, &ret->left, e);
	if (who && (r < 0 || rings))
		ret->who = d->frozen.procs[who->process].pid;
	ret->all = ret->left.all + requests;
	if (r == -E2BIG)
		err_set(e, ERR_UNSUPPORTED, "process %d has io_urings with more requests that wait than can be saved",
			(int)ret->who);
	if (r < 0)
		return r;
	if (rings)
		err_set(e, ERR_UNSUPPORTED, "thread %d of process %d waits for %llu requests of io_uring that do not end",
			(int)who->tid, (int)ret->who, (unsigned long long)rings);
	else if (requests)
		err_set(e, ERR_UNSUPPORTED, "process %d waits for %llu requests of asynchronous I/O (io_submit)",
			(int)ret->who, (unsigned long long)requests);
	return rings || requests;
}

/* For how long it is worth it: they may end one after the other. */
struct patience {
	uint64_t fewest;
	struct wait_limit quiet, whole;
};

static bool is_patient(struct patience *p, const struct sight *s, int r)
{
	bool over = wait_limit_is_over(&p->whole, AWAY_US);

	if (r == -EAGAIN || (r >= 0 && s->all < p->fewest))
		p->quiet = wait_limit(QUIET_US);
	if (r >= 0 && s->all < p->fewest)
		p->fewest = s->all;
	return !wait_limit_is_over(&p->quiet, AWAY_US) && !over;
}

/* As long as requests end while they are looked at, nothing is known. */
static bool is_busy(int r)
{
	return r > 0 || r == -EAGAIN || r == -E2BIG;
}

/* Over when nothing has changed while all were served: what ends meanwhile may be news for who was so before. */
static int wait_for_all(struct ckpt_dump *d, bool contexts, struct err *e)
{
	struct patience p = { UINT64_MAX, wait_limit(QUIET_US), wait_limit(WHOLE_US) };
	struct sight now, before;
	int r = look(d, contexts, &now, e);
	bool over = false;

	while (!over && (r == 0 || is_busy(r)) && is_patient(&p, &now, r)) {
		int was = r;

		if (is_busy(was))
			nanosleep(&(struct timespec){ 0, PAUSE_NS }, NULL);
		before = now;
		r = ckpt_uring_waits_serve(d, &d->waits, e);
		if (r < 0) {
			ckpt_uring_left_done(&before.left);
			return r;
		}
		r = look(d, contexts, &now, e);
		over = r == was && (r == 0 ? ckpt_uring_left_same(&before.left, &now.left) : r == -E2BIG);
		ckpt_uring_left_done(&before.left);
	}
	d->left = now.left;
	return is_busy(r) ? ckpt_note(d, -EOPNOTSUPP, now.who, -1, e) : r;
}

int ckpt_drain(struct ckpt_dump *d, struct err *e)
{
	bool rings = d->spec->features & RT_FEATURE_IO_URING, contexts = any_contexts();
	struct err ignored;
	int r;

	if (!rings && !contexts)
		return 0;
	d->blind = !d->kernel && ckpt_kernel_open(&d->kernel, &ignored) < 0;
	if (d->blind)
		return 0;
	r = rings ? ckpt_uring_waits_find(d, &d->waits, e) : 0;
	d->urings = d->waits.count > 0;
	return r == 0 && (d->waits.count || contexts) ? wait_for_all(d, contexts, e) : r;
}

int ckpt_drained(struct ckpt_dump *d, struct err *e)
{
	struct ckpt_kernel *k;
	int r = d->blind ? ckpt_kernel_open(&k, e) : 0;

	if (r < 0 || !d->blind)
		return r;
	/* It might be read by now, which is too late. */
	ckpt_kernel_close(k);
	err_set(e, ERR_UNSUPPORTED, "nobody has waited for requests that are under way");
	return -EAGAIN;
}
