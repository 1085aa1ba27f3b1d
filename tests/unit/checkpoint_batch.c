/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Engines that run lists of calls in the threads of a target that would notice any change of its state, most of which
 * are killed while they do.
 */
#include "base/macro.h"
#include "checkpoint/batch.h"
#include "tests/unit/tap.h"
#include "tests/unit/checkpoint_batch_target.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

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

	share();
	if (pipe(p) < 0)
		abort();
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
