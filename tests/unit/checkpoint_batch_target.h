/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_UNIT_CHECKPOINT_BATCH_TARGET_H
#define TESTS_UNIT_CHECKPOINT_BATCH_TARGET_H

/*
 * A target that would notice any change of its state: registers, flags, red zone, time-outs, results of interrupted
 * calls, signal mask; a thread for each. Include it after tap.h.
 */
#include "base/macro.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 6

struct shared {
	atomic_int tid[THREADS];
	atomic_ulong turns[THREADS];
	atomic_int failed; /* line */
	atomic_long seen;
	atomic_int caught;
	atomic_int pipe_turns;
	atomic_int lists, beside; /* that engines have run */
	int pipe[2];
};
static struct shared *sh;

static void fail(int line, long seen)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&sh->failed, &none, line))
		sh->seen = seen;
}
#define CHECK(c, seen) ((c) ? (void)0 : fail(__LINE__, (long)(seen)))

/* All registers hold known values while it spins, and flags too: the sum tells. */
static uint64_t spin(uint64_t seed)
{
	uint64_t sum = seed;

	__asm__ volatile(
		"push %%rbp\n push %%rbx\n"
		"movq %%rax, %%xmm7\n"
		"movq %%rax, -64(%%rsp)\n" /* in the red zone */
		"lea 1(%%rax), %%rbx\n lea 2(%%rax), %%rdx\n lea 3(%%rax), %%rsi\n"
		"lea 4(%%rax), %%rdi\n lea 5(%%rax), %%rbp\n lea 6(%%rax), %%r8\n"
		"lea 7(%%rax), %%r9\n lea 8(%%rax), %%r10\n lea 9(%%rax), %%r11\n"
		"lea 10(%%rax), %%r12\n lea 11(%%rax), %%r13\n lea 12(%%rax), %%r14\n"
		"lea 13(%%rax), %%r15\n"
		"mov $20000, %%ecx\n"
		"std\n"
		"1: dec %%rcx\n jnz 1b\n"
		"mov $1, %%cl\n add $127, %%cl\n" /* sets OF and SF */
		"jno 3f\n jns 3f\n"
		"pushfq\n pop %%rcx\n cld\n test $0x400, %%ecx\n jz 3f\n"
		"add %%rbx, %%rax\n add %%rdx, %%rax\n add %%rsi, %%rax\n add %%rdi, %%rax\n"
		"add %%rbp, %%rax\n add %%r8, %%rax\n add %%r9, %%rax\n add %%r10, %%rax\n"
		"add %%r11, %%rax\n add %%r12, %%rax\n add %%r13, %%rax\n add %%r14, %%rax\n"
		"add %%r15, %%rax\n"
		"add -64(%%rsp), %%rax\n"
		"movq %%xmm7, %%rbx\n add %%rbx, %%rax\n"
		"jmp 4f\n"
		"3: cld\n xor %%eax, %%eax\n"
		"4: pop %%rbx\n pop %%rbp\n"
		: "+a"(sum)
		:
		: "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm7",
		  "memory", "cc");
	return sum;
}

static _Noreturn void *spinner(void *arg)
{
	int me = (int)(intptr_t)arg;
	uint64_t seed = 0x1000 + (uint64_t)me;

	sh->tid[me] = (int)syscall(SYS_gettid);
	for (;; sh->turns[me]++) {
		/* The push below -64(%rsp) of pushfq stays above it. */
		uint64_t got = spin(seed), want = 16 * seed + 91;

		CHECK(got == want, got);
		seed += 0x10001;
	}
}

/* Flags right behind a stop, whichever instruction it hits. */
static _Noreturn void *sleeper(void *arg)
{
	int me = (int)(intptr_t)arg;
	struct epoll_event ev;
	int word = 0, ep = epoll_create1(EPOLL_CLOEXEC);
	struct timespec ts = { 0, 700000 };

	sh->tid[me] = (int)syscall(SYS_gettid);
	for (;; sh->turns[me]++) {
		int r = nanosleep(&ts, NULL);

		CHECK(r == 0, errno);
		r = (int)syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, NULL, 0);
		CHECK(r < 0 && errno == ETIMEDOUT, r < 0 ? errno : r);
		r = poll(NULL, 0, 1);
		CHECK(r == 0, errno);
		/* The kernel itself ends epoll_wait with EINTR at any stop. */
		r = epoll_wait(ep, &ev, 1, 1);
		CHECK(r == 0 || (r < 0 && errno == EINTR), r < 0 ? errno : r);
	}
}

static _Noreturn void *reader(void *arg)
{
	int me = (int)(intptr_t)arg;
	unsigned next = 0, got;

	sh->tid[me] = (int)syscall(SYS_gettid);
	for (;; sh->turns[me]++) {
		ssize_t n = read(sh->pipe[0], &got, sizeof(got));

		CHECK(n == sizeof(got), n < 0 ? errno : n);
		CHECK(got == next, got);
		next++;
	}
}

/* All signals blocked: no signal can end a list here. */
static _Noreturn void *blocker(void *arg)
{
	int me = (int)(intptr_t)arg;
	sigset_t all, now = { 0 };
	struct timespec ts = { 0, 200000 };

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &all); /* what libc lets through */
	sh->tid[me] = (int)syscall(SYS_gettid);
	for (;; sh->turns[me]++) {
		int r = nanosleep(&ts, NULL);

		CHECK(r == 0, errno);
		pthread_sigmask(SIG_SETMASK, NULL, &now);
		CHECK(memcmp(&now, &all, 8) == 0, now.__val[0]);
	}
}

static void on_usr1(int sig)
{
	(void)sig;
	sh->caught++;
}

/* Signals of its own while lists run: each is seen once, none is lost, the mask stays. */
static _Noreturn void *signalled(void *arg)
{
	int me = (int)(intptr_t)arg;
	sigset_t before, now = { 0 };

	sigemptyset(&before);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	sh->tid[me] = (int)syscall(SYS_gettid);
	for (;; sh->turns[me]++) {
		int was = sh->caught;

		raise(SIGUSR1);
		CHECK(sh->caught == was + 1, sh->caught - was);
		pthread_sigmask(SIG_SETMASK, NULL, &now);
		CHECK(memcmp(&now, &before, 8) == 0, now.__val[0]);
	}
}

static _Noreturn void *writer(void *arg)
{
	int me = (int)(intptr_t)arg;
	struct timespec ts = { 0, 300000 };

	sh->tid[me] = (int)syscall(SYS_gettid);
	for (unsigned i = 0;; i++, sh->turns[me]++) {
		ssize_t n = write(sh->pipe[1], &i, sizeof(i));

		CHECK(n == sizeof(i), errno);
		nanosleep(&ts, NULL);
	}
}

static _Noreturn void target_main(void)
{
	static void *(*const body[THREADS])(void *) = { spinner, sleeper, reader, blocker, signalled,
							writer };
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = SA_RESTART };
	pthread_t t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &sa, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t, NULL, body[i], (void *)(intptr_t)i);
	for (;;)
		pause();
}

/* As it is before anything has happened. */
static void share(void)
{
	if (!sh)
		sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(sh, 0, sizeof(*sh));
}

static pid_t start_target(void)
{
	pid_t pid;

	share();
	if (pipe(sh->pipe) < 0)
		abort();
	pid = fork();
	if (pid == 0)
		target_main();
	for (int i = 0; i < THREADS; i++)
		while (!sh->tid[i])
			sched_yield();
	return pid;
}

static void end_target(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the target lived (%#x)", status);
	close(sh->pipe[0]);
	close(sh->pipe[1]);
}

/* True when every thread that turns has turned again, and nothing was found wrong. */
static bool all_turn(void)
{
	unsigned long was[THREADS];

	for (int i = 0; i < THREADS; i++)
		was[i] = sh->turns[i];
	for (int i = 0; i < THREADS; i++)
		for (int ms = 0; sh->turns[i] < was[i] + 2; ms++) {
			if (ms > 20000) {
				diag("thread %d stands still", i);
				return false;
			}
			poll(NULL, 0, 1);
		}
	if (sh->failed)
		diag("the target's line %d: %ld", sh->failed, sh->seen);
	return !sh->failed;
}

#endif
