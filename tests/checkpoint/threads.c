/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Threads: in user code with all registers in use, asleep, in a futex, with names, masks, signal
 * stacks, thread-local storage, a robust mutex held by one that then ends. */
#include "tests/checkpoint/guest.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

static atomic_int phase, started;
static __thread uint64_t local;
static pthread_mutex_t robust, plain = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pid_t tids[5];
static int handler_on_stack;
static char stack[65536];

static void begin(int me)
{
	char name[16];

	snprintf(name, sizeof(name), "thread-%d", me);
	prctl(PR_SET_NAME, name);
	local = 1000 + (uint64_t)me;
	tids[me] = (pid_t)syscall(SYS_gettid);
	started++;
}

static void end(int me)
{
	char name[16], want[16];

	snprintf(want, sizeof(want), "thread-%d", me);
	CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, want) == 0);
	CHECK(local == 1000 + (uint64_t)me);
	CHECK((pid_t)syscall(SYS_gettid) == tids[me]);
}

/* General, SSE and AVX registers and rounding mode, held over the whole time. */
static void *runner(void *arg)
{
	uint64_t a = 0x1111, b = 0x2222, c = 0x3333, d = 0x4444;
	unsigned csr = _mm_getcsr() | 0x6000; /* towards zero */
	uint8_t vec[32], got[32];

	begin(0);
	for (int i = 0; i < 32; i++)
		vec[i] = (uint8_t)(i * 7 + 1);
	_mm_setcsr(csr);
	__asm__ volatile("vmovdqu %6, %%ymm3\n vmovdqu %6, %%ymm15\n"
			 "1: cmpl $0, %5\n je 1b\n"
			 "vpxor %%ymm15, %%ymm3, %%ymm4\n vmovdqu %%ymm3, %4\n"
			 "vptest %%ymm4, %%ymm4\n jz 2f\n xor %0, %0\n 2: vzeroupper\n"
			 : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "=m"(got)
			 : "m"(phase), "m"(vec)
			 : "xmm3", "xmm4", "xmm15", "memory", "cc");
	CHECK(a == 0x1111 && b == 0x2222 && c == 0x3333 && d == 0x4444);
	CHECK(memcmp(vec, got, 32) == 0);
	CHECK((_mm_getcsr() & 0x6000) == 0x6000);
	end(0);
	return arg;
}

static void *sleeper(void *arg)
{
	struct timespec ts = { 0, 300000000 };

	begin(1);
	while (!phase)
		CHECK(nanosleep(&ts, NULL) == 0);
	end(1);
	return arg;
}

static void *waiter(void *arg)
{
	begin(2);
	pthread_mutex_lock(&plain);
	while (!phase)
		pthread_cond_wait(&cond, &plain);
	pthread_mutex_unlock(&plain);
	end(2);
	return arg;
}

/* Ends with the mutex held: its list of robust futexes is known to the kernel again. */
static void *holder(void *arg)
{
	begin(3);
	pthread_mutex_lock(&robust);
	while (!phase)
		sched_yield();
	end(3);
	return arg;
}

static void on_signal(int sig)
{
	char here;

	(void)sig;
	handler_on_stack = &here >= stack && &here < stack + sizeof(stack);
}

static void *masked(void *arg)
{
	stack_t ss = { stack, 0, sizeof(stack) };
	sigset_t set, now;

	begin(4);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	sigaltstack(&ss, NULL);
	while (!phase)
		sched_yield();
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	for (int s = 1; s < 64; s++)
		CHECK(sigismember(&now, s) == sigismember(&set, s));
	raise(SIGUSR2);
	CHECK(handler_on_stack);
	end(4);
	return arg;
}

int main(void)
{
	static void *(*const body[5])(void *) = { runner, sleeper, waiter, holder, masked };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	pthread_mutexattr_t attr;
	pthread_t t[5];

	sigaction(SIGUSR2, &sa, NULL);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	for (int i = 0; i < 5; i++)
		pthread_create(&t[i], NULL, body[i], (void *)(intptr_t)(i + 1));
	while (started < 5)
		sched_yield();
	wait_for_restore();
	pthread_mutex_lock(&plain);
	phase = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&plain);
	for (int i = 0; i < 5; i++) {
		void *ret = NULL;

		CHECK(pthread_join(t[i], &ret) == 0 && ret == (void *)(intptr_t)(i + 1));
	}
	CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
	return done();
}
