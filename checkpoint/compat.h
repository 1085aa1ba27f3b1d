/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_COMPAT_H
#define CHECKPOINT_COMPAT_H

#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <sys/user.h>

struct list;
struct restore;
struct restoring;

/*
 * 32-bit programs. A thread of theirs that is stopped runs lists as 64-bit code, and goes back to its own (stub.h);
 * restored, it is a thread like all others until it gets its registers, whose code segment makes it a 32-bit one. What
 * the kernel keeps of how such a program made its calls is set by 32-bit calls (CKPT_COMPAT): which frames it builds for
 * its signal handlers. Whether a process is one is told by its vdso.
 */

/* i386 numbers of calls. */
enum { CKPT_COMPAT_RESTART = 0, CKPT_COMPAT_MUNMAP = 91, CKPT_COMPAT_SIGACTION = 174, CKPT_COMPAT_MMAP = 192,
       CKPT_COMPAT_SET_ROBUST_LIST = 311 };

/* Whether the call that a stopped thread is in was a 32-bit one, as 64-bit code may make them, too. */
bool ckpt_compat_is_call(pid_t pid, const struct user_regs_struct *r);
/* Whether it ends with EINTR at any stop, as those in freeze.c. */
bool ckpt_compat_is_interrupted(const struct user_regs_struct *r);

/* As ckpt_restarted_call() does: which one it is that goes on as restart_syscall(2). */
void ckpt_compat_restarted(pid_t tid, struct user_regs_struct *r);

/* The kernel's vdso for 32-bit programs, from [vdso] on; valid for ever. -ENOENT: it runs none. */
int ckpt_compat_vdso(const uint8_t **ret, size_t *ret_size);
/* XXH3-128 of it, as ckpt_vdso_digest(). */
int ckpt_compat_digest(uint8_t ret[16]);

/* What a stopped thread has: thread-local storage in the GDT, a list of robust futexes. */
int ckpt_compat_collect(struct ckpt_dump *d, const struct ckpt_task *k, pid_t tid, Ckpt__Thread *t, struct err *e);

/* Of an image. */
int ckpt_compat_check_mm(const Ckpt__Mm *mm, struct err *e);
int ckpt_compat_check(const Ckpt__Thread *t, struct err *e);
/* ERR_UNSUPPORTED when this kernel cannot have the processes of the image as they were. */
int ckpt_compat_check_host(const struct ckpt_tree *t, struct err *e);

/* The signal actions of a process whose memory has its place. */
int restore_compat_actions(struct restoring *p, struct err *e);
/* Of its thread i: what it must set itself; what is set from outside, before its registers. */
int restore_compat_thread(struct restoring *p, size_t i, struct err *e);
int restore_compat_tls(struct restoring *p, size_t i, struct err *e);

#endif
