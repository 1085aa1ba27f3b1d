/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What a process has asked the kernel for: membarrier, where memory is to lie (of each thread), huge pages but where
 * they are asked for, the priority of its session; and who has logged in, as sshd notes it down, in a session whose
 * processes share its number.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define REGISTER_GLOBAL (1 << 2)
#define PRIVATE (1 << 3)
#define REGISTER_PRIVATE (1 << 4)
#define SYNC_CORE (1 << 5)
#define REGISTER_SYNC_CORE (1 << 6)
#define GET_REGISTRATIONS (1 << 9)
#define TIMER_IDS 77  /* PR_TIMER_CREATE_RESTORE_IDS: 1 it is on, 2 tells */
#define FUTEX_HASH 78 /* PR_FUTEX_HASH: 1 sets how many slots there are, 2 tells */

static volatile int *go, *ready;

static void hold(void)
{
	__sync_fetch_and_add(ready, 1);
	while (!*go)
		usleep(1000);
}

static long barrier(int cmd)
{
	return syscall(SYS_membarrier, cmd, 0, 0);
}

static void text(const char *path, char *ret, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	ret[n > 0 ? n : 0] = '\0';
	close(fd);
}

static int put(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY);
	ssize_t n = fd < 0 ? -1 : write(fd, what, strlen(what));

	close(fd);
	return n == (ssize_t)strlen(what) ? 0 : -1;
}

static int policy_is(int mode, unsigned long nodes)
{
	unsigned long mask[16] = { 0 };
	int now = -1;

	return syscall(SYS_get_mempolicy, &now, mask, 1024UL + 1, NULL, 0UL) == 0 && now == mode && mask[0] == nodes;
}

static void *worker(void *arg)
{
	unsigned long one = 1;
	int has = syscall(SYS_set_mempolicy, MPOL_BIND, &one, 65UL) == 0;

	(void)arg;
	hold();
	CHECK(!has || policy_is(MPOL_BIND, 1));
	return NULL;
}

static _Noreturn void asks(void)
{
	long registered;
	unsigned long one = 1;
	int has, except, ids, slots;
	pthread_t t;

	CHECK(barrier(REGISTER_GLOBAL) == 0 && barrier(REGISTER_PRIVATE) == 0 && barrier(REGISTER_SYNC_CORE) == 0);
	registered = barrier(GET_REGISTRATIONS);
	has = syscall(SYS_set_mempolicy, MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, &one, 65UL) == 0;
	/* But where it is asked for: Linux 6.18. */
	except = prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0) == 0;
	CHECK(except || prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	ids = prctl(TIMER_IDS, 1, 0, 0, 0) == 0; /* Linux 6.15 */
	CHECK(pthread_create(&t, NULL, worker, NULL) == 0);
	slots = prctl(FUTEX_HASH, 1, 8192, 0, 0) == 0; /* Linux 6.16 */
	hold();
	pthread_join(t, NULL);
	CHECK(registered > 0 && barrier(GET_REGISTRATIONS) == registered);
	CHECK(barrier(PRIVATE) == 0 && barrier(SYNC_CORE) == 0);
	CHECK(!ids || prctl(TIMER_IDS, 2, 0, 0, 0) == 1);
	CHECK(!slots || prctl(FUTEX_HASH, 2, 0, 0, 0) == 8192);
	CHECK(!has || policy_is(MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, 1));
	CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == (except ? 3 : 1));
	_exit(guest_failed);
}

static char login[32], group[64];

static void same_session(void)
{
	char now[64], *nice = strstr(group, " nice ");

	text("/proc/self/loginuid", now, sizeof(now));
	CHECK(strcmp(now, login) == 0);
	text("/proc/self/autogroup", now, sizeof(now));
	CHECK(!nice || (strstr(now, " nice ") && strcmp(strstr(now, " nice "), nice) == 0));
}

static _Noreturn void logs_in(void)
{
	char mine[32], its[32], path[64];
	int status;
	pid_t pid;

	CHECK(setsid() == getpid());
	text("/proc/self/loginuid", login, sizeof(login));
	/* Where there is no audit, or the host's own login is there, nothing is set. */
	if (put("/proc/self/loginuid", "1000") == 0)
		text("/proc/self/loginuid", login, sizeof(login));
	put("/proc/self/autogroup", "7");
	text("/proc/self/autogroup", group, sizeof(group));
	pid = fork();
	if (pid == 0) {
		CHECK(setresuid(1000, 1000, 1000) == 0);
		hold();
		same_session();
		_exit(guest_failed);
	}
	hold();
	same_session();
	text("/proc/self/sessionid", mine, sizeof(mine));
	snprintf(path, sizeof(path), "/proc/%d/sessionid", pid);
	text(path, its, sizeof(its));
	CHECK(strcmp(mine, its) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	_exit(guest_failed);
}

int main(void)
{
	static void (*const body[])(void) = { asks, logs_in };
	char before[32], now[32];
	int status;

	go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ready = go + 1;
	text("/proc/self/loginuid", before, sizeof(before));
	for (int i = 0; i < 2; i++)
		if (fork() == 0)
			body[i]();
	while (*ready < 4)
		usleep(1000);
	wait_for_restore();
	*go = 1;
	while (wait(&status) > 0)
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	text("/proc/self/loginuid", now, sizeof(now));
	CHECK(strcmp(before, now) == 0);
	return done();
}
