/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Daemons: children of process 1 by adoption, in a session whose leader has ended, two of them in one,
 * with a child of its own; process 1 learns of no end but theirs. */
#include "tests/checkpoint/guest.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct facts {
	pid_t pid, ppid, pgid, sid;
};
struct shared {
	volatile int go, ready;
	struct facts facts[8];
};
static struct shared *sh;
static volatile int ended;

static void note(struct facts *f)
{
	*f = (struct facts){ getpid(), getppid(), getpgrp(), getsid(0) };
}

static _Noreturn void daemon_main(int me, int want)
{
	struct facts now;
	int status, parent = me == 1;

	while (me < 3 && getppid() != 1)
		usleep(1000);
	if (parent && fork() == 0) {
		me = 3;
		want = 43;
		parent = 0;
	}
	note(&sh->facts[me]);
	__sync_fetch_and_add(&sh->ready, 1);
	while (!sh->go)
		usleep(1000);
	note(&now);
	CHECK(memcmp(&now, &sh->facts[me], sizeof(now)) == 0);
	CHECK(kill(-now.sid, 0) == 0);
	if (parent)
		CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 43);
	_exit(guest_failed ? 1 : want);
}

static void on_child(int sig)
{
	(void)sig;
	ended++;
}

int main(void)
{
	int status, got[2] = { 0 }, before;
	pid_t pid;

	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = fork();
	if (pid == 0) {
		setsid();
		for (int i = 0; i < 2; i++)
			if (fork() == 0)
				daemon_main(i, 40 + i);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	while (sh->ready < 3)
		usleep(1000);
	CHECK(sh->facts[0].sid == pid && sh->facts[3].pgid == pid && sh->facts[1].ppid == 1);
	signal(SIGCHLD, on_child);
	before = ended;
	wait_for_restore();
	usleep(1000);
	CHECK(ended == before && waitpid(-1, &status, WNOHANG) == 0);
	sh->go = 1;
	for (int i = 0; i < 2; i++) {
		while (waitpid(-1, &status, 0) < 0 && errno == EINTR)
			;
		CHECK(WIFEXITED(status) && (WEXITSTATUS(status) & ~1) == 40);
		if (WIFEXITED(status))
			got[WEXITSTATUS(status) & 1]++;
	}
	CHECK(got[0] == 1 && got[1] == 1);
	return done();
}
