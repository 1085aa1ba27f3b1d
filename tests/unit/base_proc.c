/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/proc.h"

#include "base/macro.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

TEST(start_time)
{
	uint64_t mine = 0, same = 1;
	int fd;

	eq_int(proc_start_time(getpid(), &mine), 0, "of this process");
	/* A name that looks like the fields after it */
	prctl(PR_SET_NAME, "a) R 1 2 3 4");
	eq_int(proc_start_time(getpid(), &same), 0, "with a hostile name");
	ok(mine == same, "is the same");
	fd = proc_open(getpid(), mine);
	ok(fd >= 0, "opened by pid and start");
	if (fd >= 0)
		close(fd);
	eq_int(proc_open(getpid(), mine + 1), -ESRCH, "another start is another process");
}

TEST(ended)
{
	uint64_t start;
	int fd;
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	eq_int(proc_start_time(pid, &start), 0, "while it runs");
	fd = proc_open(pid, start);
	ok(fd >= 0, "a pidfd");
	eq_int(pidfd_signal(fd, SIGKILL), 0, "signalled through it");
	ok(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 10000) == 1, "readable at its end");
	waitpid(pid, NULL, 0);
	eq_int(pidfd_signal(fd, 0), -ESRCH, "gone");
	eq_int(proc_start_time(pid, &start), -ESRCH, "no such process");
	eq_int(proc_open(pid, start), -ESRCH, "nor to open");
	close(fd);
}

static void *stay(void *arg)
{
	for (;;)
		pause();
	return arg;
}

TEST(first_thread)
{
	pid_t pid = fork(), tid;
	pthread_t t;
	int fd;

	if (pid == 0) {
		prctl(PR_SET_NAME, "a) Z");
		pthread_create(&t, NULL, stay, NULL);
		syscall(SYS_exit, 0);
	}
	ok(!proc_is_zombie(getpid()), "this process is none");
	eq_int(proc_live_tid(getpid()), getpid(), "and seen by its first thread");
	while (!proc_is_zombie(pid))
		sched_yield();
	tid = proc_live_tid(pid);
	ok(tid != pid && !proc_is_zombie(tid), "one without a first thread by another");
	fd = pidfd_open_task(tid);
	eq_int(proc_state(pid), 'Z', "a zombie by its state");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	eq_int(proc_state(pid), 'X', "and dead when it is gone");
	if (fd == -EINVAL)
		skip("no pidfds of threads (Linux 6.9)");
	ok(fd >= 0, "of which there is a pidfd");
	close(fd);
}

/* So long it runs, whatever else does. */
static void burn(long us)
{
	struct timespec begin, now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while ((now.tv_sec - begin.tv_sec) * 1000000 + (now.tv_nsec - begin.tv_nsec) / 1000 < us);
}

TEST(limit_of_waiting)
{
	struct wait_limit l = wait_limit(20000);
	unsigned looks = 1;

	usleep(40000);
	ok(!wait_limit_is_over(&l, 1000), "where all stood still it is not over");
	ok(l.left_us > 10000 && l.left_us <= 19000, "that counts for what was to be slept");
	for (; !wait_limit_is_over(&l, 1000); looks++)
		usleep(1000);
	ok(looks >= 19, "so often is looked at least");
	ok(looks <= 21, "and hardly more often");
	l = wait_limit(20000);
	burn(25000);
	ok(wait_limit_is_over(&l, 1000), "what a look took counts");
	l = wait_limit(0);
	ok(wait_limit_is_over(&l, 1000), "no time is over at once");
}

TEST(ids)
{
	char boot[37], again[37], a[37], b[37];

	eq_int(proc_boot_id(boot), 0, "the boot's");
	eq_int(proc_boot_id(again), 0, "twice");
	eq_str(again, boot, "is one");
	eq_int(proc_random_uuid(a), 0, "a random one");
	eq_int(proc_random_uuid(b), 0, "and another");
	ok(strcmp(a, b) != 0, "differ");
	eq_int(strlen(a), 36, "36 characters");
	ok(a[14] == '4' && strchr("89ab", a[19]), "version 4, %s", a);
}

TEST(clocks)
{
	uint64_t before = now_monotonic_us();

	ok(now_monotonic_us() >= before, "does not go back");
	ok(now_boottime_us() >= before, "boot time counts suspended time, too");
	ok(now_realtime_us() > 1577836800000000ULL, "after 2020");
}
