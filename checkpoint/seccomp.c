/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/seccomp.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

/* Not in libc's header. */
#define GET_FILTER 0x420c
#define GET_METADATA 0x420d
#define INSNS_MAX 4096 /* BPF_MAXINSNS, of one filter */
#define CHAIN_MAX 8192 /* the kernel allows 32768 instructions, and counts 4 more a filter */

static int get(pid_t tid, unsigned index, struct sock_filter *insn, uint32_t *flags, struct err *e)
{
	struct {
		uint64_t index, flags;
	} meta = { .index = index };
	long n = ptrace((enum __ptrace_request)GET_FILTER, tid, (void *)(uintptr_t)index,
			insn); /* NOLINT */

	if (n < 0 && errno == EACCES) {
		err_sys(e, "read the seccomp filters of thread %d", (int)tid);
		return err_hint(
			e, "this takes CAP_SYS_ADMIN and an engine that has no filters itself");
	}
	if (n < 0)
		return err_sys(e, "read seccomp filter %u of thread %d", index, (int)tid);
	/* Linux 4.16; without it nobody asked for a log either. */
	if (ptrace((enum __ptrace_request)GET_METADATA, tid, (void *)sizeof(meta), &meta) < 0)
		meta.flags = 0;
	*flags = (uint32_t)meta.flags & SECCOMP_FILTER_FLAG_LOG;
	return (int)n;
}

/* The id of a filter with this program, which may be new. */
static uint32_t find(struct ckpt_tree *t, const struct sock_filter *insn, size_t len,
		     uint32_t flags)
{
	Ckpt__SeccompFilter *f;

	for (size_t i = t->filter_count; i-- > 0;)
		if (t->filters[i]->program.len == len && t->filters[i]->flags == flags &&
		    memcmp(t->filters[i]->program.data, insn, len) == 0)
			return (uint32_t)i + 1;
	f = ckpt_alloc(&t->arena, sizeof(*f));
	if (!f)
		return 0;
	ckpt__seccomp_filter__init(f);
	f->program.data = ckpt_memdup(&t->arena, insn, len);
	f->program.len = len;
	f->flags = flags;
	if (!f->program.data || ckpt_push(&t->arena, &t->filters, &t->filter_count, f) < 0)
		return 0;
	return (uint32_t)t->filter_count;
}

int ckpt_seccomp_collect(struct ckpt_dump *d, pid_t tid, unsigned count, Ckpt__Thread *t,
			 struct err *e)
{
	cleanup_free struct sock_filter *insn = NULL;
	size_t own = count > d->base_filters ? count - d->base_filters : 0;

	if (!own)
		return 0;
	insn = malloc(INSNS_MAX * sizeof(*insn));
	t->seccomp = ckpt_alloc(&d->tree.arena, own * sizeof(*t->seccomp));
	if (!insn || !t->seccomp)
		return err_code(e, -ENOMEM, "collect seccomp filters");
	/* Counted from the oldest. */
	for (unsigned i = d->base_filters; i < count; i++) {
		uint32_t flags = 0, id;
		int n = get(tid, i, insn, &flags, e);

		if (n < 0)
			return n;
		id = find(&d->tree, insn, (size_t)n * sizeof(*insn), flags);
		if (!id)
			return err_code(e, -ENOMEM, "collect seccomp filters");
		t->seccomp[t->n_seccomp++] = id;
	}
	return 0;
}

int ckpt_seccomp_check(const struct ckpt_tree *t, const Ckpt__Thread *th, struct err *e)
{
	bool ok = th->n_seccomp <= CHAIN_MAX;

	for (size_t i = 0; ok && i < th->n_seccomp; i++) {
		uint32_t id = th->seccomp[i];

		ok = id > 0 && id <= t->filter_count;
		if (ok) {
			const Ckpt__SeccompFilter *f = t->filters[id - 1];

			ok = f->program.len && f->program.len % sizeof(struct sock_filter) == 0 &&
			     f->program.len <= INSNS_MAX * sizeof(struct sock_filter) &&
			     !(f->flags & ~(uint32_t)SECCOMP_FILTER_FLAG_LOG);
		}
	}
	return ok ? 0 :
		    err_set(e, ERR_FAIL, "the image is damaged: seccomp filters of thread %u",
			    th->tid);
}

size_t ckpt_seccomp_common(const Ckpt__Thread *a, const Ckpt__Thread *b)
{
	size_t n = 0;

	while (n < a->n_seccomp && n < b->n_seccomp && a->seccomp[n] == b->seccomp[n])
		n++;
	return n;
}

size_t ckpt_seccomp_put(const struct ckpt_tree *t, const Ckpt__Thread *th, size_t from, size_t to,
			struct list *l)
{
	for (; from < to; from++) {
		const Ckpt__SeccompFilter *f = t->filters[th->seccomp[from] - 1];
		struct sock_fprog prog = {
			.len = (unsigned short)(f->program.len / sizeof(struct sock_filter)),
		};

		if (!list_fits(l, 1, f->program.len + sizeof(prog) + 32))
			break;
		prog.filter = (void *)(uintptr_t)list_put(l, f->program.data,
							  f->program.len); /* NOLINT */
		/* What a filter does to speculation was done when it was made, and is set by itself. */
		list_call(l, "filter its system calls", SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			  f->flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
			  list_put(l, &prog, sizeof(prog)), 0, 0, 0);
	}
	return from;
}
