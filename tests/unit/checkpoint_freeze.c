/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Processes with threads, in groups below groups, are stopped and let go as if nothing had been. */
#include "checkpoint/freeze.h"
#include "tests/unit/tap.h"
#include "tests/unit/cgroup_live.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#define PROCS 20

struct shared {
	atomic_ulong turns[PROCS][3];
	atomic_int failed;
	atomic_int next;
};
static struct shared *sh;
static int me;

static _Noreturn void *waiter(void *arg)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), kind = (int)(intptr_t)arg;
	struct epoll_event ev;
	sigset_t set;
	struct timespec ts = { 0, 2000000 };

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	for (;; sh->turns[me][kind]++) {
		int r = epoll_wait(ep, &ev, 1, 2);

		if (r != 0)
			sh->failed = errno;
		r = sigtimedwait(&set, NULL, &ts);
		if (r >= 0 || errno != EAGAIN)
			sh->failed = errno + 1000;
	}
}

static _Noreturn void *runner(void *arg)
{
	int kind = (int)(intptr_t)arg;

	for (;; sh->turns[me][kind]++)
		poll(NULL, 0, 1);
}

static void body(void)
{
	pthread_t t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	me = sh->next++;
	pthread_create(&t, NULL, waiter, (void *)1);
	pthread_create(&t, NULL, runner, (void *)2);
	runner(NULL);
}

static bool all_turn(void)
{
	unsigned long was[PROCS][3];

	memcpy(was, sh->turns, sizeof(was));
	for (int i = 0; i < PROCS * 3; i++)
		for (int ms = 0; sh->turns[i / 3][i % 3] < was[i / 3][i % 3] + 2; ms++) {
			if (ms > 20000) {
				diag("thread %d of process %d stands still", i % 3, i / 3);
				return false;
			}
			poll(NULL, 0, 1);
		}
	return true;
}

static bool start(struct cgroup *c, const char *name)
{
	char path[PATH_MAX];

	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!live_init(c, name) || cgroup_create(c, 0, 0, &live_err) < 0)
		return false;
	/* A group below it, as a tenant makes them. */
	cgroup_path(c, CGROUP_V2, path);
	strcat(path, "/sub");
	if (mkdir(path, 0755) < 0)
		return false;
	strcat(path, "/cgroup.procs");
	for (int i = 0; i < PROCS; i++) {
		pid_t pid = live_spawn(c, body);
		char text[16];

		snprintf(text, sizeof(text), "%d", (int)pid);
		if (pid < 0 || (i % 2 && fd_write_file_at(AT_FDCWD, path, text) < 0))
			return false;
	}
	return all_turn();
}

static void end(struct cgroup *c)
{
	good(cgroup_kill(c, &live_err), "killed");
	good(cgroup_wait_empty(c, WAIT_US, &live_err), "empty");
	while (waitpid(-1, NULL, 0) > 0)
		;
	good(cgroup_remove(c, &live_err), "removed");
}

/* The child: fault points are read from the environment once. */
static _Noreturn void freeze_and_stay(void)
{
	struct ckpt_frozen f = { 0 };
	struct cgroup c;

	if (!live_init(&c, "midway"))
		_exit(2);
	snprintf(c.parent, sizeof(c.parent), "%s", getenv("CHECKPOINT_PARENT"));
	if (ckpt_freeze(&c, &f, &live_err) >= 0)
		_exit(3);
	for (;;)
		pause(); /* so that it is not its death which lets them go */
}

TEST(error_midway)
{
	struct cgroup c;
	int status;
	pid_t pid;

	if (getenv("CHECKPOINT_PARENT"))
		freeze_and_stay();
	if (!start(&c, "midway"))
		skip("%s", live_err.msg);
	pid = fork();
	if (pid == 0) {
		setenv("VPS_FAULT", "checkpoint.stop:fail", 1);
		setenv("CHECKPOINT_PARENT", c.parent, 1);
		execl("/proc/self/exe", "test", "error_midway", NULL);
		_exit(1);
	}
	ok(all_turn(), "everything runs on");
	poll(NULL, 0, 100);
	ok(all_turn(), "everything runs on");
	ok(waitpid(pid, &status, WNOHANG) == 0, "freezing failed");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	eq_int(sh->failed, 0, "no call ended with EINTR");
	end(&c);
}

TEST(freeze)
{
	struct cgroup c;
	struct ckpt_frozen f = { 0 };
	size_t threads = 0;

	if (!start(&c, "freeze"))
		skip("%s", live_err.msg);
	for (int i = 0; i < 50; i++) {
		unsigned long was[PROCS][3];

		if (ckpt_freeze(&c, &f, &live_err) < 0) {
			good(-1, "frozen");
			break;
		}
		threads = 0;
		for (size_t k = 0; k < f.count; k++)
			threads += f.procs[k].count;
		if (i == 0) {
			eq_int(f.count, PROCS, "all processes");
			eq_int(threads, 3 * PROCS, "all threads");
			eq_int(cgroup_is_frozen(&c, &live_err), 0, "the group is thawed");
			memcpy(was, sh->turns, sizeof(was));
			poll(NULL, 0, 20);
			ok(memcmp(was, sh->turns, sizeof(was)) == 0, "nothing runs");
		}
		ckpt_unfreeze(&f);
		poll(NULL, 0, 2);
	}
	ok(all_turn(), "everything runs again");
	eq_int(sh->failed, 0, "no call ended with EINTR");
	end(&c);
}

TEST(traced_by_another)
{
	struct cgroup c;
	struct ckpt_frozen f = { 0 };
	pid_t victim = 0, tracer;
	int p[2];
	char path[PATH_MAX], ch;

	if (!start(&c, "traced"))
		skip("%s", live_err.msg);
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup_path(&c, CGROUP_V2, (char[PATH_MAX]){ 0 }));
	cleanup_fclose FILE *fp = fopen(path, "re");
	ok(fp && fscanf(fp, "%d", &victim) == 1, "a victim");
	if (pipe(p) < 0)
		return;
	tracer = fork();
	if (tracer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ptrace(PTRACE_SEIZE, victim, NULL, NULL);
		if (write(p[1], "x", 1) == 1)
			pause();
		_exit(0);
	}
	ok(read(p[0], &ch, 1) == 1, "traced");
	ok(ckpt_freeze(&c, &f, &live_err) < 0 && live_err.code == ERR_STATE, "a traced process is refused");
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	ok(all_turn(), "everything runs on");
	ok(ckpt_freeze(&c, &f, &live_err) == 0, "then it is not");
	ckpt_unfreeze(&f);
	close(p[0]);
	close(p[1]);
	end(&c);
}

static void *end_at_once(void *arg)
{
	return arg;
}

static _Noreturn void bear_threads(void)
{
	for (pthread_t t;;)
		if (pthread_create(&t, NULL, end_at_once, NULL) == 0)
			pthread_join(t, NULL);
}

static _Noreturn void bear_children(void)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		if (fork() == 0)
			_exit(0);
		wait(NULL); /* until none is there */
	}
}

static int freeze_often(void (*busy)(void), bool children)
{
	pid_t pid = fork(), victim = pid;
	struct ckpt_frozen f;
	char path[64];
	int r = 0;

	if (pid == 0)
		busy();
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	for (int i = 0; r == 0 && i < 500; i++) {
		cleanup_free char *text = NULL;

		if (children && fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL) == 0)
			victim = (pid_t)atol(text);
		if (victim > 0)
			r = ckpt_freeze_one(victim, &f, &live_err);
		if (r == 0 && victim > 0)
			ckpt_unfreeze(&f);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

/* A thread, and a child that nobody waits for, is dead before it is gone: it is not traced by anybody. */
TEST(ends_meanwhile)
{
	good(freeze_often(bear_threads, false), "threads");
	good(freeze_often(bear_children, true), "processes");
}
