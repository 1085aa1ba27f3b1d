/* SPDX-License-Identifier: GPL-2.0-or-later */

/* As refused.c: what processes can be that is refused by name, and goes on. */
#include "tests/checkpoint/guest.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/syscall.h>

enum { LEADER = 1, TRACED, LISTENER, SHARED, UNDONE };

static int ready[2];

static void say_ready(void)
{
	CHECK(write(ready[1], "x", 1) == 1);
}

static void *stay(void *arg)
{
	(void)arg;
	say_ready();
	for (;;)
		pause();
	return NULL;
}

static int stay_too(void *arg)
{
	stay(arg);
	return 0;
}

/* The first thread is killed by a filter that it alone has, the other stays. */
static _Noreturn void leader(void)
{
	struct sock_filter insn[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, insn };
	pthread_t t;

	pthread_create(&t, NULL, stay, NULL);
	syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
	syscall(SYS_acct, NULL);
	_exit(1);
}

static _Noreturn void tracer(pid_t other)
{
	CHECK(ptrace(PTRACE_SEIZE, other, NULL, NULL) == 0);
	stay(NULL);
	_exit(1);
}

static int listener(void)
{
	struct sock_filter insn[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, insn };

	say_ready();
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			    &prog);
}

/* What is undone when the last of two ends. */
static void borrow_together(char *stack)
{
	struct sembuf give = { 0, 1, SEM_UNDO };

	CHECK(semop(semget(IPC_PRIVATE, 1, 0600), &give, 1) == 0);
	CHECK(clone(stay_too, stack, CLONE_SYSVSEM | SIGCHLD, NULL) > 0);
}

int main(void)
{
	static char stack[65536];
	pid_t pid = 0;
	char c;

	CHECK(pipe(ready) == 0);
	if (WHAT == TRACED) {
		pid = fork();
		if (pid == 0)
			for (;;)
				pause();
	}
	if (WHAT == LEADER && fork() == 0)
		leader();
	if (WHAT == TRACED && fork() == 0)
		tracer(pid);
	if (WHAT == LISTENER)
		CHECK(listener() >= 0);
	if (WHAT == SHARED)
		CHECK(clone(stay_too, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL) > 0);
	if (WHAT == UNDONE)
		borrow_together(stack + sizeof(stack));
	CHECK(read(ready[0], &c, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	wait_for_restore();
	return done();
}
