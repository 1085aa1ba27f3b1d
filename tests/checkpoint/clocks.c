/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Time namespaces whose maker is not in them: of process 1, of a process that waits for its child, in one another, of the
 * VPS's user namespace and of nested ones, with a pid namespace, of threads (together, alone, and one that has none), one that nobody has entered and that can
 * still be set. What all their clocks say, timers and sleeps in them.
 */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define SECOND 1000000000LL

enum { UNENTERED, ITS_CHILD, THREADS, CHILD_OF_ALONE, NEST, DEEPEST = NEST + 3, PLAIN, PLAINEST = PLAIN + 2, CONTAINED, OF_FIRST, MEMBERS };

/* Each says what its clocks are when all are asked. */
static struct shared {
	volatile int ready, ask, bad;
	struct member {
		int64_t offset[2]; /* seconds onto process 1's */
		int64_t clock[2];
		volatile int answered;
	} member[MEMBERS];
} *all;

static int64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

static struct timespec at(int64_t ns)
{
	return (struct timespec){ .tv_sec = ns / SECOND, .tv_nsec = ns % SECOND };
}

static void joined(void)
{
	all->bad |= guest_failed;
	__sync_fetch_and_add(&all->ready, 1);
}

static void wait_joined(int count)
{
	while (all->ready < count)
		usleep(500);
}

static void await_question(void)
{
	while (!all->ask)
		usleep(500);
}

static void answer(int i, int64_t mono, int64_t boot)
{
	struct member *m = &all->member[i];

	await_question();
	m->offset[0] = mono;
	m->offset[1] = boot;
	m->clock[0] = now(CLOCK_MONOTONIC);
	m->clock[1] = now(CLOCK_BOOTTIME);
	all->bad |= guest_failed;
	m->answered = 1;
}

static _Noreturn void stay(void)
{
	for (;;)
		pause();
}

/* Of its children to come. */
static void shift(int64_t mono, int64_t boot)
{
	char text[128] = { 0 }, path[64];
	long long s[2], ns[2];
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/timens_offsets", syscall(SYS_gettid));
	fd = open(path, O_RDONLY);
	CHECK(read(fd, text, sizeof(text) - 1) > 0);
	CHECK(sscanf(text, "monotonic %lld %lld boottime %lld %lld", &s[0], &ns[0], &s[1], &ns[1]) == 4);
	snprintf(text, sizeof(text), "monotonic %lld %lld\nboottime %lld %lld\n", s[0] + mono, ns[0], s[1] + boot, ns[1]);
	close(fd);
	put_text(path, text);
}

/* Ahead of what its children would have had. */
static void make(int64_t mono, int64_t boot)
{
	CHECK(unshare(CLONE_NEWTIME) == 0);
	if (mono || boot)
		shift(mono, boot);
}

static bool holds(void)
{
	struct stat own, children;

	return stat("/proc/thread-self/ns/time", &own) == 0 && stat("/proc/thread-self/ns/time_for_children", &children) == 0 &&
	       own.st_ino != children.st_ino;
}

/* Timers and sleeps that end after the save, by times of the namespace and by what is left. */
static _Noreturn void live(int i, int64_t mono, int64_t boot)
{
	struct itimerspec in = { .it_value = at(now(CLOCK_MONOTONIC) + 300000000) }, left;
	struct itimerspec far = { .it_value = at(now(CLOCK_BOOTTIME) + 5000 * SECOND) };
	struct timespec end = at(now(CLOCK_BOOTTIME) + 200000000);
	struct sigevent quiet = { .sigev_notify = SIGEV_NONE };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0), far_fd = timerfd_create(CLOCK_BOOTTIME, 0);
	uint64_t ticks;
	timer_t timer;

	CHECK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &in, NULL) == 0);
	CHECK(timerfd_settime(far_fd, TFD_TIMER_ABSTIME, &far, NULL) == 0);
	CHECK(timer_create(CLOCK_BOOTTIME, &quiet, &timer) == 0 && timer_settime(timer, TIMER_ABSTIME, &far, NULL) == 0);
	joined();
	CHECK(clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &end, NULL) == 0);
	CHECK(now(CLOCK_BOOTTIME) >= end.tv_sec * SECOND + end.tv_nsec);
	CHECK(read(fd, &ticks, 8) == 8 && ticks == 1);
	CHECK(now(CLOCK_MONOTONIC) >= in.it_value.tv_sec * SECOND + in.it_value.tv_nsec);
	await_question();
	CHECK(timerfd_gettime(far_fd, &left) == 0 && left.it_value.tv_sec > 4000 && left.it_value.tv_sec < 5000);
	CHECK(timer_gettime(timer, &left) == 0 && left.it_value.tv_sec > 4000 && left.it_value.tv_sec < 5000);
	answer(i, mono, boot);
	stay();
}

/* Only there it has the right to set clocks. */
static void own_user(int more)
{
	CHECK(unshare(CLONE_NEWUSER | more) == 0);
	put_text("/proc/self/setgroups", "deny");
	put_text("/proc/self/uid_map", "0 0 1");
	put_text("/proc/self/gid_map", "0 0 1");
}

/* Holds one, whose child holds another in it, and so on. */
static void nest(int i, int last, int64_t offset, int64_t step)
{
	if (i == last)
		live(i, offset, 2 * offset);
	make(step, 2 * step);
	if (fork() == 0) {
		nest(i + 1, last, offset + step, step);
		stay();
	}
	joined();
	await_question();
	CHECK(holds());
	answer(i, offset, 2 * offset);
}

static void nested(void)
{
	own_user(0);
	nest(NEST, DEEPEST, 0, 1000);
}

static void plain(void)
{
	nest(PLAIN, PLAINEST, 0, 0);
}

/* A container: its process 1 is in all that its maker has made for it. */
static void contain(void)
{
	own_user(CLONE_NEWPID);
	make(3, 50000);
	if (fork() == 0) {
		CHECK(getpid() == 1);
		live(CONTAINED, 3, 50000);
	}
	joined();
}

/* Nobody is in it: it can be set once more, and is what a child gets. */
static void unentered(void)
{
	own_user(0);
	make(7, 7);
	joined();
	answer(UNENTERED, 0, 0);
	shift(1, 2);
	if (fork() == 0) {
		answer(ITS_CHILD, 8, 9);
		stay();
	}
}

static ino_t children_of(pid_t tid)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/ns/time_for_children", (int)tid);
	CHECK(stat(path, &st) == 0);
	return st.st_ino;
}

static volatile pid_t tids[3];

static void *idle(void *arg)
{
	volatile pid_t *tid = arg;

	*tid = (pid_t)syscall(SYS_gettid);
	stay();
}

static void *alone(void *arg)
{
	volatile pid_t *tid = arg;

	make(10, 10); /* and the 10 that its process has */
	*tid = (pid_t)syscall(SYS_gettid);
	await_question();
	if (fork() == 0) {
		answer(CHILD_OF_ALONE, 20, 20);
		stay();
	}
	stay();
}

static void start_thread(void *(*run)(void *arg), int i)
{
	pthread_t t;

	CHECK(pthread_create(&t, NULL, run, (void *)&tids[i]) == 0);
	while (!tids[i])
		usleep(500);
}

/* One from before, one that was born with what the first has, one that has its own. */
static void threads(void)
{
	struct stat own;

	own_user(0);
	start_thread(idle, 0);
	make(10, 10);
	start_thread(idle, 1);
	start_thread(alone, 2);
	joined();
	await_question();
	CHECK(stat("/proc/self/ns/time", &own) == 0);
	CHECK(children_of(tids[0]) == own.st_ino && children_of(tids[1]) == children_of(getpid()));
	CHECK(children_of(tids[1]) != own.st_ino && children_of(tids[2]) != own.st_ino &&
	      children_of(tids[2]) != children_of(tids[1]));
	answer(THREADS, 0, 0);
}

static void start(void (*run)(void), int members)
{
	int was = all->ready;

	if (fork() == 0) {
		run();
		stay();
	}
	wait_joined(was + members);
}

static void check(const struct member *m, const int64_t before[2])
{
	while (!m->answered)
		usleep(500);
	for (int k = 0; k < 2; k++)
		if (m->clock[k] - m->offset[k] * SECOND < before[k] ||
		    m->clock[k] - m->offset[k] * SECOND > now(k ? CLOCK_BOOTTIME : CLOCK_MONOTONIC)) {
			dprintf(1, "member %d, clock %d, is %lld ns ahead\n", (int)(m - all->member), k,
				(long long)(m->clock[k] - before[k]));
			CHECK(!"all clocks go on together");
		}
}

int main(void)
{
	int64_t began[2] = { now(CLOCK_MONOTONIC), now(CLOCK_BOOTTIME) }, before[2];

	all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	start(unentered, 1);
	start(threads, 1);
	start(nested, 4);
	start(plain, 3);
	start(contain, 2);
	/* Last, as all would be born into it. */
	make(0, 0);
	if (fork() == 0) {
		joined();
		answer(OF_FIRST, 0, 0);
		stay();
	}
	wait_joined(12);
	wait_for_restore();
	before[0] = now(CLOCK_MONOTONIC);
	before[1] = now(CLOCK_BOOTTIME);
	CHECK(before[0] > began[0] && before[0] < began[0] + 300 * SECOND);
	CHECK(before[1] > began[1] && before[1] < began[1] + 300 * SECOND);
	CHECK(holds());
	all->ask = 1;
	for (int i = 0; i < MEMBERS; i++)
		check(&all->member[i], before);
	CHECK(!all->bad);
	return done();
}
