/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/batch.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/stub.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <xxhash.h>

/* Not in the headers of Linux 6.1. */
#define GET_DISPATCH 0x4211
#define SET_DISPATCH 0x4210
#define GET_RSEQ 0x420f
#define O_SUSPEND_SECCOMP (1u << 21)

#define USER_CS64 0x33
#define FLAG_DF 0x400u
#define FLAG_OF 0x800u

/* What the kernel leaves in rax of an interrupted call; not in user space's headers. */
enum { ERESTARTSYS = 512, ERESTARTNOINTR = 513, ERESTARTNOHAND = 514, ERESTART_RESTARTBLOCK = 516 };

static uint64_t at(const struct ckpt_batch *b, const uint8_t *label)
{
	return b->code + (uint64_t)(label - ckpt_stub_start);
}

static size_t stub_size(void)
{
	return (size_t)(ckpt_stub_stop - ckpt_stub_start);
}

static size_t data_offset(void)
{
	return (size_t)(ckpt_stub_data - ckpt_stub_start);
}

static int trace(int request, pid_t tid, uintptr_t addr, void *data)
{
	return ptrace((enum __ptrace_request)request, tid, (void *)addr, data) < 0 ? -errno : 0;
}

int ckpt_mem_read(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	struct iovec l = { buf, len }, r = { (void *)(uintptr_t)addr, len };
	ssize_t n = process_vm_readv(pid, &l, 1, &r, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EFAULT;
}

int ckpt_mem_write(pid_t pid, uint64_t addr, const void *buf, size_t len)
{
	struct iovec l = { (void *)(uintptr_t)buf, len }, r = { (void *)(uintptr_t)addr, len };
	ssize_t n = process_vm_writev(pid, &l, 1, &r, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EFAULT;
}

/*
 * Into the vdso, which is not writable: the kernel copies the page for this process, as it does for
 * a debugger's breakpoints. /proc/PID/mem takes it at once unless the kernel was built or started to
 * refuse that (CONFIG_PROC_MEM_NO_FORCE, Linux 6.12); PTRACE_POKEDATA always does.
 */
static int write_code(const struct ckpt_batch *b, pid_t tid, uint64_t addr, const void *buf, size_t len)
{
	ssize_t n = pwrite(b->mem, buf, len, (off_t)addr);

	if (n == (ssize_t)len)
		return 0;
	for (size_t i = 0; i < len; i += sizeof(long)) {
		uintptr_t word;
		int r;

		memcpy(&word, (const char *)buf + i, sizeof(word));
		r = trace(PTRACE_POKEDATA, tid, addr + i, (void *)word);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Our own vdso: where it is, how much of its last page is used. */
struct vdso {
	const uint8_t *image;
	size_t size, used;
};

static int read_own_vdso(struct vdso *v)
{
	static struct vdso known;
	const Elf64_Ehdr *h = (const void *)getauxval(AT_SYSINFO_EHDR); /* NOLINT */
	unsigned long from, to;
	char line[512];

	if (known.image) {
		*v = known;
		return 0;
	}
	if (!h)
		return -ENOENT;
	cleanup_fclose FILE *f = fopen("/proc/self/maps", "re");

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &from, &to) != 2 || from != (uintptr_t)h)
			continue;
		v->image = (const uint8_t *)h;
		v->size = to - from;
		for (v->used = v->size; v->used && !v->image[v->used - 1];)
			v->used--;
		known = *v;
		return 0;
	}
	return -ENOENT;
}

int ckpt_vdso_digest(uint8_t ret[16])
{
	XXH128_canonical_t digest;
	struct vdso v;
	int r = read_own_vdso(&v);

	if (r < 0)
		return r;
	XXH128_canonicalFromHash(&digest, XXH3_128bits(v.image, v.used));
	memcpy(ret, digest.digest, sizeof(digest.digest));
	return 0;
}

/* The vdso of a process: where its auxiliary vector says, or, when it has been moved, by name. */
static int find_vdso(pid_t pid, const struct vdso *own, uint64_t *ret)
{
	cleanup_free uint8_t *copy = malloc(own->size);
	uint64_t aux[128];
	char path[64], line[512];
	cleanup_close int fd = -EBADF;
	ssize_t n;

	if (!copy)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/%d/auxv", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, aux, sizeof(aux));
	for (ssize_t i = 0; i + 16 <= n; i += 16)
		if (aux[i / 8] == AT_SYSINFO_EHDR)
			*ret = aux[i / 8 + 1];
	if (*ret && ckpt_mem_read(pid, *ret, copy, own->size) == 0 &&
	    memcmp(copy, own->image, own->used) == 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	cleanup_fclose FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, " [vdso]\n") || sscanf(line, "%" SCNx64, ret) != 1)
			continue;
		if (ckpt_mem_read(pid, *ret, copy, own->size) == 0 &&
		    memcmp(copy, own->image, own->used) == 0)
			return 0;
		return -ENOEXEC;
	}
	return -ENOENT;
}

/*
 * The first slot that is all zero. Others were left behind by engines that died; a thread may still
 * have to come back to one, from a signal handler, so that the oldest is taken when all are used.
 */
static int pick_slot(struct ckpt_batch *b, const struct vdso *own, uint64_t vdso)
{
	size_t first = (own->used + 15) & ~(size_t)15, room = own->size - first, best = 0;
	uint32_t oldest = UINT32_MAX, newest = 0;
	uint8_t tail[4096];
	int r;

	if (room > sizeof(tail))
		room = sizeof(tail);
	r = ckpt_mem_read(b->pid, vdso + first, tail, room);
	if (r < 0)
		return r;
	b->tail = vdso + first;
	b->tail_size = own->size - first;
	for (size_t pos = 0; pos + stub_size() <= room; pos += stub_size()) {
		const struct ckpt_stub_data *d = (const void *)(tail + pos + data_offset());
		uint32_t turn = 0;

		for (size_t i = 0; i < stub_size(); i++)
			turn |= tail[pos + i];
		if (turn)
			memcpy(&turn, &d->turn, sizeof(turn));
		if (turn > newest)
			newest = turn;
		if (turn < oldest) {
			oldest = turn;
			best = pos;
		}
	}
	b->code = b->tail + best;
	b->turn = newest + 1;
	return 0;
}

/* Calls are restarted only behind get_signal(), which a task at a system call stop has not reached
 * and may not reach: it goes there now, without running an instruction. */
static int leave_call(struct ckpt_thread *t)
{
	int r;

	if (!t->in_call)
		return 0;
	r = ckpt_trace_interrupt(t->tid);
	if (r == 0)
		r = ckpt_trace_resume(PTRACE_CONT, t->tid, 0);
	if (r == 0)
		r = ckpt_trace_wait_event(t->tid, NULL);
	if (r == 0)
		t->in_call = false;
	return r;
}

/* The registers that the stub would go back to. */
static void own_regs(struct user_regs_struct *r, const struct ckpt_stub_data *d)
{
	r->eflags &= ~(uint64_t)(0xff | FLAG_DF | FLAG_OF);
	r->eflags |= d->low_flags | (d->overflow ? FLAG_OF : 0) | (d->direction ? FLAG_DF : 0);
	r->r15 = d->r15, r->r14 = d->r14, r->r13 = d->r13, r->r12 = d->r12;
	r->r11 = d->r11, r->r10 = d->r10, r->r9 = d->r9, r->r8 = d->r8;
	r->rbp = d->rbp, r->rbx = d->rbx, r->rax = d->rax, r->rcx = d->rcx;
	r->rdx = d->rdx, r->rsi = d->rsi, r->rdi = d->rdi, r->rip = d->rip;
	r->orig_rax = UINT64_MAX;
}

/* The data of the stub that a thread is in, and where in it. -ENOEXEC: it is that of another version. */
static int read_stub(const struct ckpt_batch *b, uint64_t rip, struct ckpt_stub_data *ret, size_t *offset)
{
	uint8_t copy[1024];
	size_t at = (size_t)(rip - b->tail);
	int r;

	*offset = at % stub_size();
	r = ckpt_mem_read(b->pid, b->tail + at - *offset, copy, stub_size());
	if (r < 0)
		return r;
	if (memcmp(copy, ckpt_stub_start, data_offset()) != 0)
		return -ENOEXEC;
	memcpy(ret, copy + data_offset(), sizeof(*ret));
	return 0;
}

/* Whether a thread makes another call before it is out of the stub. */
static bool has_calls(const struct user_regs_struct *r, const struct ckpt_stub_data *d, const uint8_t *where)
{
	if (where >= ckpt_stub_unmapped)
		return false;
	if (d->scratch || (where >= ckpt_stub_one && where < ckpt_stub_one_called))
		return true;
	if (where >= ckpt_stub_signalled)
		return false;
	if (r->r15 || where >= ckpt_stub_listed)
		return r->r15 != 0;
	return r->rbp > (where >= ckpt_stub_called && where < ckpt_stub_counted);
}

/* Until the next stop; a signal is delivered to where the thread is, which then stands in its handler. */
static int run_on(pid_t tid, struct ckpt_stop *s)
{
	int r = ckpt_trace_resume(PTRACE_SYSCALL, tid, 0);

	if (r == 0)
		r = ckpt_trace_wait(tid, s);
	if (r == 0 && s->kind == CKPT_STOP_SIGNAL) {
		r = ckpt_trace_interrupt(tid);
		if (r == 0)
			r = ckpt_trace_resume(PTRACE_CONT, tid, s->sig);
		if (r == 0)
			r = ckpt_trace_wait_event(tid, s);
	}
	return r == 0 && s->kind == CKPT_STOP_GONE ? -ESRCH : r;
}

/*
 * A thread on its way back after another engine died: what is left of its list is run, from call to call, and
 * its registers are set as the stub would have done, so that it runs nothing of its own, as it may be stopped
 * for other reasons. Not by single steps: a task whose tracer dies during one is killed by SIGTRAP.
 */
static int settle(const struct ckpt_batch *b, pid_t tid)
{
	struct ckpt_thread t = { .tid = tid };
	bool entering = false;
	int r = 0;

	for (size_t stops = 0; r == 0 && stops < 4 * CKPT_BATCH_MAX; stops++) {
		struct user_regs_struct regs;
		struct ckpt_stub_data d;
		struct ckpt_stop s;
		size_t offset;

		r = ckpt_trace_get_regs(tid, &regs);
		if (r < 0 || regs.rip - b->tail >= b->tail_size)
			return r < 0 ? r : leave_call(&t);
		r = read_stub(b, regs.rip, &d, &offset);
		if (r == 0 && !entering && !has_calls(&regs, &d, ckpt_stub_start + offset)) {
			own_regs(&regs, &d);
			r = ckpt_trace_set_regs(tid, &regs);
			return r == 0 ? leave_call(&t) : r;
		}
		if (r == 0)
			r = run_on(tid, &s);
		entering = r == 0 && s.kind == CKPT_STOP_SYSCALL && !entering;
		t.in_call = r == 0 && s.kind == CKPT_STOP_SYSCALL;
	}
	return r < 0 ? r : -ELOOP;
}

int ckpt_batch_open(struct ckpt_batch *b, pid_t pid, const pid_t *tids, size_t n, struct err *e)
{
	struct vdso own = { 0 };
	uint64_t vdso = 0;
	char path[64];
	int r = read_own_vdso(&own);

	*b = (struct ckpt_batch){ .mem = -EBADF, .pid = pid };
	if (r < 0)
		return err_set(e, ERR_UNSUPPORTED, "the engine has no vdso");
	if (own.size - own.used < stub_size() + 16)
		return err_set(e, ERR_UNSUPPORTED, "this kernel's vdso has no room at its end");
	r = find_vdso(pid, &own, &vdso);
	if (r == -ENOENT || r == -ENOEXEC) {
		err_set(e, ERR_UNSUPPORTED, "process %d has %s vdso", (int)pid,
			r == -ENOENT ? "no" : "another");
		return err_hint(e, "32-bit programs cannot be saved");
	}
	if (r < 0)
		return err_code(e, r, "find the vdso of process %d", (int)pid);
	r = pick_slot(b, &own, vdso);
	if (r < 0)
		return err_code(e, r, "read the vdso of process %d", (int)pid);
	for (size_t i = 0; i < n; i++) {
		r = settle(b, tids[i]);
		if (r < 0)
			return err_code(e, r, "let thread %d finish what another engine began",
					(int)tids[i]);
	}
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	b->mem = open(path, O_RDWR | O_CLOEXEC);
	if (b->mem < 0)
		return err_sys(e, "open the memory of process %d", (int)pid);
	r = write_code(b, pid, b->code, ckpt_stub_start, stub_size());
	if (r < 0) {
		fd_close(&b->mem);
		return err_code(e, r, "write into the vdso of process %d", (int)pid);
	}
	return 0;
}

void ckpt_batch_close(struct ckpt_batch *b)
{
	uint8_t zero[1024] = { 0 };

	if (b->mem < 0)
		return;
	write_code(b, b->pid, b->code, zero, stub_size());
	fd_close(&b->mem);
}

/* The line "Key:\t…" of /proc/TID/status, or NULL. */
static const char *status_line(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *l = text; *l; l += strcspn(l, "\n"), l += *l == '\n')
		if (strncmp(l, key, len) == 0 && l[len] == ':')
			return l + len + 1;
	return NULL;
}

static uint64_t status_hex(const char *text, const char *key)
{
	const char *l = status_line(text, key);

	return l ? strtoull(l, NULL, 16) : 0;
}

/* The last number of the line: the innermost pid namespace. */
static pid_t status_ns(const char *text, const char *key)
{
	const char *l = status_line(text, key), *last = l;

	if (!l)
		return 0;
	for (; *l && *l != '\n'; l++)
		if (*l == '\t')
			last = l;
	return (pid_t)atol(last);
}

/*
 * A signal that the thread would not notice: not blocked (blocked ones stay pending, for sigwait(2)
 * or a signalfd), and ignored. Traced threads stop for it, untraced ones never see it: that ends a
 * list with one stop, and does nothing when the engine is gone.
 */
static int choose_notify(const struct ckpt_thread *t, uint64_t blocked)
{
	static const int by_default[] = { SIGURG, SIGWINCH, SIGCHLD };

	for (size_t i = 0; i < ARRAY_SIZE(by_default); i++) {
		uint64_t bit = 1ull << (by_default[i] - 1);

		if (!(blocked & bit) && !(t->caught & bit))
			return by_default[i];
	}
	for (int s = 1; s < 32; s++)
		if (s != SIGCONT && ((t->ignored & ~blocked) >> (s - 1) & 1))
			return s;
	return 0;
}

/*
 * In a restartable sequence: the kernel would go to its abort handler after the stop (rseq(2)), but
 * only if it finds the task still inside. Going there now is what would happen, and it must be in
 * the registers before anything else runs.
 */
static int abort_rseq(struct ckpt_thread *t, pid_t pid)
{
	struct {
		uint64_t pointer;
		uint32_t size, signature, flags, pad;
	} conf = { 0 };
	struct {
		uint32_t version, flags;
		uint64_t start, offset, abort;
	} cs;
	uint64_t where = 0;

	if (ptrace((enum __ptrace_request)GET_RSEQ, t->tid, (void *)sizeof(conf), &conf) < 0 ||
	    !conf.pointer || ckpt_mem_read(pid, conf.pointer + 8, &where, sizeof(where)) < 0 || !where ||
	    ckpt_mem_read(pid, where, &cs, sizeof(cs)) < 0 || t->regs.rip - cs.start >= cs.offset)
		return 0;
	t->regs.rip = cs.abort;
	t->regs.orig_rax = UINT64_MAX;
	return ckpt_trace_set_regs(t->tid, &t->regs);
}

/* The call that the kernel would issue again if no signal handler ran, or -1. */
static int64_t restart_number(const struct user_regs_struct *r)
{
	if ((int64_t)r->orig_rax < 0)
		return -1;
	switch (-(int64_t)r->rax) {
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
		return (int64_t)r->orig_rax;
	case ERESTART_RESTARTBLOCK:
		return SYS_restart_syscall;
	default:
		return -1;
	}
}

/* What the stub goes back to by itself; an interrupted call is issued again. */
static void fill_data(const struct ckpt_batch *b, const struct ckpt_thread *t, struct ckpt_stub_data *d)
{
	const struct user_regs_struct *r = &t->regs;

	*d = (struct ckpt_stub_data){
		.turn = b->turn,
		.scratch = t->seccomp ? 0 : b->scratch, .scratch_size = b->size,
		.low_flags = (uint8_t)r->eflags, .overflow = (r->eflags & FLAG_OF) != 0,
		.direction = (r->eflags & FLAG_DF) != 0,
		.r15 = r->r15, .r14 = r->r14, .r13 = r->r13, .r12 = r->r12, .rbp = r->rbp,
		.rbx = r->rbx, .r11 = r->r11, .r10 = r->r10, .r9 = r->r9, .r8 = r->r8,
		.rax = r->rax, .rcx = r->rcx, .rdx = r->rdx, .rsi = r->rsi, .rdi = r->rdi,
		.rip = r->rip,
	};
	if (restart_number(r) >= 0) {
		d->rax = (uint64_t)restart_number(r);
		d->rip -= 2;
	}
}

static int write_data(const struct ckpt_batch *b, const struct ckpt_thread *t)
{
	struct ckpt_stub_data d;

	fill_data(b, t, &d);
	return write_code(b, t->tid, at(b, ckpt_stub_data), &d, sizeof(d));
}

static int suspend(struct ckpt_thread *t, struct err *e)
{
	struct ckpt_dispatch off = { 0 };
	int r = 0;

	if (trace(GET_DISPATCH, t->tid, sizeof(t->dispatch), &t->dispatch) < 0)
		t->dispatch.mode = 0; /* before Linux 6.4 it cannot be seen */
	if (t->dispatch.mode)
		r = trace(SET_DISPATCH, t->tid, sizeof(off), &off);
	if (r == 0 && t->seccomp)
		r = trace(PTRACE_SETOPTIONS, t->tid, 0,
			  (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | O_SUSPEND_SECCOMP));
	return r < 0 ? err_code(e, r, "suspend the seccomp filters of thread %d", (int)t->tid) : 0;
}

static int unsuspend(struct ckpt_thread *t)
{
	int r = 0;

	if (t->seccomp)
		r = trace(PTRACE_SETOPTIONS, t->tid, 0, (void *)(uintptr_t)PTRACE_O_TRACESYSGOOD);
	if (r == 0 && t->dispatch.mode)
		r = trace(SET_DISPATCH, t->tid, sizeof(t->dispatch), &t->dispatch);
	return r;
}

/* The registers that run the stub at `label`. */
static struct user_regs_struct stub_regs(const struct ckpt_batch *b, const struct ckpt_thread *t,
					 const uint8_t *label)
{
	struct user_regs_struct r = t->regs;

	r.rip = at(b, label);
	r.orig_rax = UINT64_MAX; /* or the kernel would restart the interrupted call here */
	r.eflags &= ~(uint64_t)FLAG_DF;
	return r;
}

int ckpt_thread_enter(struct ckpt_batch *b, struct ckpt_thread *t, pid_t tid, struct err *e)
{
	struct user_regs_struct regs;
	cleanup_free char *status = NULL;
	char path[64];
	uint64_t blocked;
	int r;

	*t = (struct ckpt_thread){ .tid = tid };
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	r = fd_read_file_at(AT_FDCWD, path, 65536, &status, NULL);
	if (r < 0)
		return err_code(e, r, "read %s", path);
	r = ckpt_trace_get_regs(tid, &t->regs);
	if (r == 0)
		r = ckpt_trace_get_mask(tid, &blocked);
	if (r < 0)
		return err_code(e, r, "read the registers of thread %d", (int)tid);
	if (t->regs.cs != USER_CS64)
		return err_set(e, ERR_UNSUPPORTED, "thread %d runs 32-bit code, which cannot be saved",
			       (int)tid);
	t->seccomp = status_hex(status, "Seccomp") != 0;
	t->ns_tid = status_ns(status, "NSpid");
	t->ns_tgid = status_ns(status, "NStgid");
	t->ignored = status_hex(status, "SigIgn");
	t->caught = status_hex(status, "SigCgt");
	t->notify = choose_notify(t, blocked);
	r = abort_rseq(t, b->pid);
	if (r == 0)
		r = write_data(b, t);
	if (r < 0)
		return err_code(e, r, "prepare thread %d", (int)tid);
	r = suspend(t, e);
	if (r < 0)
		return r;
	/* From here on an engine's death is made good by the stub. */
	regs = stub_regs(b, t, ckpt_stub_restore);
	r = ckpt_trace_set_regs(tid, &regs);
	if (r < 0) {
		unsuspend(t);
		return err_code(e, r, "set the registers of thread %d", (int)tid);
	}
	t->entered = true;
	return 0;
}

int ckpt_thread_leave(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	int unmapped, r;

	if (!t->entered)
		return 0;
	unmapped = ckpt_batch_unmap(b, t, e);
	r = leave_call(t);
	if (r == 0)
		r = unsuspend(t);
	if (r == 0)
		r = ckpt_trace_set_regs(t->tid, &t->regs);
	t->entered = false;
	return r < 0 ? err_code(e, r, "put the registers of thread %d back", (int)t->tid) : unmapped;
}

/*
 * A signal for the task itself arrives while the stub runs. It is delivered to the task's own
 * registers, as if the stub were not there: the kernel makes the handler's frame, decides whether
 * an interrupted call ends with EINTR, and the task stops again at the handler's first instruction.
 * Those registers are then the task's own, and the stub goes on where it was.
 */
static int deliver(struct ckpt_batch *b, struct ckpt_thread *t, int sig, struct user_regs_struct *stub)
{
	uint64_t blocked;
	int r = ckpt_trace_set_regs(t->tid, &t->regs);

	if (r == 0)
		r = ckpt_trace_interrupt(t->tid);
	if (r == 0)
		r = ckpt_trace_resume(PTRACE_CONT, t->tid, sig);
	if (r == 0)
		r = ckpt_trace_wait_event(t->tid, NULL);
	if (r == 0)
		r = ckpt_trace_get_regs(t->tid, &t->regs);
	if (r == 0)
		r = abort_rseq(t, b->pid);
	if (r == 0)
		r = ckpt_trace_get_mask(t->tid, &blocked);
	if (r == 0)
		r = write_data(b, t);
	if (r < 0)
		return r;
	t->notify = choose_notify(t, blocked);
	if (stub->rip != at(b, ckpt_stub_signalled))
		stub->r15 = (uint64_t)t->notify;
	if (restart_number(stub) >= 0) {
		stub->rax = (uint64_t)restart_number(stub);
		stub->rip -= 2;
	}
	stub->orig_rax = UINT64_MAX;
	stub->rsp = t->regs.rsp;
	stub->fs_base = t->regs.fs_base;
	stub->gs_base = t->regs.gs_base;
	return ckpt_trace_set_regs(t->tid, stub);
}

static bool is_fault(const struct ckpt_batch *b, const struct ckpt_thread *t, int sig,
		     const struct user_regs_struct *regs)
{
	siginfo_t si;

	if (sig != SIGSEGV && sig != SIGBUS && sig != SIGILL && sig != SIGTRAP)
		return false;
	return regs->rip - b->code < stub_size() &&
	       trace(PTRACE_GETSIGINFO, t->tid, 0, &si) == 0 && si.si_code > 0;
}

static void note_birth(struct ckpt_thread *t, const struct ckpt_stop *s)
{
	unsigned long tid;

	if (s->kind == CKPT_STOP_OTHER && t->born && t->born_count < t->born_max &&
	    trace(PTRACE_GETEVENTMSG, t->tid, 0, &tid) == 0)
		t->born[t->born_count++] = (pid_t)tid;
}

struct syscall_info {
	uint8_t op, pad[3];
	uint32_t arch;
	uint64_t ip, sp;
	uint64_t more[8];
};
enum { INFO_EXIT = 2 };

/*
 * Runs the stub until the stop behind its last call. 1: it ended at a system call stop, and the
 * last result is in regs->rax; 0: by the signal.
 */
static int run_stub(struct ckpt_batch *b, struct ckpt_thread *t, uint64_t call_end,
		    struct user_regs_struct *regs)
{
	bool fast = regs->r15 != 0 && call_end == at(b, ckpt_stub_called) && !t->between;
	struct syscall_info info;
	struct ckpt_stop s;
	int r;

	r = ckpt_trace_set_regs(t->tid, regs);
	if (r == 0)
		r = ckpt_trace_resume(fast ? PTRACE_CONT : PTRACE_SYSCALL, t->tid, 0);
	while (r == 0) {
		r = ckpt_trace_wait(t->tid, &s);
		if (r < 0)
			return r;
		if (s.kind == CKPT_STOP_GONE)
			return -ESRCH;
		r = ckpt_trace_get_regs(t->tid, regs);
		if (r < 0)
			return r;
		t->in_call = s.kind == CKPT_STOP_SYSCALL;
		switch (s.kind) {
		case CKPT_STOP_SYSCALL:
			if (ptrace((enum __ptrace_request)PTRACE_GET_SYSCALL_INFO, t->tid,
				   (void *)sizeof(info), &info) < 0)
				return -errno;
			if (info.op == INFO_EXIT && regs->rip == call_end &&
			    (call_end != at(b, ckpt_stub_called) || regs->rbp == 1))
				return 1;
			if (info.op == INFO_EXIT && regs->rip == call_end && t->between)
				r = t->between(t->between_arg, (int64_t)regs->rax);
			if (r == 0)
				r = ckpt_trace_resume(PTRACE_SYSCALL, t->tid, 0);
			break;
		case CKPT_STOP_SIGNAL:
			if (fast && regs->rip == at(b, ckpt_stub_signalled))
				return s.sig == t->notify ? 0 : deliver(b, t, s.sig, regs);
			if (is_fault(b, t, s.sig, regs))
				return -EFAULT;
			r = deliver(b, t, s.sig, regs);
			fast = fast && t->notify;
			if (r == 0)
				r = ckpt_trace_resume(fast ? PTRACE_CONT : PTRACE_SYSCALL, t->tid, 0);
			break;
		default:
			note_birth(t, &s);
			r = ckpt_trace_resume(fast ? PTRACE_CONT : PTRACE_SYSCALL, t->tid, 0);
			break;
		}
	}
	return r;
}

int ckpt_batch_one(struct ckpt_batch *b, struct ckpt_thread *t, const struct ckpt_call *c,
		   int64_t *ret, struct err *e)
{
	struct user_regs_struct regs = stub_regs(b, t, ckpt_stub_one);
	int r;

	regs.rax = c->nr;
	regs.rdi = c->args[0];
	regs.rsi = c->args[1];
	regs.rdx = c->args[2];
	regs.r10 = c->args[3];
	regs.r8 = c->args[4];
	regs.r9 = c->args[5];
	r = run_stub(b, t, at(b, ckpt_stub_one_called), &regs);
	if (r < 0)
		return err_code(e, r, "run a system call in thread %d", (int)t->tid);
	*ret = (int64_t)regs.rax;
	return 0;
}

int ckpt_batch_map(struct ckpt_batch *b, struct ckpt_thread *t, size_t size, struct err *e)
{
	struct ckpt_call c = { SYS_mmap,
			       { 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 UINT64_MAX, 0 }, 0 };
	int64_t addr;
	int r = ckpt_batch_one(b, t, &c, &addr, e);

	if (r < 0)
		return r;
	if (addr < 0)
		return err_code(e, (int)addr, "map memory in process %d", (int)b->pid);
	b->scratch = (uint64_t)addr;
	b->size = size;
	r = write_data(b, t);
	return r < 0 ? err_code(e, r, "prepare thread %d", (int)t->tid) : 0;
}

int ckpt_batch_unmap(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	struct ckpt_call c = { SYS_munmap, { b->scratch, b->size }, 0 };
	int64_t ret;
	int r;

	if (!b->scratch)
		return 0;
	/* The stub would unmap it a second time, when something else may be there. */
	b->scratch = 0;
	r = write_data(b, t);
	if (r < 0)
		return err_code(e, r, "prepare thread %d", (int)t->tid);
	r = ckpt_batch_one(b, t, &c, &ret, e);
	if (r < 0)
		return r;
	return ret < 0 ? err_code(e, (int)ret, "unmap memory in process %d", (int)b->pid) : 0;
}

int ckpt_batch_run(struct ckpt_batch *b, struct ckpt_thread *t, struct ckpt_call *calls, size_t n,
		   struct err *e)
{
	struct user_regs_struct regs = stub_regs(b, t, ckpt_stub_loop);
	int r;

	if (n == 0)
		return 0;
	if (n > CKPT_BATCH_MAX || !b->scratch)
		return err_set(e, ERR_FAIL, "a list of %zu calls", n);
	r = ckpt_mem_write(b->pid, b->scratch, calls, n * sizeof(*calls));
	if (r < 0)
		return err_code(e, r, "write into process %d", (int)b->pid);
	regs.rbx = b->scratch;
	regs.rbp = n;
	regs.r13 = (uint64_t)t->ns_tgid;
	regs.r14 = (uint64_t)t->ns_tid;
	regs.r15 = (uint64_t)t->notify;
	r = run_stub(b, t, at(b, ckpt_stub_called), &regs);
	if (r < 0)
		return err_code(e, r, "run system calls in thread %d", (int)t->tid);
	if (ckpt_mem_read(b->pid, b->scratch, calls, n * sizeof(*calls)) < 0)
		return err_code(e, -EFAULT, "read from process %d", (int)b->pid);
	if (r == 1)
		calls[n - 1].ret = (int64_t)regs.rax;
	return 0;
}

static int open_mem(struct ckpt_batch *b, struct err *e)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)b->pid);
	b->mem = open(path, O_RDWR | O_CLOEXEC);
	return b->mem < 0 ? err_sys(e, "open the memory of process %d", (int)b->pid) : 0;
}

int ckpt_batch_move(struct ckpt_batch *b, uint64_t code, uint64_t scratch, size_t size, struct err *e)
{
	int r = write_code(b, b->pid, code, ckpt_stub_start, stub_size());

	b->code = code;
	b->scratch = scratch;
	b->size = size;
	return r < 0 ? err_code(e, r, "write into process %d", (int)b->pid) : 0;
}

int ckpt_batch_copy(struct ckpt_batch *b, const struct ckpt_batch *from, pid_t pid, struct err *e)
{
	*b = *from;
	b->pid = pid;
	return open_mem(b, e);
}

int ckpt_thread_adopt(struct ckpt_thread *t, pid_t tid, pid_t ns_tgid, pid_t ns_tid, struct err *e)
{
	int r;

	*t = (struct ckpt_thread){
		.tid = tid, .ns_tgid = ns_tgid, .ns_tid = ns_tid, .notify = SIGURG, .entered = true,
	};
	r = ckpt_trace_get_regs(tid, &t->regs);
	return r < 0 ? err_code(e, r, "read the registers of thread %d", (int)tid) : 0;
}

int ckpt_batch_to_vdso(struct ckpt_batch *b, uint64_t vdso_end, struct err *e)
{
	struct vdso own = { 0 };
	int r = read_own_vdso(&own);

	if (r == 0)
		r = pick_slot(b, &own, vdso_end - own.size);
	if (r == 0)
		r = write_code(b, b->pid, b->code, ckpt_stub_start, stub_size());
	return r < 0 ? err_code(e, r, "write into the vdso of process %d", (int)b->pid) : 0;
}

int ckpt_thread_settle(struct ckpt_thread *t, struct err *e)
{
	int r = leave_call(t);

	return r < 0 ? err_code(e, r, "stop thread %d", (int)t->tid) : 0;
}
