/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Processes whose first thread has ended before the others: process 1 itself, one with everything that is a process's
 * (open files, signals that wait, timers, children that hear of their parent's end, seccomp filters), one that is
 * stopped, process 1 of a nested pid namespace, one that is root no more. Nothing of the first thread's end happens
 * again, and what the parent hears when the last thread ends is what it hears of others.
 */
#include "tests/checkpoint/crew.h"

#include <grp.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define STATUS 7

static int cleared = 4711;           /* CLONE_CHILD_CLEARTID of a first thread that has ended already */
static void (*volatile rest)(void); /* what the process does when its first thread has ended */

static pid_t tid_of_mine(void)
{
	return (pid_t)syscall(SYS_gettid);
}

/* One field of /proc/PID/stat, the state or what stands behind it. */
static long stat_field(pid_t pid, int field)
{
	char path[64], text[1024] = "", *p;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	p = strrchr(text, ')');
	for (int i = 3; p && i <= field; i++)
		p = strchr(p + 1, ' ');
	return !p ? -1 : field == 3 ? p[1] : atol(p + 1);
}

static void check_name(pid_t pid, const char *name)
{
	char path[64], text[64] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strncmp(text, name, strlen(name)) == 0);
	close(fd);
}

static void *second(void *arg)
{
	(void)arg;
	prctl(PR_SET_NAME, "second");
	while (stat_field(getpid(), 3) != 'Z')
		usleep(1000);
	rest();
	return NULL;
}

/* The first thread ends; another goes on with `run`. */
static _Noreturn void end_first(void (*run)(void))
{
	pthread_t t;

	rest = run;
	prctl(PR_SET_NAME, "first");
	CHECK(pthread_create(&t, NULL, second, NULL) == 0);
	syscall(SYS_exit, STATUS);
	_exit(99);
}

static void check_ended(void)
{
	CHECK(stat_field(getpid(), 3) == 'Z');
	CHECK(stat_field(tid_of_mine(), 3) == 'R');
	check_name(getpid(), "first");
	check_name(tid_of_mine(), "second");
}

static pid_t start(void (*run)(void))
{
	int was = crew->ready;
	pid_t pid = fork();

	if (pid == 0)
		end_first(run);
	crew_wait(was + 1);
	return pid;
}

static struct {
	int pipe[2], ring;
	timer_t timer;
	pid_t orphan;
	volatile int third, rang;
} whole;

static volatile sig_atomic_t got;

static void on_signal(int sig)
{
	got = sig;
}

/* Whose parent's first thread has ended, of which it has heard once. */
static _Noreturn void orphan(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR2, &sa, NULL);
	prctl(PR_SET_PDEATHSIG, SIGUSR2);
	crew_ready();
	CHECK(got == 0);
	crew_checked();
}

/* Which the other threads have, too. */
static void filter(void)
{
	struct sock_filter insn[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, insn };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0);
}

static void *third(void *arg)
{
	sigset_t all;

	(void)arg;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	whole.third = tid_of_mine();
	for (;;)
		pause();
	return NULL;
}

static void run_whole(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 5 };
	struct itimerspec far = { .it_value.tv_sec = 1000 }, now;
	struct io_uring_params params = { 0 };
	struct itimerval alarm = { .it_value.tv_sec = 2000 }, left;
	sigset_t set, waiting;
	pthread_t t;
	siginfo_t si;
	int was = crew->ready;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	filter();
	CHECK(pthread_create(&t, NULL, third, NULL) == 0);
	CHECK(pipe(whole.pipe) == 0 && write(whole.pipe[1], "abc", 3) == 3);
	CHECK(timer_create(CLOCK_MONOTONIC, &ev, &whole.timer) == 0 && timer_settime(whole.timer, 0, &far, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &alarm, NULL) == 0);
	whole.ring = (int)syscall(SYS_io_uring_setup, 4, &params);
	CHECK(whole.ring >= 0 || errno == ENOSYS || errno == EPERM);
	kill(getpid(), SIGUSR1);
	whole.orphan = fork();
	if (whole.orphan == 0)
		orphan();
	while (!whole.third || crew->ready == was)
		usleep(1000);
	crew_ready();
	check_ended();
	CHECK(timer_gettime(whole.timer, &now) == 0 && now.it_value.tv_sec > 900);
	CHECK(getitimer(ITIMER_REAL, &left) == 0 && left.it_value.tv_sec > 1900);
	CHECK(sigpending(&waiting) == 0 && sigismember(&waiting, SIGUSR1) == 1 &&
	      sigismember(&waiting, SIGRTMIN + 1) == 0);
	CHECK(sigwaitinfo(&set, &si) == SIGUSR1 && si.si_pid == getpid());
	CHECK(whole.ring < 0 || syscall(SYS_io_uring_enter, whole.ring, 0, 0, 0, NULL, 0) == 0);
	CHECK(kill(whole.orphan, 0) == 0 && stat_field(whole.orphan, 4) == getpid());
	CHECK(prctl(PR_GET_SECCOMP) == 2 && syscall(SYS_exit, 0) == -1 && errno == EPERM);
	CHECK(syscall(SYS_tgkill, getpid(), whole.third, 0) == 0);
	CHECK(cleared == 4711);
	{
		char text[4] = "";

		CHECK(read(whole.pipe[0], text, 3) == 3 && strcmp(text, "abc") == 0);
	}
	crew_checked();
}

/* The last thread ends, and the parent hears of the process's status, whichever thread that is of. */
static void run_ending(void)
{
	crew_ready();
	check_ended();
	crew->failed |= guest_failed;
	syscall(SYS_exit, 3);
}

static void run_stopped(void)
{
	crew_ready();
	check_ended();
	crew_checked();
}

static void run_other(void)
{
	CHECK(setgroups(0, NULL) == 0 && setresgid(33, 33, 33) == 0 && setresuid(1000, 1000, 1000) == 0);
	crew_ready();
	check_ended();
	crew_checked();
}

/* Process 1 of a pid namespace of its own. */
static void run_inner(void)
{
	crew_ready();
	CHECK(getpid() == 1);
	crew_checked();
}

static int inner(void *arg)
{
	(void)arg;
	CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
	end_first(run_inner);
}

static void run_ended(void)
{
	crew->ready++;
	syscall(SYS_exit, 3);
}

static pid_t ids[5];
static int usual = -1; /* the status of one that nobody saves */

/* Process 1, once its own first thread has ended. */
static void verify(void)
{
	int status = -1, served = 0;

	wait_for_restore();
	check_ended();
	CHECK(stat_field(ids[0], 3) == 'Z' && stat_field(ids[2], 3) == 'Z');
	CHECK(waitpid(ids[2], &status, WNOHANG) == 0);
	CHECK(kill(ids[2], SIGCONT) == 0);
	crew->check = 1;
	CHECK(waitpid(ids[1], &status, 0) == ids[1] && WIFEXITED(status) && status == usual);
	/* Four of them, and a child. */
	for (int i = 0; i < 20000 && (served = crew->checked) < 5; i++)
		usleep(1000);
	CHECK(served == 5);
	guest_failed |= crew->failed;
	CHECK(kill(ids[0], SIGKILL) == 0 && waitpid(ids[0], &status, 0) == ids[0] && WIFSIGNALED(status));
	exit(done());
}

int main(void)
{
	static char stack[65536] __attribute__((aligned(16)));

	crew_begin();
	syscall(SYS_set_tid_address, NULL);
	ids[0] = start(run_whole);
	crew_wait(2); /* and its child */
	ids[1] = start(run_ending);
	ids[2] = start(run_stopped);
	CHECK(kill(ids[2], SIGSTOP) == 0 && waitpid(ids[2], NULL, WUNTRACED) == ids[2]);
	ids[3] = start(run_other);
	ids[4] = clone(inner, stack + sizeof(stack), CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, NULL);
	CHECK(ids[4] > 0);
	crew_wait(6);
	CHECK(waitpid(start(run_ended), &usual, 0) > 0);
	end_first(verify);
}
