/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Trees that no chain of forks leads to: jobs whose shell's child has ended, children from before their
 * parent's setsid(2), orphans that a subreaper adopted, groups without a leader, zombies that exited, were
 * killed, belong to users, signal their end otherwise or led a session; processes that share their fds. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct facts {
	pid_t pid, ppid, pgid, sid;
};
enum { INIT, JOB, SHELL, LEADER, EARLY, REAPER, MEMBER, ADOPTED, SHARER, ZOMBIES, LONELY, ROLES };
struct shared {
	volatile int go, ready, failed;
	struct facts facts[ROLES];
};
static struct shared *sh;
static volatile int told;

static void note(struct facts *f)
{
	*f = (struct facts){ getpid(), getppid(), getpgrp(), getsid(0) };
}

static void same(int me)
{
	struct facts now;

	note(&now);
	if (memcmp(&now, &sh->facts[me], sizeof(now)) == 0)
		return;
	dprintf(1, "failed: role %d: pid %d %d, ppid %d %d, pgid %d %d, sid %d %d\n", me, now.pid,
		sh->facts[me].pid, now.ppid, sh->facts[me].ppid, now.pgid, sh->facts[me].pgid,
		now.sid, sh->facts[me].sid);
	guest_failed = 1;
}

static void hold(int me)
{
	note(&sh->facts[me]);
	__sync_fetch_and_add(&sh->ready, 1);
	while (!sh->go)
		usleep(1000);
	same(me);
}

static _Noreturn void finish(void)
{
	if (guest_failed)
		sh->failed = 1;
	_exit(0);
}

static void orphaned(pid_t from)
{
	while (getppid() == from)
		usleep(1000);
}

/* A job in a group of its own whose leader, the shell's child, has ended; process 1 has it now. */
static _Noreturn void shell(void)
{
	pid_t pid;

	setsid();
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		pid = getpid();
		if (fork() == 0) {
			orphaned(pid);
			hold(JOB);
			CHECK(getppid() == 1 && kill(-sh->facts[JOB].pgid, 0) == 0);
			finish();
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	hold(SHELL);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	finish();
}

static _Noreturn void leader(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		while (getsid(getppid()) == getsid(0))
			usleep(1000);
		hold(EARLY);
		finish();
	}
	setsid();
	hold(LEADER);
	CHECK(waitpid(pid, NULL, 0) == pid);
	finish();
}

/* It adopts an orphan from the session of a child that lives. */
static _Noreturn void reaper(void)
{
	int status, n = 0;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (fork() == 0) {
		pid_t pid;

		setsid();
		pid = fork();
		if (pid == 0) {
			pid = getpid();
			if (fork() == 0) {
				orphaned(pid);
				hold(ADOPTED);
				finish();
			}
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		hold(MEMBER);
		finish();
	}
	hold(REAPER);
	CHECK(sh->facts[ADOPTED].ppid == getpid() &&
	      sh->facts[ADOPTED].sid == sh->facts[MEMBER].pid);
	while (wait(&status) > 0)
		n++;
	CHECK(n == 2);
	CHECK(prctl(PR_GET_CHILD_SUBREAPER, &status) == 0 && status == 1);
	finish();
}

static void on_usr1(int sig)
{
	(void)sig;
	told++;
}

static pid_t end_by(int how, int value)
{
	struct rlimit none = { 0, 0 };
	pid_t pid = (pid_t)syscall(SYS_clone, how == 3 ? SIGUSR1 : SIGCHLD, 0, 0, 0, 0);
	siginfo_t si;

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		if (how == 2 && setresuid(1234, 1234, 1234) < 0)
			_exit(99);
		if (how == 4)
			setsid();
		pid = getpid();
		if (how == 4 && fork() == 0) {
			orphaned(pid);
			hold(LONELY);
			finish();
		}
		if (how == 1)
			kill(getpid(), value);
		_exit(value);
	}
	CHECK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT | __WALL) == 0);
	return pid;
}

static void find_ended(pid_t pid, int code, int value, uid_t uid)
{
	siginfo_t si = { 0 };

	CHECK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | __WALL) == 0);
	CHECK(si.si_pid == pid && si.si_code == code && si.si_status == value && si.si_uid == uid);
}

static _Noreturn void zombies(void)
{
	pid_t pid[6];
	int before;

	signal(SIGUSR1, on_usr1);
	signal(SIGCHLD, on_usr1);
	pid[0] = end_by(0, 7);
	pid[1] = end_by(1, SIGKILL);
	pid[2] = end_by(1, SIGSEGV);
	pid[3] = end_by(2, 9);
	pid[4] = end_by(3, 3);
	pid[5] = end_by(4, 4);
	signal(SIGCHLD, SIG_IGN); /* those that are there stay */
	before = told;
	hold(ZOMBIES);
	CHECK(told == before);
	find_ended(pid[0], CLD_EXITED, 7, 0);
	find_ended(pid[1], CLD_KILLED, SIGKILL, 0);
	find_ended(pid[2], CLD_KILLED, SIGSEGV, 0);
	find_ended(pid[3], CLD_EXITED, 9, 1234);
	CHECK(waitpid(pid[4], NULL, WNOHANG) <
	      0); /* it does not tell by SIGCHLD: __WALL or __WCLONE */
	find_ended(pid[4], CLD_EXITED, 3, 0);
	CHECK(kill(-pid[5], 0) == 0 && getsid(pid[5]) == pid[5]);
	find_ended(pid[5], CLD_EXITED, 4, 0);
	finish();
}

/* Its own child in all but memory. */
static void sharer(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_FS | SIGUSR2, 0, 0, 0, 0);

	if (pid == 0) {
		hold(SHARER);
		CHECK(dup2(1, 77) == 77 && chdir("/tmp") == 0);
		finish();
	}
}

int main(void)
{
	static void (*const body[])(void) = { shell, leader, reaper, zombies };
	char dir[64] = "";
	pid_t pid;

	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 4; i++)
		if (fork() == 0)
			body[i]();
	while (sh->ready < ROLES - 2)
		usleep(1000);
	signal(SIGUSR2, on_usr1);
	sharer();
	while (sh->ready < ROLES - 1)
		usleep(1000);
	note(&sh->facts[INIT]);
	wait_for_restore();
	same(INIT);
	CHECK(told == 0 && fcntl(77, F_GETFD) < 0);
	/* Numbers go on rising. */
	pid = fork();
	if (pid == 0)
		_exit(0);
	CHECK(pid > sh->facts[SHARER].pid && waitpid(pid, NULL, 0) == pid);
	told = 0;
	sh->go = 1;
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
		;
	CHECK(errno == ECHILD && !sh->failed && told == 1);
	CHECK(fcntl(77, F_GETFD) == 0 && getcwd(dir, sizeof(dir)) && strcmp(dir, "/tmp") == 0);
	return done();
}
