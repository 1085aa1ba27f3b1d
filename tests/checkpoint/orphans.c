/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Zombies that process 1 has by adoption: of parents that have ended too, in groups and sessions of their own, of
 * other users, ended by signals; below a subreaper; of threads of a process whose first has ended. And daemons that
 * are begun by two forks all the while, as services begin, which live on: memory is sent in rounds meanwhile.
 */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MOST 64 /* daemons, of which few are there at a time */
#define FEW 8
#define WORD 0x6f727068u

struct dead {
	pid_t pid, pgid, sid;
	uid_t uid;
	int code, status, ppid;
};

enum { GRANDCHILD, LEADER, GROUP, KILLED, OTHER_USER, BELOW, MIDDLE, OF_THREAD, DEAD };

static struct shared {
	struct dead dead[DEAD];
	volatile pid_t reaper, daemon[MOST];
	volatile int stop, begun, failed, checked, reaped;
	volatile unsigned own[MOST];
} *sh;

static _Noreturn void end_as(int which, int code, int status, int ppid)
{
	sh->dead[which] = (struct dead){ getpid(), getpgrp(), getsid(0), getuid(), code, status, ppid };
	if (code == CLD_KILLED)
		kill(getpid(), status);
	_exit(status);
}

/* The status of one that has ended, which stays. */
static void await_end(pid_t pid)
{
	siginfo_t si;

	CHECK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
}

/* A child that ends and is left to whoever adopts it. */
static void leave(void (*run)(void))
{
	pid_t pid = fork();

	if (pid == 0)
		run();
	await_end(pid);
}

static void grandchild(void) { end_as(GRANDCHILD, CLD_EXITED, 41, 1); }
static void killed(void) { end_as(KILLED, CLD_KILLED, SIGKILL, 1); }

static void leader(void)
{
	CHECK(setsid() == getpid());
	end_as(LEADER, CLD_EXITED, 42, 1);
}

static void group(void)
{
	CHECK(setpgid(0, 0) == 0);
	end_as(GROUP, CLD_EXITED, 43, 1);
}

static void other_user(void)
{
	CHECK(setresuid(1000, 1000, 1000) == 0);
	end_as(OTHER_USER, CLD_EXITED, 44, 1);
}

static void below(void) { end_as(BELOW, CLD_EXITED, 45, 2); }

/* Its child is its own parent's when it has ended, beside itself. */
static void middle(void)
{
	leave(below);
	end_as(MIDDLE, CLD_KILLED, SIGUSR1, 2);
}

static _Noreturn void leave_all(void)
{
	static void (*const run[])(void) = { grandchild, leader, group, killed, other_user };

	CHECK(setsid() == getpid());
	for (size_t i = 0; i < sizeof(run) / sizeof(run[0]); i++)
		leave(run[i]);
	_exit(guest_failed);
}

static void check_dead(int which)
{
	const struct dead *d = &sh->dead[which];
	siginfo_t si = { 0 };
	char path[64], line[512] = "";
	int ppid = 0, pgid = 0, sid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)d->pid);
	f = fopen(path, "re");
	CHECK(f && fgets(line, sizeof(line), f) && strrchr(line, ')') &&
	      sscanf(strrchr(line, ')'), ") Z %d %d %d", &ppid, &pgid, &sid) == 3);
	if (f)
		fclose(f);
	CHECK(ppid == getpid() && pgid == d->pgid && sid == d->sid);
	CHECK(waitid(P_PID, (id_t)d->pid, &si, WEXITED) == 0);
	if (si.si_code != d->code || si.si_status != d->status || si.si_uid != d->uid)
		dprintf(1, "# %d: code %d, status %d, user %d\n", which, si.si_code, si.si_status, (int)si.si_uid);
	CHECK(si.si_pid == d->pid && si.si_code == d->code && si.si_status == d->status && si.si_uid == d->uid);
}

/* Who adopts what its children leave. */
static _Noreturn void reaper(void)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	leave(middle);
	sh->reaper = getpid();
	CHECK(sigwait(&set, &sig) == 0);
	check_dead(BELOW);
	check_dead(MIDDLE);
	CHECK(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
	_exit(guest_failed);
}

static void of_thread(void) { end_as(OF_THREAD, CLD_EXITED, 46, 3); }

static void *lives_on(void *arg)
{
	leave(of_thread);
	sh->reaped = 1;
	while (!sh->stop)
		usleep(1000);
	check_dead(OF_THREAD);
	_exit(guest_failed);
	return arg;
}

static _Noreturn void ends_first(void)
{
	pthread_t t;

	pthread_create(&t, NULL, lives_on, NULL);
	syscall(SYS_exit, 0);
	abort();
}

/* In a session whose leader has ended, without a terminal or anybody above but process 1. */
static _Noreturn void serve(int n, pid_t session, unsigned *word)
{
	*word = WORD + (unsigned)n;
	while (getppid() != 1)
		usleep(100);
	sh->daemon[n] = getpid();
	while (!sh->stop && sh->begun < n + FEW)
		usleep(1000);
	CHECK(getppid() == 1 && getsid(0) == session && getpgrp() == session && *word == WORD + (unsigned)n);
	sh->failed |= guest_failed;
	__sync_fetch_and_add(&sh->checked, 1);
	_exit(guest_failed);
}

/* Whoever begins daemons reads nothing of their ends. */
static _Noreturn void begin_daemons(void)
{
	unsigned *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int n = 0; n < MOST && !sh->stop; n++) {
		pid_t session, pid = fork();

		if (pid == 0) {
			session = setsid();
			if (fork() == 0)
				serve(n, session, word);
			_exit(0);
		}
		CHECK(pid > 0 && waitpid(pid, NULL, 0) == pid);
		while (!sh->daemon[n])
			usleep(100);
		sh->begun = n + 1;
		usleep(4000);
	}
	_exit(guest_failed);
}

static pid_t start(void (*run)(void))
{
	pid_t pid = fork();

	if (pid == 0)
		run();
	return pid;
}

static bool ended_well(pid_t pid)
{
	int status = -1;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void)
{
	pid_t left, below_them, first, begins;
	int status;

	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	left = start(leave_all);
	CHECK(ended_well(left)); /* and they are ours */
	below_them = start(reaper);
	first = start(ends_first);
	while (!sh->reaper || !sh->reaped)
		usleep(1000);
	begins = start(begin_daemons);
	while (sh->begun < FEW)
		usleep(1000);
	wait_for_restore();
	for (int i = GRANDCHILD; i <= OTHER_USER; i++)
		check_dead(i);
	CHECK(kill(below_them, SIGUSR2) == 0 && ended_well(below_them));
	sh->stop = 1;
	CHECK(ended_well(first) && ended_well(begins));
	while (waitpid(-1, &status, 0) > 0)
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(sh->checked >= sh->begun && !sh->failed);
	return done();
}
