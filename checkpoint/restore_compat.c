/* SPDX-License-Identifier: GPL-2.0-or-later */

/* 32-bit programs: what is set by 32-bit calls, or in their descriptors. */
#include "base/macro.h"
#include "checkpoint/compat.h"
#include "checkpoint/restore_internal.h"

#include <asm/ldt.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

#define SET_THREAD_AREA 26

/* As the 32-bit rt_sigaction(2) has it. */
struct compat_action {
	uint32_t handler, flags, restorer, mask[2];
};
_Static_assert(64 * sizeof(struct compat_action) <= CKPT_PAGE, "all lie in one page");

static int call(struct restoring *p, size_t thread, const struct ckpt_call *c, int64_t *ret, struct err *e)
{
	int r = ckpt_batch_one(&p->batch, &p->threads[thread], c, ret, e);

	return r == 0 && *ret < 0 && *ret > -4096
		? err_code(e, (int)*ret, "restore process %d: 32-bit call %u", (int)p->threads[thread].ns_tgid, (unsigned)c->nr) : r;
}

/* Our own memory lies where such calls do not reach. */
static int map_low(struct restoring *p, uint64_t *ret, struct err *e)
{
	const struct ckpt_call c = { CKPT_COMPAT | CKPT_COMPAT_MMAP,
				     { 0, CKPT_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, UINT32_MAX, 0 }, 0 };
	int64_t at = 0;
	int r = call(p, 0, &c, &at, e);

	*ret = (uint64_t)at;
	return r;
}

static int set_actions(struct restoring *p, uint64_t at, struct err *e)
{
	const Ckpt__SignalActions *s = p->task->actions;
	struct compat_action all[64] = { 0 };
	int64_t ret;
	int r;

	for (size_t i = 0; i < s->n_action; i++) {
		const Ckpt__SignalAction *a = s->action[i];

		all[i] = (struct compat_action){ (uint32_t)a->handler, (uint32_t)a->flags, (uint32_t)a->restorer,
						 { (uint32_t)a->mask, (uint32_t)(a->mask >> 32) } };
	}
	r = ckpt_mem_write(p->batch.pid, at, all, sizeof(all));
	if (r < 0)
		return err_code(e, r, "write into process %d", (int)p->threads[0].ns_tgid);
	for (size_t i = 0; r == 0 && i < s->n_action; i++) {
		const struct ckpt_call c = { CKPT_COMPAT | CKPT_COMPAT_SIGACTION,
					     { s->action[i]->signal, at + i * sizeof(all[0]), 0, 8 }, 0 };

		if (s->action[i]->signal != SIGKILL && s->action[i]->signal != SIGSTOP)
			r = call(p, 0, &c, &ret, e);
	}
	return r;
}

/* The kernel builds 32-bit frames for handlers that were set by 32-bit calls. */
int restore_compat_actions(struct restoring *p, struct err *e)
{
	uint64_t at = 0;
	int64_t ret;
	int r = map_low(p, &at, e);
	const struct ckpt_call c = { CKPT_COMPAT | CKPT_COMPAT_MUNMAP, { at, CKPT_PAGE }, 0 };

	if (r == 0)
		r = set_actions(p, at, e);
	return r == 0 ? call(p, 0, &c, &ret, e) : r;
}

int restore_compat_thread(struct restoring *p, size_t i, struct err *e)
{
	const Ckpt__ThreadCompat *t = p->task->threads[i]->compat;
	int64_t ret;

	if (!t || !t->robust_list)
		return 0;
	return call(p, i, &(struct ckpt_call){ CKPT_COMPAT | CKPT_COMPAT_SET_ROBUST_LIST, { t->robust_list, 12 }, 0 }, &ret, e);
}

int restore_compat_tls(struct restoring *p, size_t i, struct err *e)
{
	const Ckpt__ThreadCompat *t = p->task->threads[i]->compat;
	struct user_desc u;

	for (size_t at = 0; t && at < t->tls.len; at += sizeof(u)) {
		memcpy(&u, t->tls.data + at, sizeof(u));
		/* The kernel checks the number. */
		if (ptrace((enum __ptrace_request)SET_THREAD_AREA, p->threads[i].tid, (void *)(uintptr_t)u.entry_number, &u) < 0)
			return err_sys(e, "set the thread-local storage of thread %u", p->task->threads[i]->tid);
	}
	return 0;
}
