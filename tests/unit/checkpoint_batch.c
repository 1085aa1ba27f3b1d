/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A target that would notice any change of its state (registers, flags, red zone, time-outs,
 * results of interrupted calls, signal mask), and engines that run lists of calls in its threads,
 * most of which are killed while they do.
 */
#include "base/macro.h"
#include "checkpoint/batch.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

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

static pid_t start_target(void)
{
	pid_t pid;

	if (!sh)
		sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(sh, 0, sizeof(*sh));
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

static int stop(pid_t tid, struct err *e)
{
	int r = ckpt_trace_seize(tid, PTRACE_O_TRACESYSGOOD);

	if (r == 0)
		r = ckpt_trace_interrupt(tid);
	if (r == 0)
		r = ckpt_trace_wait_event(tid, NULL);
	return r < 0 ? err_code(e, r, "stop %d", (int)tid) : 0;
}

/* A list in one stopped thread, and what it must return. */
static int run_list(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	struct ckpt_call calls[24] = { 0 };
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		calls[i].nr = i % 3 == 0 ? SYS_getpid : i % 3 == 1 ? SYS_gettid : 4095;
	calls[23] = (struct ckpt_call){ SYS_prctl, { PR_GET_DUMPABLE }, 0 };
	r = ckpt_batch_run(b, t, calls, ARRAY_SIZE(calls), e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < 23; i++)
		if (calls[i].ret != (i % 3 == 0 ? t->ns_tgid : i % 3 == 1 ? t->ns_tid : -ENOSYS))
			return err_set(e, ERR_FAIL, "call %zu returned %lld", i, (long long)calls[i].ret);
	if (calls[23].ret != 1)
		return err_set(e, ERR_FAIL, "the last call returned %lld", (long long)calls[23].ret);
	return 0;
}

/* In one thread, at its place, which is closed. */
static int run_lists(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	int r = 0;

	for (int i = 0; i < 3 && r == 0; i++)
		r = run_list(b, t, e);
	if (r == 0)
		r = ckpt_batch_unmap(b, t, e);
	if (r == 0)
		r = ckpt_thread_leave(b, t, e);
	if (r == 0)
		ckpt_batch_close(b);
	return r;
}

/* While another thread has begun a list at a second place, if there is one. */
static int run_beside(struct ckpt_batch *first, struct ckpt_thread *t, pid_t tid, struct err *e)
{
	struct ckpt_call calls[] = { { SYS_gettid, { 0 }, 0 }, { SYS_getpid, { 0 }, 0 } };
	struct ckpt_thread other;
	struct ckpt_batch b;
	int r = ckpt_batch_open_beside(&b, first, e);

	if (r != 0)
		return r < 0 ? r : run_lists(first, t, e);
	r = ckpt_thread_enter(&b, &other, tid, NULL, e);
	if (r == 0)
		r = ckpt_batch_map(&b, &other, 65536, e);
	if (r == 0)
		r = ckpt_batch_start(&b, &other, calls, ARRAY_SIZE(calls), e);
	if (r == 0)
		r = run_lists(first, t, e);
	if (r == 0)
		r = ckpt_batch_finish(&b, &other, calls, ARRAY_SIZE(calls), e);
	if (r == 0 && (calls[0].ret != other.ns_tid || calls[1].ret != other.ns_tgid))
		return err_set(e, ERR_FAIL, "the second place returned %lld", (long long)calls[0].ret);
	if (r == 0)
		sh->beside++;
	return r == 0 ? run_lists(&b, &other, e) : r;
}

/* Stops all threads, runs lists in one of them, or in two, lets them go. */
static int visit(pid_t pid, pid_t tid, pid_t second, struct err *e)
{
	struct ckpt_thread t;
	struct ckpt_batch b;
	pid_t all[THREADS + 1] = { pid };
	size_t n = 1;
	int r = 0;

	for (int i = 0; i < THREADS; i++)
		if (sh->tid[i])
			all[n++] = sh->tid[i];
	for (size_t i = 0; i < n && r == 0; i++)
		r = stop(all[i], e);
	if (r == 0)
		r = ckpt_batch_open(&b, pid, all, n, e);
	if (r == 0)
		r = ckpt_thread_enter(&b, &t, tid, NULL, e);
	if (r == 0)
		r = ckpt_batch_map(&b, &t, 65536, e);
	if (r == 0)
		r = second ? run_beside(&b, &t, second, e) : run_lists(&b, &t, e);
	if (r == 0)
		sh->lists++;
	for (size_t i = 0; i < n && r == 0; i++)
		r = ckpt_trace_detach(all[i]) < 0 ? err_sys(e, "detach") : 0;
	return r;
}

static size_t count_maps(pid_t pid)
{
	char path[64], line[512];
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	cleanup_fclose FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		n++;
	return n;
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

TEST(lists)
{
	pid_t pid = start_target();
	size_t maps = count_maps(pid);
	struct err e;
	char text[1400];
	int r = 0;

	for (int i = 0; i < 300 && r == 0; i++)
		r = visit(pid, sh->tid[i % THREADS], i % 2 ? sh->tid[(i + 1) % THREADS] : 0, &e);
	if (!ok(r == 0, "lists run in all kinds of threads"))
		diag("%s", err_format(&e, text, sizeof(text)));
	eq_int(sh->beside, 150, "half of the time in two at once");
	ok(all_turn(), "no thread noticed");
	eq_int(count_maps(pid), maps, "as many mappings as before");
	end_target(pid);
}

/* Visits until it is killed, `beside` in two threads at once. 0: it failed by itself. */
static int kill_engine(pid_t pid, unsigned *seed, int turn, bool beside)
{
	pid_t engine = fork();
	struct timespec ts = { 0, rand_r(seed) % 1500000 };
	int status;

	if (engine == 0) {
		struct err e;
		char text[1400];

		for (int k = turn;; k++)
			if (visit(pid, sh->tid[k % THREADS], beside ? sh->tid[(k + 1) % THREADS] : 0, &e) < 0) {
				fprintf(stderr, "# %s\n", err_format(&e, text, sizeof(text)));
				_exit(1);
			}
	}
	nanosleep(&ts, NULL);
	kill(engine, SIGKILL);
	waitpid(engine, &status, 0);
	return WIFSIGNALED(status);
}

TEST(engine_killed)
{
	pid_t pid = start_target();
	size_t maps = count_maps(pid);
	unsigned seed = 12345;
	int died = 0, broke = 0;

	for (int i = 0; i < 400 && !sh->failed && !broke; i++) {
		int killed = kill_engine(pid, &seed, i, false);

		died += killed;
		broke += !killed;
	}
	ok(died > 300, "%d engines were killed after %d visits in all", died, sh->lists);
	eq_int(broke, 0, "none failed by itself");
	ok(all_turn(), "no thread noticed");
	/* A scratch that was mapped and not yet known to the stub may stay. */
	ok(count_maps(pid) <= maps + 10, "hardly a mapping is left behind");
	end_target(pid);
}

/* What dead engines leave takes the room for a second place: so there are few in each target. */
TEST(engine_killed_at_two_places)
{
	unsigned seed = 54321;
	int broke = 0, beside = 0;
	bool fine = true;

	for (int i = 0; i < 30 && fine && !broke; i++) {
		pid_t pid = start_target();

		for (int k = 0; k < 3 && !broke; k++)
			broke += !kill_engine(pid, &seed, i + k, true);
		fine = all_turn();
		beside += sh->beside;
		end_target(pid);
	}
	eq_int(broke, 0, "none failed by itself");
	ok(fine, "no thread noticed");
	diag("%d visits of two threads at once", beside);
}

static _Noreturn void filtered_main(int out)
{
	/* Everything but what it needs is refused. */
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(f), f };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		_exit(1);
	for (;;)
		if (write(out, "x", 1) != 1)
			_exit(2);
}

TEST(seccomp)
{
	struct err e;
	char text[1400], c;
	int p[2], r = 0;
	pid_t pid;

	sh = sh ? sh : mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pipe(p) < 0)
		abort();
	memset(sh, 0, sizeof(*sh));
	pid = fork();
	if (pid == 0)
		filtered_main(p[1]);
	for (int i = 0; i < 20 && r == 0; i++) {
		for (int k = 0; k < 70000; k++)
			if (read(p[0], &c, 1) != 1)
				r = -1;
		r = r < 0 ? r : visit(pid, pid, 0, &e);
	}
	if (!ok(r == 0, "a task that may only write(2) runs lists"))
		diag("%s", err_format(&e, text, sizeof(text)));
	ok(read(p[0], &c, 1) == 1 && waitpid(pid, NULL, WNOHANG) == 0, "and lives");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(p[0]);
	close(p[1]);
}

TEST(stopped_by_a_signal)
{
	pid_t pid = start_target();
	struct err e;
	char text[1400], state = 0, path[64], line[512];
	int status, r;

	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	r = visit(pid, sh->tid[1], 0, &e);
	if (!ok(r == 0, "a list runs in a stopped process"))
		diag("%s", err_format(&e, text, sizeof(text)));
	snprintf(path, sizeof(path), "/proc/%d/stat", sh->tid[1]);
	for (int ms = 0; ms < 5000 && state != 'T'; ms++) {
		cleanup_fclose FILE *f = fopen(path, "re");

		if (f && fgets(line, sizeof(line), f))
			state = strrchr(line, ')')[2];
		if (state != 'T')
			poll(NULL, 0, 1);
	}
	eq_int(state, 'T', "it is stopped as before");
	kill(pid, SIGCONT);
	ok(all_turn(), "and goes on when told to");
	end_target(pid);
}

TEST(no_vdso)
{
	pid_t pid = fork();
	struct ckpt_batch b;
	struct err e;
	int r;

	if (pid == 0) {
		/* Ends itself, seen from outside: the vdso is gone. */
		char line[512];
		unsigned long from, to;
		FILE *f = fopen("/proc/self/maps", "re");

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (f && fgets(line, sizeof(line), f))
			if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &from, &to) == 2)
				munmap((void *)from, to - from); /* NOLINT */
		raise(SIGSTOP);
		for (;;)
			pause();
	}
	waitpid(pid, NULL, WUNTRACED);
	r = stop(pid, &e);
	eq_int(r, 0, "stopped");
	r = ckpt_batch_open(&b, pid, &pid, 1, &e);
	ok(r < 0 && e.code == ERR_UNSUPPORTED, "a process without a vdso is refused");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
