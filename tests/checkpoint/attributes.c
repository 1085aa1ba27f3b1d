/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a thread or process is besides: scheduling and I/O priority of each thread, timer slack, parent-death
 * signal of a user's process, OOM score, core dump filter, what it may see of clock and processor,
 * speculation, an I/O priority that processes share, names with odd bytes, the groups, capabilities and secure bits of each. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define IDLE_IO (3 << 13)
#define BEST_IO (2 << 13 | 6)

enum { GET_CPUID = 0x1011, SET_CPUID = 0x1012 }; /* asm/prctl.h */

static volatile int *go, *ready;

static void hold(void)
{
	__sync_fetch_and_add(ready, 1);
	while (!*go)
		usleep(1000);
}

static int holds(const char *path, const char *text)
{
	char got[64] = "";
	int fd = open(path, O_RDONLY);

	CHECK(fd >= 0 && read(fd, got, sizeof(got) - 1) > 0);
	close(fd);
	return strncmp(got, text, strlen(text)) == 0;
}

static void *worker(void *arg)
{
	struct sched_param none = { 0 };
	/* Less may be forbidden. */
	int nice = getpriority(PRIO_PROCESS, 0) < 19 ? getpriority(PRIO_PROCESS, 0) + 1 : 19;
	char name[16];

	(void)arg;
	CHECK(sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none) == 0);
	CHECK(setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice) == 0);
	CHECK(syscall(SYS_ioprio_set, 1, 0, BEST_IO) == 0);
	prctl(PR_SET_TIMERSLACK, 123456);
	prctl(PR_SET_NAME, "a\n(b) \xff\x01c");
	hold();
	CHECK(sched_getscheduler(0) == (SCHED_BATCH | SCHED_RESET_ON_FORK));
	CHECK(getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid)) == nice);
	CHECK(syscall(SYS_ioprio_get, 1, 0) == BEST_IO);
	CHECK(prctl(PR_GET_TIMERSLACK) == 123456);
	CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "a\n(b) \xff\x01c") == 0);
	return NULL;
}

static _Noreturn void service(void)
{
	int spec = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0), tsc = 0;
	struct sched_param none = { 0 };
	pthread_t t;

	put_text("/proc/self/oom_score_adj", "350");
	put_text("/proc/self/coredump_filter", "0x7f");
	CHECK(syscall(SYS_ioprio_set, 1, 0, IDLE_IO) == 0);
	if (spec & PR_SPEC_PRCTL)
		CHECK(prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_FORCE_DISABLE, 0,
			    0) == 0);
	spec = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
	CHECK(prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0) == 0);
	CHECK(pthread_create(&t, NULL, worker, NULL) == 0);
	/* It may not leave it again, nor may who inherits it. */
	CHECK(sched_setscheduler(0, SCHED_IDLE, &none) == 0);
	hold();
	pthread_join(t, NULL);
	CHECK(holds("/proc/self/oom_score_adj", "350") &&
	      holds("/proc/self/coredump_filter", "0000007f"));
	CHECK(sched_getscheduler(0) == SCHED_IDLE && syscall(SYS_ioprio_get, 1, 0) == IDLE_IO);
	CHECK(prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0) == spec);
	CHECK(prctl(66 /* PR_GET_MDWE */, 0, 0, 0, 0) == 1);
	CHECK(mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	      MAP_FAILED);
	CHECK(prctl(PR_GET_TSC, &tsc) == 0 && tsc == PR_TSC_ENABLE && syscall(SYS_arch_prctl, GET_CPUID, 0) == 1);
	_exit(guest_failed);
}

static _Noreturn void user(void)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { 0 } }, now[2];
	int sig = 0, tsc = 0, has_cpuid;

	CHECK(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT) ==
	      0);
	CHECK(syscall(SYS_capget, &h, d) == 0);
	d[0].inheritable = 1u << CAP_SYS_CHROOT; /* for good: what has been dropped cannot be added again */
	CHECK(syscall(SYS_capset, &h, d) == 0);
	CHECK(prctl(PR_CAPBSET_DROP, CAP_SYS_CHROOT, 0, 0, 0) == 0);
	CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
	memset(d, 0, sizeof(d));
	d[0].permitted = 1u << CAP_NET_BIND_SERVICE | 1u << CAP_CHOWN;
	d[0].inheritable = d[0].permitted | 1u << CAP_SYS_CHROOT;
	d[0].effective = 1u << CAP_CHOWN;
	CHECK(syscall(SYS_capset, &h, d) == 0);
	CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0);
	CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0 && prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
	/* Not every processor can do without. */
	has_cpuid = syscall(SYS_arch_prctl, SET_CPUID, 0) == 0 ? 0 : 1;
	hold();
	CHECK(syscall(SYS_arch_prctl, GET_CPUID, 0) == has_cpuid);
	CHECK(prctl(PR_GET_PDEATHSIG, &sig) == 0 && sig == SIGUSR1);
	CHECK(prctl(PR_GET_TSC, &tsc) == 0 && tsc == PR_TSC_SIGSEGV);
	CHECK(syscall(SYS_capget, &h, now) == 0 && memcmp(now, d, sizeof(d)) == 0);
	CHECK(prctl(PR_CAPBSET_READ, CAP_SYS_CHROOT, 0, 0, 0) == 0 &&
	      prctl(PR_CAPBSET_READ, CAP_CHOWN, 0, 0, 0) == 1);
	CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) == 1);
	CHECK(prctl(PR_GET_SECUREBITS) ==
	      (SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT));
	_exit(guest_failed);
}

/* One I/O context for a process, its child and that one's; another child has its own. */
static _Noreturn void sharers(void)
{
	long child, own = 0, grandchild;
	int status;

	CHECK(syscall(SYS_ioprio_set, 1, 0, BEST_IO) == 0);
	child = syscall(SYS_clone, CLONE_IO | SIGCHLD, 0, 0, 0, 0);
	if (child) {
		own = fork();
		if (own == 0) {
			hold();
			_exit(syscall(SYS_ioprio_get, 1, 0) != BEST_IO);
		}
	}
	grandchild = child ? 0 : syscall(SYS_clone, CLONE_IO | SIGCHLD, 0, 0, 0, 0);
	if (!child && !grandchild) {
		hold();
		CHECK(syscall(SYS_ioprio_get, 1, 0) == BEST_IO && syscall(SYS_ioprio_set, 1, 0, IDLE_IO) == 0);
		_exit(guest_failed);
	}
	hold();
	if (child)
		CHECK(waitpid((pid_t)own, &status, 0) == own && status == 0);
	CHECK(waitpid(child ? (pid_t)child : (pid_t)grandchild, &status, 0) > 0 && status == 0);
	CHECK(syscall(SYS_ioprio_get, 1, 0) == IDLE_IO);
	_exit(guest_failed);
}

int main(void)
{
	static void (*const body[])(void) = { service, user, sharers };
	int status;

	go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ready = go + 1;
	for (int i = 0; i < 3; i++)
		if (fork() == 0)
			body[i]();
	while (*ready < 7)
		usleep(1000);
	wait_for_restore();
	*go = 1;
	while (wait(&status) > 0)
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(holds("/proc/self/oom_score_adj", "0"));
	return done();
}
