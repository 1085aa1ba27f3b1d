/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The processes themselves: the first is taken over, the others are born by their parents. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | \
		 PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL | (1u << 21)) /* SUSPEND_SECCOMP */

/* The first process becomes an empty address space with our memory in it. */
int restore_take_over(struct restore *r, pid_t init, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[0];
	struct ckpt_call c = { SYS_mmap,
			       { r->region, RESTORE_REGION, PROT_READ | PROT_WRITE | PROT_EXEC,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, UINT64_MAX, 0 }, 0 };
	struct {
		uint64_t pointer;
		uint32_t size, signature, flags, pad;
	} rseq = { 0 };
	int64_t ret = 0;
	int n = ckpt_trace_seize(init, OPTIONS);

	if (n == 0)
		n = ckpt_trace_interrupt(init);
	if (n == 0)
		n = ckpt_trace_wait_event(init, NULL);
	if (n < 0)
		return err_code(e, n, "stop the first process");
	if (ptrace((enum __ptrace_request)0x420f, init, (void *)sizeof(rseq), &rseq) < 0)
		rseq.pointer = 0;
	n = ckpt_batch_open(&p->batch, init, &init, 1, e);
	if (n == 0)
		n = ckpt_thread_adopt(&p->threads[0], init, 1, 1, e);
	if (n == 0)
		n = ckpt_batch_one(&p->batch, &p->threads[0], &c, &ret, e);
	if (n == 0 && ret != (int64_t)r->region)
		n = err_code(e, ret < 0 ? (int)ret : -EEXIST, "map memory in the first process");
	if (n == 0)
		n = ckpt_batch_move(&p->batch, r->region, r->region + CKPT_PAGE,
				    RESTORE_REGION - CKPT_PAGE, e);
	if (n < 0)
		return n;
	list_init(l, r);
	if (rseq.pointer)
		list_call(l, "let go of rseq", SYS_rseq, rseq.pointer, rseq.size, 1, rseq.signature, 0, 0);
	list_call(l, "let go of robust futexes", SYS_set_robust_list, 0, 24, 0, 0, 0, 0);
	list_call(l, "let go of the end address", SYS_set_tid_address, 0, 0, 0, 0, 0, 0);
	list_call(l, "unmap memory", SYS_munmap, 0, r->region, 0, 0, 0, 0);
	list_call(l, "unmap memory", SYS_munmap, r->region + RESTORE_REGION,
		  RESTORE_ADDRESS_MAX - r->region - RESTORE_REGION, 0, 0, 0, 0);
	p->task->pid = init;
	return list_run(l, &p->batch, &p->threads[0], e);
}

static struct restoring *find(struct restore *r, uint32_t pid, size_t before)
{
	for (size_t i = 0; i < before; i++)
		if (r->procs[i].task->process->pid == pid)
			return &r->procs[i];
	return NULL;
}

/*
 * A daemon whose session's leader has ended is a child of process 1 by adoption. It is born again as it
 * was: process 1 makes a leader of that number, which makes a session and then the daemon, and ends.
 */
static int standin(struct restore *r, uint32_t sid, struct list *l, struct restoring **ret, struct err *e)
{
	struct restoring *first = &r->procs[0];
	struct standin *s;
	pid_t pid;
	int n;

	for (size_t i = 0; i < r->standin_count; i++)
		if (r->standins[i]->sid == sid) {
			*ret = &r->standins[i]->p;
			return 0;
		}
	s = ckpt_alloc(&r->tree.arena, sizeof(*s));
	if (s)
		s->p.threads = ckpt_alloc(&r->tree.arena, sizeof(*s->p.threads));
	if (!s || !s->p.threads)
		return err_code(e, -ENOMEM, "restore");
	s->sid = sid;
	s->p.batch.mem = -EBADF;
	list_init(l, r);
	n = restore_clone(l, &first->batch, &first->threads[0], CLONE_FILES, (pid_t)sid, &pid, e);
	if (n == 0)
		n = ckpt_batch_copy(&s->p.batch, &first->batch, pid, e);
	if (n == 0)
		n = ckpt_thread_adopt(&s->p.threads[0], pid, (pid_t)sid, (pid_t)sid, e);
	if (n == 0 && ckpt_push(&r->tree.arena, &r->standins, &r->standin_count, s) < 0)
		n = err_code(e, -ENOMEM, "restore");
	if (n < 0)
		return n;
	list_init(l, r);
	list_call(l, "begin a session", SYS_setsid, 0, 0, 0, 0, 0, 0);
	*ret = &s->p;
	return list_run(l, &s->p.batch, &s->p.threads[0], e);
}

/* They end, and process 1 waits for them, so that it never learns of them. */
static int end_standins(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->standin_count; i++) {
		struct restoring *p = &r->standins[i]->p;
		pid_t tid = p->threads[0].tid;

		if (kill(tid, SIGKILL) < 0)
			return err_sys(e, "end a stand-in");
		ckpt_trace_reap_all(&tid, 1);
		p->threads[0].tid = 0;
		fd_close(&p->batch.mem);
		list_init(l, r);
		list_call(l, "wait for a stand-in", SYS_wait4, r->standins[i]->sid, 0, 0, 0, 0, 0);
		n = list_run(l, &r->procs[0].batch, &r->procs[0].threads[0], e);
	}
	return n;
}

/* Every process by its own parent; a session's leader before its children. */
int restore_fork_tree(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 1; n == 0 && i < r->tree.task_count; i++) {
		struct restoring *p = &r->procs[i];
		const Ckpt__Process *k = p->task->process;
		struct restoring *parent = find(r, k->ppid, i);
		pid_t pid;

		if (!parent)
			return err_set(e, ERR_FAIL, "the image is damaged: process %u has no parent", k->pid);
		if (k->sid != k->pid && k->sid != parent->task->process->sid) {
			if (k->ppid != 1 || find(r, k->sid, r->tree.task_count))
				return err_set(e, ERR_UNSUPPORTED, "process %u is in a session that its parent is not "
					       "in", k->pid);
			n = standin(r, k->sid, l, &parent, e);
			if (n < 0)
				return n;
		}
		list_init(l, r);
		/* One table of open files for all, until late.c has done with it. */
		n = restore_clone(l, &parent->batch, &parent->threads[0], CLONE_FILES, (pid_t)k->pid, &pid,
				  e);
		if (n == 0)
			n = ckpt_batch_copy(&p->batch, &parent->batch, pid, e);
		if (n == 0)
			n = ckpt_thread_adopt(&p->threads[0], pid, (pid_t)k->pid, (pid_t)k->pid, e);
		p->task->pid = pid;
		if (n == 0 && k->sid == k->pid) {
			list_init(l, r);
			list_call(l, "begin a session", SYS_setsid, 0, 0, 0, 0, 0, 0);
			n = list_run(l, &p->batch, &p->threads[0], e);
		}
	}
	/* Groups: their leaders first. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; n == 0 && i < r->tree.task_count; i++) {
			const Ckpt__Process *k = r->procs[i].task->process;

			if ((k->pgid == k->pid) != (pass == 0) || k->sid == k->pid || k->pgid == k->sid)
				continue; /* born into it */
			list_init(l, r);
			list_call(l, "join its process group", SYS_setpgid, 0, k->pgid, 0, 0, 0, 0);
			n = list_run(l, &r->procs[i].batch, &r->procs[i].threads[0], e);
		}
	return n == 0 ? end_standins(r, l, e) : n;
}
