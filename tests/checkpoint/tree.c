/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Processes: parents, numbers, groups, sessions, directories, umask, identity, limits, niceness, and
 * that a parent still learns of its child's end. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct facts {
	pid_t pid, ppid, pgid, sid;
};
struct shared {
	volatile int go, ready;
	struct facts facts[8];
};
static struct shared *sh;

static void note(struct facts *f)
{
	*f = (struct facts){ getpid(), getppid(), getpgrp(), getsid(0) };
}

static int same(const struct facts *f)
{
	struct facts now;

	note(&now);
	return memcmp(f, &now, sizeof(now)) == 0;
}

static void hold(int me)
{
	note(&sh->facts[me]);
	__sync_fetch_and_add(&sh->ready, 1);
	while (!sh->go)
		usleep(1000);
	CHECK(same(&sh->facts[me]));
}

static _Noreturn void grandchild(void)
{
	setpgid(0, 0);
	hold(2);
	_exit(guest_failed ? 1 : 12);
}

static _Noreturn void session(void)
{
	pid_t pid;
	int status;

	setsid();
	pid = fork();
	if (pid == 0)
		grandchild();
	hold(1);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 12);
	_exit(guest_failed ? 1 : 11);
}

static _Noreturn void user(void)
{
	gid_t groups[3] = { 5, 6, 7 }, now[8];
	struct rlimit lim = { 123, 456 }, got;
	uid_t u[3];
	char dir[64];

	mkdir("/tmp/here", 0777);
	if (chdir("/tmp/here") < 0)
		_exit(2);
	umask(0137);
	setpriority(PRIO_PROCESS, 0, 15);
	setrlimit(RLIMIT_NOFILE, &lim);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (setgroups(3, groups) < 0 || setresgid(100, 101, 102) < 0 || setresuid(1000, 1001, 1002) < 0)
		_exit(3);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	hold(3);
	CHECK(getresuid(&u[0], &u[1], &u[2]) == 0 && u[0] == 1000 && u[1] == 1001 && u[2] == 1002);
	CHECK(getresgid(&u[0], &u[1], &u[2]) == 0 && u[0] == 100 && u[1] == 101 && u[2] == 102);
	CHECK(getgroups(8, now) == 3 && now[0] == 5 && now[2] == 7);
	CHECK(getcwd(dir, sizeof(dir)) && strcmp(dir, "/tmp/here") == 0);
	CHECK(umask(0) == 0137);
	CHECK(getpriority(PRIO_PROCESS, 0) == 15);
	CHECK(getrlimit(RLIMIT_NOFILE, &got) == 0 && got.rlim_cur == 123 && got.rlim_max == 456);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK(mkdir("/root/not-allowed", 0755) < 0);
	_exit(guest_failed ? 1 : 13);
}

static _Noreturn void many(void)
{
	hold(4);
	_exit(guest_failed ? 1 : 14);
}

static pid_t end_at_once(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	CHECK(waitpid(pid, NULL, 0) == pid);
	return pid;
}

/* The next number is higher than those that there are: none that was given not long ago is given again. */
static void check_next(const pid_t *pid, int n)
{
	pid_t next = end_at_once();

	for (int i = 0; i < n; i++)
		CHECK(next > pid[i]);
}

int main(void)
{
	static const int codes[] = { 11, 13, 14 };
	static void (*const body[])(void) = { session, user, many };
	pid_t pid[3];

	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 20; i++) /* numbers that are free again */
		CHECK(end_at_once() > 0);
	for (int i = 0; i < 3; i++) {
		pid[i] = fork();
		if (pid[i] == 0)
			body[i]();
	}
	while (sh->ready < 4)
		usleep(1000);
	note(&sh->facts[0]);
	wait_for_restore();
	CHECK(same(&sh->facts[0]));
	check_next(pid, 3);
	sh->go = 1;
	for (int i = 0; i < 3; i++) {
		int status = 0;

		CHECK(waitpid(pid[i], &status, 0) == pid[i]);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == codes[i]);
	}
	return done();
}
