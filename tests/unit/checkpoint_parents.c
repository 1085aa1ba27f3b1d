/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/parents.h"
#include "base/macro.h"
#include "tests/unit/tap.h"

#include <dirent.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 4000 /* more than there is room for */

struct heard {
	pid_t of;
	unsigned count;
};

static void hear(void *arg, pid_t parent)
{
	struct heard *h = arg;

	h->count += parent == h->of;
}

/* How many children it is heard to have had. */
static unsigned children_of(struct ckpt_parents *p, pid_t pid, bool *all)
{
	struct heard h = { pid, 0 };

	*all = ckpt_parents_read(p, hear, &h);
	return h.count;
}

static void *end(void *arg)
{
	return arg;
}

/* Its child has had one, and both have ended. What others make on this machine may leave no room. */
static pid_t have_child_with_child(void)
{
	pid_t pid = fork(), child;

	if (pid == 0) {
		child = fork();
		_exit(child == 0 || waitpid(child, NULL, 0) == child ? 0 : 1);
	}
	return waitpid(pid, NULL, 0) == pid ? pid : -1;
}

TEST(own)
{
	struct ckpt_parents *p = ckpt_parents_new();
	bool all;

	if (!p)
		skip("the kernel does not tell who makes processes");
	children_of(p, getpid(), &all);
	ok(have_child_with_child() > 0, "a child has come and gone");
	ok(children_of(p, getpid(), &all) == 1 || !all, "it is ours");
	eq_int(children_of(p, getpid(), &all), 0, "it is told once");
	ckpt_parents_free(p);
}

TEST(of_child)
{
	struct ckpt_parents *p = ckpt_parents_new();
	pid_t child;
	bool all;

	if (!p)
		skip("the kernel does not tell who makes processes");
	child = have_child_with_child();
	ok(children_of(p, child, &all) == 1 || !all, "the child's child is not ours");
	ckpt_parents_free(p);
}

static void make_threads(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, end, NULL) == 0)
			pthread_join(t, NULL);
	}
}

TEST(threads)
{
	struct ckpt_parents *p = ckpt_parents_new();
	bool all;

	if (!p)
		skip("the kernel does not tell who makes processes");
	make_threads(3);
	eq_int(children_of(p, getpid(), &all), 0, "threads are no children");
	ckpt_parents_free(p);
}

TEST(too_many)
{
	struct ckpt_parents *p = ckpt_parents_new();
	cpu_set_t one, before;
	bool all;

	if (!p)
		skip("the kernel does not tell who makes processes");
	sched_getaffinity(0, sizeof(before), &before);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	make_threads(MANY);
	children_of(p, getpid(), &all);
	ok(!all, "there was no room for all");
	sched_setaffinity(0, sizeof(before), &before);
	ckpt_parents_free(p);
}

/* What of this process's files hears of births does so no more, as when its processor was switched off. */
static unsigned make_deaf(void)
{
	cleanup_closedir DIR *d = opendir("/proc/self/fd");
	const struct dirent *de;
	unsigned n = 0;
	char name[64];

	while (d && (de = readdir(d))) {
		ssize_t len = readlinkat(dirfd(d), de->d_name, name, sizeof(name) - 1);

		name[len > 0 ? len : 0] = '\0';
		if (STREQ(name, "anon_inode:[perf_event]"))
			n += ioctl(atoi(de->d_name), PERF_EVENT_IOC_DISABLE, 0) == 0;
	}
	return n;
}

TEST(deaf)
{
	struct ckpt_parents *p = ckpt_parents_new();
	bool all = false;

	if (!p)
		skip("the kernel does not tell who makes processes");
	/* Others may fill what is heard at any moment. */
	for (int i = 0; !all && i < 1000; i++)
		children_of(p, getpid(), &all);
	ok(all, "all is heard");
	ok(make_deaf() > 0, "until nobody listens");
	children_of(p, getpid(), &all);
	ok(!all, "which is noticed");
	ckpt_parents_free(p);
}
