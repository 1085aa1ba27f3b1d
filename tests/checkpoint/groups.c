/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Control groups of the tenant's own, as a manager of services makes them: nested, with
 * settings, owners and extended attributes, an empty one, a threaded one whose threads are
 * apart, and fds of them. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define TOP "/sys/fs/cgroup"

static const char *get(const char *file)
{
	static char text[4096];
	int fd = open(file, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	CHECK(n >= 0);
	text[n < 0 ? 0 : n] = '\0';
	close(fd);
	return text;
}

static bool is_in(const char *file, int task)
{
	char name[32];

	snprintf(name, sizeof(name), "%d\n", task);
	return strstr(get(file), name) != NULL;
}

static int tid;

static void *apart(void *arg)
{
	tid = (int)syscall(SYS_gettid);
	if (write(*(int *)arg, "x", 1) == 1)
		for (;;)
			pause();
	return NULL;
}

/* A process of two threads, the second in a threaded group of its own. */
static int threaded(int *ret_tid)
{
	int ready[2];
	pthread_t t;
	pid_t pid;

	CHECK(mkdir(TOP "/t", 0755) == 0 && mkdir(TOP "/t/a", 0755) == 0);
	put_text(TOP "/t/a/cgroup.type", "threaded");
	CHECK(pipe(ready) == 0);
	pid = fork();
	if (pid == 0) {
		char text[16];

		put_text(TOP "/t/cgroup.procs", "0");
		if (pthread_create(&t, NULL, apart, &ready[1]) || read(ready[0], text, 1) != 1)
			_exit(1);
		snprintf(text, sizeof(text), "%d", tid);
		put_text(TOP "/t/a/cgroup.threads", text);
		if (write(ready[1], &tid, sizeof(tid)) == sizeof(tid))
			for (;;)
				pause();
		_exit(1);
	}
	usleep(1000);
	/* The first byte is the thread's own word to its process. */
	while (!is_in(TOP "/t/cgroup.procs", pid) || !*get(TOP "/t/a/cgroup.threads"))
		usleep(1000);
	*ret_tid = atoi(get(TOP "/t/a/cgroup.threads"));
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* With the tenant's own controllers there are files that are not there without, and that are watched
 * (unified hosts have them). */
static bool has_memory;
static int memory_watch;

static int watch_memory(int watch)
{
	has_memory = strstr(get(TOP "/cgroup.controllers"), "memory") != NULL;
	if (!has_memory)
		return -1;
	put_text(TOP "/cgroup.subtree_control", "+memory +pids");
	put_text(TOP "/a.slice/cgroup.subtree_control", "+memory");
	put_text(TOP "/a.slice/b.service/memory.high", "33554432");
	memory_watch = inotify_add_watch(watch, TOP "/a.slice/b.service/memory.events", IN_MODIFY);
	CHECK(memory_watch > 0);
	return open(TOP "/a.slice/b.service/memory.max", O_RDWR);
}

static void check_memory(int watch, int max)
{
	struct inotify_event e = { 0 };

	if (!has_memory)
		return;
	CHECK(strcmp(get(TOP "/a.slice/cgroup.subtree_control"), "memory\n") == 0);
	CHECK(strcmp(get(TOP "/a.slice/b.service/memory.high"), "33554432\n") == 0);
	CHECK(atol(get(TOP "/a.slice/b.service/memory.current")) > 0);
	CHECK(pwrite(max, "1048576", 7, 0) == 7 &&
	      strcmp(get(TOP "/a.slice/b.service/memory.max"), "1048576\n") == 0);
	/* As it has more than none, one that may have none is an event: one among others, as the
	 * group above was frozen, and is empty when the kernel has ended who had more. */
	put_text(TOP "/a.slice/b.service/memory.max", "0");
	while (e.wd != memory_watch && read(watch, &e, sizeof(e)) == sizeof(e))
		continue;
	CHECK(e.wd == memory_watch && e.mask == IN_MODIFY);
}

/* Where the kernel accounts for pressure: a file takes one trigger. */
static int watch_pressure(void)
{
	static const char trigger[] = "some 150000 2000000";
	int fd = open(TOP "/init.scope/memory.pressure", O_RDWR | O_NONBLOCK);

	CHECK(fd < 0 || write(fd, trigger, sizeof(trigger)) == sizeof(trigger));
	return fd;
}

static void check_pressure(int fd)
{
	static const char other[] = "full 150000 2000000";
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	if (fd < 0)
		return;
	CHECK(write(fd, other, sizeof(other)) < 0 && errno == EBUSY);
	CHECK(poll(&p, 1, 0) == 0);
}

/* By a user to whom a group is given: what may be moved by it is what he may move, whoever writes to it. */
static int open_as_user(const char *file)
{
	gid_t group = 1001;
	int fd;

	CHECK(syscall(SYS_setgroups, 1, &group) == 0 && syscall(SYS_setresgid, -1, 1000, -1) == 0 &&
	      syscall(SYS_setresuid, -1, 1000, -1) == 0);
	fd = open(file, O_WRONLY);
	CHECK(syscall(SYS_setresuid, -1, 0, -1) == 0 && syscall(SYS_setresgid, -1, 0, -1) == 0 &&
	      syscall(SYS_setgroups, 0, NULL) == 0);
	return fd;
}

static void check_user(int fd, const char *pid)
{
	CHECK(fd >= 0 && write(fd, pid, strlen(pid)) < 0 && errno == EACCES);
}

int main(void)
{
	int users, pid, two, own_tid, dir, events, list, max, pressure, watch = inotify_init1(IN_CLOEXEC);
	char value[64] = { 0 }, text[256];
	struct stat st;

	CHECK(mkdir(TOP "/init.scope", 0755) == 0 && mkdir(TOP "/a.slice", 0755) == 0 &&
	      mkdir(TOP "/a.slice/b.service", 0750) == 0 && mkdir(TOP "/empty", 0700) == 0);
	put_text(TOP "/init.scope/cgroup.procs", "0");
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	snprintf(text, sizeof(text), "%d", pid);
	put_text(TOP "/a.slice/b.service/cgroup.procs", text);
	CHECK(setxattr(TOP "/a.slice/b.service", "user.invocation_id", "abc", 3, 0) == 0);
	CHECK(chown(TOP "/empty", 1000, 1001) == 0 &&
	      chown(TOP "/empty/cgroup.procs", 1000, 1001) == 0);
	users = open_as_user(TOP "/empty/cgroup.procs");
	check_user(users, text);
	put_text(TOP "/empty/cgroup.max.descendants", "7");
	put_text(TOP "/a.slice/cgroup.max.depth", "9");
	two = threaded(&own_tid);
	dir = open(TOP "/a.slice", O_RDONLY | O_DIRECTORY);
	events = open(TOP "/a.slice/cgroup.events", O_RDONLY);
	list = open(TOP "/init.scope/cgroup.procs", O_RDWR);
	CHECK(inotify_add_watch(watch, TOP "/a.slice/cgroup.events", IN_MODIFY) > 0);
	max = watch_memory(watch);
	pressure = watch_pressure();
	wait_for_restore();
	snprintf(text, sizeof(text), "%d", pid);
	check_user(users, text);
	CHECK(is_in(TOP "/init.scope/cgroup.procs", 1) &&
	      !is_in(TOP "/init.scope/cgroup.procs", pid));
	CHECK(is_in(TOP "/a.slice/b.service/cgroup.procs", pid));
	CHECK(strstr(get("/proc/self/cgroup"), "0::/init.scope\n") != NULL);
	CHECK(*get(TOP "/cgroup.procs") == '\0' && *get(TOP "/empty/cgroup.procs") == '\0');
	CHECK(getxattr(TOP "/a.slice/b.service", "user.invocation_id", value, sizeof(value)) == 3 &&
	      strcmp(value, "abc") == 0);
	CHECK(stat(TOP "/a.slice/b.service", &st) == 0 && (st.st_mode & 07777) == 0750 &&
	      st.st_uid == 0);
	CHECK(stat(TOP "/empty", &st) == 0 && (st.st_mode & 07777) == 0700 && st.st_uid == 1000 &&
	      st.st_gid == 1001);
	CHECK(stat(TOP "/empty/cgroup.procs", &st) == 0 && st.st_uid == 1000 && st.st_gid == 1001);
	CHECK(stat(TOP "/empty/cgroup.threads", &st) == 0 && st.st_uid == 0);
	CHECK(strcmp(get(TOP "/empty/cgroup.max.descendants"), "7\n") == 0);
	CHECK(strcmp(get(TOP "/a.slice/cgroup.max.depth"), "9\n") == 0);
	CHECK(strcmp(get(TOP "/t/cgroup.type"), "domain threaded\n") == 0);
	CHECK(is_in(TOP "/t/cgroup.procs", two) && is_in(TOP "/t/cgroup.threads", two));
	CHECK(own_tid != two && atoi(get(TOP "/t/a/cgroup.threads")) == own_tid);
	CHECK(pread(events, text, sizeof(text), 0) > 0 && strncmp(text, "populated 1\n", 12) == 0);
	CHECK(openat(dir, "b.service", O_PATH | O_DIRECTORY) >= 0);
	CHECK(pread(list, text, sizeof(text), 0) == 2 && memcmp(text, "1\n", 2) == 0);
	check_pressure(pressure);
	check_memory(watch, max);
	/* It is in a group that can be used on. */
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid && rmdir(TOP "/a.slice/b.service") == 0);
	return done();
}
