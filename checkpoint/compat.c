/* SPDX-License-Identifier: GPL-2.0-or-later */

/* 32-bit programs: what of them is looked at. */
#include "checkpoint/compat.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/batch_internal.h"
#include "checkpoint/maps.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <xxhash.h>

#ifndef ARCH_MAP_VDSO_32
#define ARCH_MAP_VDSO_32 0x2002
#endif
#define GET_THREAD_AREA 25
#define TLS_FIRST 12 /* entries of the GDT, of a 64-bit kernel */
#define TLS_COUNT 3
#define COMPAT_GETPID 20
#define COMPAT_GET_ROBUST_LIST 312
#define VDSO_MAX 65536
#define VDSO_PLACE 0x10000000ul

static long compat_call(long nr, uint32_t a, uint32_t b, uint32_t c)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "0"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

bool ckpt_compat_is_call(pid_t pid, const struct user_regs_struct *r)
{
	uint8_t code[2];

	return r->cs != USER_CS64 ||
	       (ckpt_mem_read(pid, r->rip - sizeof(code), code, sizeof(code)) == 0 && code[0] == 0xcd && code[1] == 0x80);
}

bool ckpt_compat_is_interrupted(const struct user_regs_struct *r)
{
	/* read, write, socketcall, ipc, readv, writev, rt_sigtimedwait, sendfile, sendfile64, io_getevents,
	 * epoll_wait, splice, epoll_pwait, recvmmsg, sendmmsg, connect to recvmsg, io_pgetevents, and with times of 64 bits:
	 * io_pgetevents, recvmmsg, semtimedop, rt_sigtimedwait; epoll_pwait2 */
	static const unsigned short calls[] = { 3, 4, 102, 117, 145, 146, 177, 187, 239, 247, 256, 313, 319, 337, 345,
						362, 364, 369, 370, 371, 372, 385, 416, 417, 420, 421, 441 };

	if ((int32_t)r->rax != -EINTR)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		if ((uint32_t)r->orig_rax == calls[i])
			return true;
	return false;
}

/* What a process has of the kernel's own: [vvar] to [vdso]; the second begins at *code. */
static int find_own(pid_t pid, uint64_t *start, uint64_t *code, uint64_t *end)
{
	cleanup_fclose FILE *f = ckpt_maps_open(pid);
	struct ckpt_map m;
	int n;

	*start = *code = *end = 0;
	while (f && (n = ckpt_maps_next(f, &m)) > 0) {
		if (!ckpt_map_is_vdso(&m))
			continue;
		*start = *start ? *start : m.start;
		*code = m.start;
		*end = m.end;
	}
	return *code && *end - *code <= VDSO_MAX ? 0 : -ENOENT;
}

/*
 * An address space has one vdso: a copy of ours gets the other in its place, and is looked at. It makes a 32-bit
 * call first, which ends it where there are none (ia32_emulation=0).
 */
_Noreturn static void have_compat_vdso(uint64_t start, uint64_t end, pid_t parent, int hear, int say)
{
	char done = 1;

	syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (syscall(SYS_getppid) != parent) /* ended before that */
		syscall(SYS_exit_group, 1);
	syscall(SYS_close, hear);
	if (compat_call(COMPAT_GETPID, 0, 0, 0) > 0 && syscall(SYS_munmap, start, end - start) == 0 &&
	    syscall(SYS_arch_prctl, ARCH_MAP_VDSO_32, VDSO_PLACE) > 0 && syscall(SYS_write, say, &done, 1) == 1)
		for (;;)
			syscall(SYS_pause);
	for (;;)
		syscall(SYS_exit_group, 1);
}

static int read_vdso(pid_t pid, const uint8_t **ret, size_t *ret_size)
{
	uint64_t start, code, end;
	int r = find_own(pid, &start, &code, &end);
	uint8_t *image = r < 0 ? NULL : malloc((size_t)(end - code));

	if (r == 0)
		r = image ? ckpt_mem_read(pid, code, image, (size_t)(end - code)) : -ENOMEM;
	if (r < 0) {
		free(image);
		return r;
	}
	*ret = image;
	*ret_size = (size_t)(end - code);
	return 0;
}

int ckpt_compat_vdso(const uint8_t **ret, size_t *ret_size)
{
	static const uint8_t *image;
	static size_t size;
	cleanup_close int hear = -EBADF, say = -EBADF;
	uint64_t start, code, end;
	int ends[2], r = image ? 0 : find_own(getpid(), &start, &code, &end);
	pid_t pid, parent = getpid();
	char done;

	if (!image && r == 0) {
		if (pipe2(ends, O_CLOEXEC) < 0)
			return -errno;
		hear = ends[0];
		say = ends[1];
		pid = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0); /* no signal tells of its end */
		if (pid < 0)
			return -errno;
		if (pid == 0)
			have_compat_vdso(start, end, parent, hear, say);
		fd_close(&say);
		r = read(hear, &done, 1) == 1 ? read_vdso(pid, &image, &size) : -ENOENT;
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	}
	*ret = image;
	*ret_size = size;
	return r;
}

static bool uses_tls(const struct user_regs_struct *r)
{
	const unsigned long long used[] = { r->ds, r->es, r->fs, r->gs, r->ss };

	for (size_t i = 0; i < ARRAY_SIZE(used); i++)
		if (used[i] >> 3 >= TLS_FIRST && used[i] >> 3 < TLS_FIRST + TLS_COUNT)
			return true;
	return false;
}

static bool is_empty(const struct user_desc *u)
{
	return u->base_addr == 0 && u->limit == 0 && u->seg_not_present && u->read_exec_only && !u->seg_32bit && !u->contents;
}

static int tls_collect(struct ckpt_arena *a, pid_t tid, Ckpt__ThreadCompat *c)
{
	struct user_desc u[TLS_COUNT] = { 0 };
	bool any = false;

	for (size_t i = 0; i < TLS_COUNT; i++) {
		if (ptrace((enum __ptrace_request)GET_THREAD_AREA, tid, (void *)(TLS_FIRST + i), &u[i]) < 0)
			return -errno;
		any |= !is_empty(&u[i]);
	}
	if (!any)
		return 0;
	c->tls.data = ckpt_memdup(a, u, sizeof(u));
	c->tls.len = sizeof(u);
	return c->tls.data ? 0 : -ENOMEM;
}

/* Only a 32-bit call tells of it, which takes addresses below 4 GiB. */
static int robust_collect(pid_t tid, Ckpt__ThreadCompat *c)
{
	uint32_t *at = mmap(NULL, CKPT_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long n;

	if (at == MAP_FAILED)
		return -errno;
	n = compat_call(COMPAT_GET_ROBUST_LIST, (uint32_t)tid, (uint32_t)(uintptr_t)at, (uint32_t)(uintptr_t)(at + 1));
	if (n == 0)
		c->robust_list = at[0];
	munmap(at, CKPT_PAGE);
	return (int)n;
}

int ckpt_compat_collect(struct ckpt_dump *d, const struct ckpt_task *k, pid_t tid, Ckpt__Thread *t, struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	struct user_regs_struct regs;
	Ckpt__ThreadCompat *c;
	bool compat;
	int r;

	memcpy(&regs, t->regs.data, sizeof(regs));
	compat = k->mm->compat_vdso.len || regs.cs != USER_CS64;
	if (!compat && !uses_tls(&regs))
		return 0;
	c = ckpt_alloc(a, sizeof(*c));
	if (!c)
		return err_code(e, -ENOMEM, "collect thread %d", (int)tid);
	ckpt__thread_compat__init(c);
	r = tls_collect(a, tid, c);
	if (r == 0 && compat)
		r = robust_collect(tid, c);
	t->compat = c;
	return r < 0 ? err_code(e, r, "collect what thread %d has as a 32-bit one", (int)tid) : 0;
}

int ckpt_compat_check_mm(const Ckpt__Mm *mm, struct err *e)
{
	if (mm->compat_vdso.len &&
	    (mm->compat_vdso.len != sizeof(XXH128_canonical_t) || !mm->vdso || mm->vdso > UINT32_MAX - VDSO_MAX))
		return err_set(e, ERR_FAIL, "the image is damaged: the vdso of a 32-bit program");
	return 0;
}

int ckpt_compat_check(const Ckpt__Thread *t, struct err *e)
{
	const Ckpt__ThreadCompat *c = t->compat;

	if (c && ((c->tls.len && c->tls.len != TLS_COUNT * sizeof(struct user_desc)) || c->robust_list > UINT32_MAX))
		return err_set(e, ERR_FAIL, "the image is damaged: 32-bit thread %u", t->tid);
	return 0;
}

int ckpt_compat_check_host(const struct ckpt_tree *t, struct err *e)
{
	uint8_t digest[16];

	for (size_t i = 0; i < t->task_count; i++) {
		const Ckpt__Mm *mm = t->tasks[i].mm;

		if (!mm->compat_vdso.len)
			continue;
		if (ckpt_compat_digest(digest) < 0)
			return err_set(e, ERR_UNSUPPORTED, "process %u is a 32-bit program, which this kernel does not run",
				       t->tasks[i].process->pid);
		if (memcmp(digest, mm->compat_vdso.data, sizeof(digest)) != 0)
			return err_set(e, ERR_UNSUPPORTED, "32-bit process %u is of another kernel: its vdso is not this one's",
				       t->tasks[i].process->pid);
	}
	return 0;
}
