/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Files that speak of threads, live and ended, of process 1's, a child's, one's in a pid namespace of its own: pidfds
 * (several, in an epoll), files and directories of /proc, whom signals are sent to. Files of zombies, of ended
 * processes' threads and fds.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define THREAD O_EXCL /* PIDFD_THREAD */

static volatile int stop[2]; /* threads that are to end */

struct shared {
	volatile pid_t tid[4];
	volatile int go, told;
};

static struct shared *shared;

static pid_t tid_of_mine(void)
{
	return (pid_t)syscall(SYS_gettid);
}

static void *wait_for(void *arg)
{
	long n = (long)arg;

	shared->tid[n] = tid_of_mine();
	while (!stop[n & 1])
		usleep(1000);
	return NULL;
}

static pthread_t start(long n)
{
	pthread_t t;

	CHECK(pthread_create(&t, NULL, wait_for, (void *)n) == 0);
	while (!shared->tid[n])
		usleep(1000);
	return t;
}

static int pidfd(pid_t pid, unsigned flags)
{
	return (int)syscall(SYS_pidfd_open, pid, flags);
}

__attribute__((format(printf, 2, 3))) static int proc(int flags, const char *format, ...)
{
	va_list ap;
	char path[64];

	va_start(ap, format);
	vsnprintf(path, sizeof(path), format, ap);
	va_end(ap);
	return open(path, flags | O_CLOEXEC);
}

static short events(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static bool shows(int fd, const char *key, pid_t tid)
{
	char text[4096], line[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	snprintf(line, sizeof(line), "\n%s:\t%d", key, (int)tid);
	return n > 0 && strstr(text, line);
}

/* A child with a thread of its own, which looks at itself, and in a namespace of its own if that is asked for. */
static pid_t child(long n, bool own)
{
	pid_t pid = fork();
	int fd, status, poll_set;
	struct epoll_event ev = { EPOLLIN, { .u64 = 5 } };
	pthread_t t;

	if (pid)
		return pid;
	if (own && unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
		_exit(3);
	if (own && (pid = fork()) != 0) {
		waitpid(pid, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	personality(ADDR_NO_RANDOMIZE);
	t = start(n);
	fd = pidfd(shared->tid[n], THREAD);
	poll_set = epoll_create1(0);
	CHECK(epoll_ctl(poll_set, EPOLL_CTL_ADD, fd, &ev) == 0);
	shared->told++;
	while (!shared->go)
		usleep(1000);
	CHECK(events(fd) == 0 && epoll_wait(poll_set, &ev, 1, 0) == 0);
	CHECK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0);
	stop[n & 1] = 1;
	pthread_join(t, NULL);
	CHECK(epoll_wait(poll_set, &ev, 1, -1) == 1 && ev.data.u64 == 5 && events(fd) & POLLIN);
	_exit(guest_failed);
}

int main(void)
{
	int live, again, dead, leader, status, dir, gone, of_child, in_child, zombie_maps, zombie_status, of_gone,
		closed;
	int fdinfo, ep = epoll_create1(0), pipe_fd[2], zombie_fd, result, nowhere;
	struct epoll_event ev = { EPOLLIN, { .u64 = 7 } };
	struct f_owner_ex owner = { F_OWNER_TID, 0 };
	pthread_t lives, ends;
	pid_t kid, nested, zombie, over;
	char text[64];

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(pipe(pipe_fd) == 0);
	kid = child(2, false);
	nested = child(3, true);
	while (shared->told < 2)
		usleep(1000);
	lives = start(0);
	ends = start(1);
	live = pidfd(shared->tid[0], THREAD);
	again = pidfd(shared->tid[0], THREAD | O_NONBLOCK);
	dead = pidfd(shared->tid[1], THREAD);
	leader = pidfd(getpid(), THREAD);
	status = proc(O_RDONLY, "/proc/%d/task/%d/status", 1, shared->tid[0]);
	dir = proc(O_RDONLY | O_DIRECTORY, "/proc/self/task/%d", shared->tid[0]);
	gone = proc(O_RDONLY, "/proc/%d/task/%d/stat", 1, shared->tid[1]);
	of_child = proc(O_RDONLY, "/proc/%d/task/%d/status", kid, shared->tid[2]);
	in_child = pidfd(shared->tid[2], THREAD);
	CHECK(live >= 0 && again >= 0 && dead >= 0 && leader >= 0 && status >= 0 && dir >= 0 && gone >= 0);
	CHECK(of_child >= 0 && in_child >= 0);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, live, &ev) == 0);
	owner.pid = shared->tid[0];
	CHECK(fcntl(pipe_fd[0], F_SETOWN_EX, &owner) == 0);
	stop[1] = 1;
	pthread_join(ends, NULL);
	/* Of a zombie, and of one that was waited for, whose fd is gone. */
	zombie = fork();
	if (zombie == 0) {
		pause();
		_exit(1);
	}
	over = fork();
	if (over == 0) {
		pause();
		_exit(1);
	}
	zombie_maps = proc(O_RDONLY, "/proc/%d/maps", zombie);
	zombie_status = proc(O_RDONLY, "/proc/%d/status", zombie);
	zombie_fd = pidfd(zombie, 0);
	of_gone = proc(O_RDONLY, "/proc/%d/task/%d/maps", over, over);
	closed = proc(O_RDONLY, "/proc/%d/fdinfo/%d", over, 1);
	nowhere = proc(O_RDONLY, "/proc/%d/fdinfo/%d", over, pipe_fd[1]);
	CHECK(zombie_maps >= 0 && zombie_status >= 0 && zombie_fd >= 0 && of_gone >= 0 && closed >= 0 && nowhere >= 0);
	fdinfo = proc(O_RDONLY, "/proc/%d/fdinfo/%d", 1, pipe_fd[1]);
	kill(zombie, SIGKILL);
	kill(over, SIGKILL);
	CHECK(waitid(P_PID, (id_t)zombie, &(siginfo_t){ 0 }, WEXITED | WNOWAIT) == 0 && waitpid(over, NULL, 0) == over);
	wait_for_restore();
	CHECK(events(live) == 0 && events(again) == 0 && (fcntl(again, F_GETFL) & O_NONBLOCK));
	CHECK(syscall(SYS_pidfd_send_signal, live, 0, NULL, 0) == 0 && events(leader) == 0);
	CHECK(events(dead) & POLLIN && syscall(SYS_pidfd_send_signal, dead, 0, NULL, 0) < 0 && errno == ESRCH);
	CHECK(shows(status, "Pid", shared->tid[0]) && shows(status, "Tgid", 1));
	CHECK(faccessat(dir, "stat", F_OK, 0) == 0 && pread(gone, text, 1, 0) < 0 && errno == ESRCH);
	CHECK(shows(of_child, "Pid", shared->tid[2]) && shows(of_child, "Tgid", kid));
	CHECK(syscall(SYS_pidfd_send_signal, in_child, 0, NULL, 0) == 0);
	CHECK(fcntl(pipe_fd[0], F_GETOWN_EX, &owner) == 0 && owner.type == F_OWNER_TID && owner.pid == shared->tid[0]);
	CHECK(pread(zombie_maps, text, 1, 0) <= 0 && shows(zombie_status, "Pid", zombie) && events(zombie_fd) & POLLIN);
	CHECK(pread(of_gone, text, 1, 0) <= 0 && pread(closed, text, 1, 0) < 0 && pread(nowhere, text, 1, 0) < 0);
	CHECK(pread(fdinfo, text, 3, 0) == 3 && memcmp(text, "pos", 3) == 0);
	CHECK(epoll_wait(ep, &ev, 1, 0) == 0);
	stop[0] = 1;
	pthread_join(lives, NULL);
	/* Who joins a thread hears of its end before its pidfds do. */
	CHECK(epoll_wait(ep, &ev, 1, -1) == 1 && ev.data.u64 == 7 && events(again) & POLLIN);
	CHECK(waitpid(zombie, NULL, 0) == zombie);
	shared->go = 1;
	CHECK(waitpid(kid, &result, 0) == kid && result == 0);
	CHECK(waitpid(nested, &result, 0) == nested && result == 0);
	return done();
}
