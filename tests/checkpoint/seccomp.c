/* SPDX-License-Identifier: GPL-2.0-or-later */

/* System call filters: forty on top of each other, inherited, other ones in other threads, put by root
 * without no_new_privs and by users with it, synchronized after the restore; calls that they forbid before
 * are forbidden afterwards, and none is there twice. */
#include "tests/checkpoint/guest.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MANY 40

static volatile int *go, *ready;

/* From here on system call `nr` fails with `error`. */
static int forbid(long nr, int error, unsigned flags)
{
	struct sock_filter insn[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, insn };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static int is_forbidden(long nr, int error)
{
	return syscall(nr, -1, -1, -1, -1, -1) < 0 && errno == error;
}

static int count(void)
{
	char line[256];
	int n = -1;
	FILE *f = fopen("/proc/thread-self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Seccomp_filters: %d", &n);
	if (f)
		fclose(f);
	return n;
}

static void hold(void)
{
	__sync_fetch_and_add(ready, 1);
	while (!*go)
		usleep(1000);
}

static void *other(void *arg)
{
	int before;

	(void)arg;
	CHECK(forbid(SYS_acct, 77, 0) == 0);
	before = count();
	hold();
	CHECK(count() == before);
	CHECK(is_forbidden(SYS_acct, 77) && is_forbidden(SYS_syslog, 40) &&
	      is_forbidden(SYS_swapon, 31));
	return NULL;
}

static void *quiet(void *arg)
{
	(void)arg;
	hold();
	CHECK(is_forbidden(SYS_syslog, 40) && is_forbidden(SYS_swapon, 31) &&
	      !is_forbidden(SYS_acct, 77));
	/* The leader has put one on all meanwhile: its filters descend from ours. */
	while (*go < 2)
		usleep(1000);
	CHECK(is_forbidden(SYS_swapoff, 99));
	return NULL;
}

/* A user's program: no privileges, so that only no_new_privs lets it have filters. */
static _Noreturn void user(void)
{
	int before;

	if (setresuid(1000, 1000, 1000) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(2);
	CHECK(forbid(SYS_swapoff, 55, SECCOMP_FILTER_FLAG_LOG) == 0);
	before = count();
	hold();
	CHECK(count() == before);
	CHECK(is_forbidden(SYS_swapoff, 55) && is_forbidden(SYS_syslog, 40));
	_exit(guest_failed ? 1 : 0);
}

/* Root put its filters and became a user afterwards: it has neither CAP_SYS_ADMIN nor no_new_privs. */
static _Noreturn void dropped(void)
{
	CHECK(forbid(SYS_quotactl, 66, 0) == 0);
	if (setresgid(1000, 1000, 1000) < 0 || setresuid(1000, 1000, 1000) < 0)
		_exit(2);
	hold();
	CHECK(is_forbidden(SYS_quotactl, 66) && is_forbidden(SYS_syslog, 40));
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
	_exit(guest_failed ? 1 : 0);
}

/* All of it in a child: process 1 itself has no filters. */
static _Noreturn void service(void)
{
	pthread_t t[2];
	int before, status;
	pid_t kid[2];

	for (int i = 0; i < MANY; i++)
		CHECK(forbid(i & 1 ? SYS_syslog : SYS_swapon, i & 1 ? 40 : 31, 0) == 0);
	kid[0] = fork();
	if (kid[0] == 0)
		user();
	kid[1] = fork();
	if (kid[1] == 0)
		dropped();
	CHECK(pthread_create(&t[0], NULL, other, NULL) == 0);
	CHECK(pthread_create(&t[1], NULL, quiet, NULL) == 0);
	before = count();
	CHECK(before >= MANY);
	hold();
	CHECK(count() == before);
	pthread_join(t[0], NULL);
	CHECK(is_forbidden(SYS_syslog, 40) && is_forbidden(SYS_swapon, 31) &&
	      !is_forbidden(SYS_acct, 77));
	CHECK(forbid(SYS_swapoff, 99, SECCOMP_FILTER_FLAG_TSYNC) == 0);
	*go = 2;
	pthread_join(t[1], NULL);
	for (int i = 0; i < 2; i++)
		CHECK(waitpid(kid[i], &status, 0) == kid[i] && WIFEXITED(status) &&
		      WEXITSTATUS(status) == 0);
	_exit(guest_failed ? 1 : 17);
}

int main(void)
{
	int status, before = count();
	pid_t pid;

	go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ready = go + 1;
	pid = fork();
	if (pid == 0)
		service();
	while (*ready < 5)
		usleep(1000);
	wait_for_restore();
	CHECK(count() == before);
	*go = 1;
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 17);
	CHECK(!is_forbidden(SYS_syslog, 40));
	return done();
}
