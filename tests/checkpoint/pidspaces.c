/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Nested pid namespaces: of the VPS's root and of nested user namespaces, one in another, each with children, orphans,
 * zombies, threads, sessions and groups (some of them seen from outside alone), /proc of its own, processes from
 * outside; and parents whose children will be in one: not begun, with a process 1, and without one any more.
 */
#include "tests/checkpoint/crew.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static struct shared {
	volatile int born;
	volatile int number[64]; /* of who is asked for, as its parent has it */
} * shared;

static int number(const char *file)
{
	char text[32] = { 0 };

	return readlink(file, text, sizeof(text) - 1) > 0 ? atoi(text) : -1;
}

/* What a process knows of its numbers; the same before and after. */
struct numbers {
	int pid, ppid, pgid, sid, proc, tid;
};

static struct numbers ask(void)
{
	return (struct numbers){ getpid(), getppid(), getpgid(0), getsid(0), number("/proc/self"),
				 (int)syscall(SYS_gettid) };
}

static void same(struct numbers a)
{
	struct numbers b = ask();

	CHECK(a.pid == b.pid && a.ppid == b.ppid && a.pgid == b.pgid && a.sid == b.sid && a.proc == b.proc &&
	      a.tid == b.tid);
}

static _Noreturn void serve(void (*check)(void))
{
	struct numbers before = ask();

	crew_ready();
	same(before);
	if (check)
		check();
	crew_checked();
}

static int expected;

/* A child that says when it is ready; `more` is how many it has below it. */
static int start(void (*run)(void), unsigned long flags, int more)
{
	int was = crew->ready;
	pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0) {
		run();
		_exit(1);
	}
	CHECK(pid > 0);
	expected += 1 + more;
	crew_wait(was + 1 + more);
	return pid;
}

static void mount_proc(const char *options)
{
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount("proc", "/proc", "proc", 0, options) == 0);
	CHECK(number("/proc/self") == getpid());
}

static void plain(void)
{
	serve(NULL);
}

static void leads(void)
{
	CHECK(setsid() == getpid());
	serve(NULL);
}

/* The next number is a new one. */
static void check_fork(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(getppid() == shared->number[0] ? 7 : 1);
	shared->number[0] = getpid();
	CHECK(pid > 1 && waitpid(pid, &status, 0) == pid);
}

/* Threads, and a timer that one of them is sent signals by. */
static volatile int rung;
static volatile int threads_tid;

static void ring(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	rung = (int)syscall(SYS_gettid) + (si->si_code == SI_TIMER ? 0 : 100000);
}

static void *thread(void *arg)
{
	threads_tid = (int)syscall(SYS_gettid);
	*(volatile int *)arg = 1;
	for (;;)
		pause();
	return NULL;
}

static void check_threaded(void)
{
	for (int i = 0; !rung && i < 10000; i++)
		usleep(1000);
	CHECK(rung == threads_tid);
}

static void threaded(void)
{
	struct sigaction sa = { .sa_sigaction = ring, .sa_flags = SA_SIGINFO };
	struct itimerspec v = { .it_value = { 2, 0 } };
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	volatile int there = 0;
	pthread_t t;
	timer_t id;

	CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
	CHECK(pthread_create(&t, NULL, thread, (void *)&there) == 0);
	while (!there)
		usleep(1000);
	ev._sigev_un._tid = threads_tid;
	CHECK(timer_create(CLOCK_MONOTONIC, &ev, &id) == 0 && timer_settime(id, 0, &v, NULL) == 0);
	serve(check_threaded);
}

/* Who sent what: a message with credentials, a socket's maker, a pending signal, an owner. */
static int pair[2], owned, child;

static void says(void)
{
	struct ucred me = { getpid(), getuid(), getgid() };
	char space[CMSG_SPACE(sizeof(me))] = { 0 };
	struct iovec iov = { (char[]){ 'x' }, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_CREDENTIALS;
	c->cmsg_len = CMSG_LEN(sizeof(me));
	memcpy(CMSG_DATA(c), &me, sizeof(me));
	CHECK(sendmsg(pair[1], &m, 0) == 1);
	CHECK(kill(getppid(), SIGUSR2) == 0);
	serve(NULL);
}

static void check_talk(void)
{
	char space[CMSG_SPACE(sizeof(struct ucred))], c;
	struct iovec iov = { &c, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	struct f_owner_ex o = { 0 };
	struct ucred u = { 0 };
	socklen_t len = sizeof(u);
	sigset_t set;
	siginfo_t si = { 0 };

	CHECK(recvmsg(pair[0], &m, 0) == 1 && CMSG_FIRSTHDR(&m));
	if (CMSG_FIRSTHDR(&m))
		memcpy(&u, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(u));
	CHECK(u.pid == child && u.uid == 0);
	CHECK(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &u, &len) == 0 && u.pid == getpid());
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(sigwaitinfo(&set, &si) == SIGUSR2 && si.si_pid == child);
	CHECK(fcntl(owned, F_GETOWN_EX, &o) == 0 && o.pid == child && o.type == F_OWNER_PID);
}

static void talks(void)
{
	struct f_owner_ex o = { .type = F_OWNER_PID };
	sigset_t set;
	int on = 1;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	CHECK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
	owned = socket(AF_UNIX, SOCK_DGRAM, 0);
	child = start(says, 0, 0);
	o.pid = child;
	CHECK(fcntl(owned, F_SETOWN_EX, &o) == 0);
	serve(check_talk);
}

/* A zombie, an orphan in another's session, a stopped child. */
static int zombie, stopped;

static void check_family(void)
{
	int status = 0;

	CHECK(waitpid(zombie, &status, 0) == zombie && WIFEXITED(status) && WEXITSTATUS(status) == 9);
	CHECK(kill(stopped, SIGCONT) == 0 && waitpid(stopped, &status, WCONTINUED) == stopped && WIFCONTINUED(status));
	check_fork();
}

static void orphan(void)
{
	__sync_fetch_and_add(&shared->born, 1);
	while (getppid() != 1)
		usleep(1000);
	serve(NULL);
}

static void orphans(void)
{
	CHECK(setsid() == getpid());
	if (fork() == 0)
		orphan();
	while (!shared->born)
		usleep(1000);
	_exit(0);
}

static void family(void)
{
	int status, was = crew->ready;
	pid_t pid;

	zombie = fork();
	if (zombie == 0)
		_exit(9);
	pid = fork();
	if (pid == 0)
		orphans();
	CHECK(waitpid(pid, &status, 0) == pid);
	expected++;
	crew_wait(was + 1);
	stopped = fork();
	if (stopped == 0)
		for (;;)
			pause();
	CHECK(kill(stopped, SIGSTOP) == 0 && waitpid(stopped, &status, WUNTRACED) == stopped);
}

/* Process 1 of the innermost. */
static void inner(void)
{
	CHECK(getpid() == 1 && getppid() == 0);
	mount_proc(NULL);
	start(leads, 0, 0);
	start(threaded, 0, 0);
	serve(check_fork);
}

/* Of a pid namespace that belongs to the VPS's root. */
static void outer(void)
{
	CHECK(getpid() == 1 && getppid() == 0);
	CHECK(prctl(PR_SET_NAME, "outer") == 0);
	mount_proc("hidepid=2");
	family();
	start(leads, 0, 0);
	start(talks, 0, 1);
	start(inner, CLONE_NEWPID | CLONE_NEWNS, 2);
	serve(check_family);
}

/* In a group of its own, that process 1 of the namespace and its children are in and do not see. */
static void check_group(void)
{
	CHECK(shared->number[1] > 0 && getpgid(shared->number[1]) == getpgid(0));
}

static void hidden_child(void)
{
	CHECK(getpgid(0) == 0 && getsid(0) == 0);
	serve(NULL);
}

static void hidden(void)
{
	CHECK(getpid() == 1 && getpgid(0) == 0);
	start(hidden_child, 0, 0);
	start(leads, 0, 0);
	serve(NULL);
}

static void grouped(void)
{
	CHECK(setpgid(0, 0) == 0);
	shared->number[1] = start(hidden, CLONE_NEWPID, 2);
	serve(check_group);
}

/* As `unshare -Urpf --mount-proc` has it. */
static void map(unsigned id)
{
	char text[64];

	CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
	snprintf(text, sizeof(text), "0 %u 1\n", id);
	put_text("/proc/self/setgroups", "deny");
	put_text("/proc/self/gid_map", text);
	put_text("/proc/self/uid_map", text);
}

static void check_rootless(void)
{
	char text[64] = { 0 };
	int fd = open("/proc/self/uid_map", O_RDONLY);

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && atoi(text) == 0);
	close(fd);
	CHECK(getuid() == 0 && getgid() == 0);
	/* It is theirs: they may mount it. */
	CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0 && umount("/proc") == 0);
	put_text("/proc/sys/kernel/ns_last_pid", "500");
	fd = fork();
	if (fd == 0)
		_exit(0);
	CHECK(fd == 501 && waitpid(fd, NULL, 0) == 501);
}

static void rootless(void)
{
	CHECK(getpid() == 1);
	mount_proc("subset=pid");
	CHECK(umount("/proc") == 0);
	mount_proc(NULL);
	start(leads, 0, 0);
	start(talks, 0, 1);
	start(threaded, 0, 0);
	serve(check_rootless);
}

/* Its children's pid namespace is begun by the next one, it is in that user namespace itself. */
static void nested_rootless(void)
{
	mount_proc(NULL);
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) == 0);
	map(0);
	start(rootless, 0, 4);
	serve(NULL);
}

static void contains(void)
{
	CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	unmask_proc();
	CHECK(setgid(1000) == 0 && setuid(1000) == 0);
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC) == 0);
	map(1000);
	start(nested_rootless, 0, 5);
	serve(NULL);
}

/* Children to come. */
static void check_unborn(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(getpid() == 1 ? 5 : 6);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
}

static void unborn(void)
{
	CHECK(unshare(CLONE_NEWPID) == 0);
	serve(check_unborn);
}

static void check_dead(void)
{
	CHECK(fork() < 0 && errno == ENOMEM);
}

static void dead(void)
{
	CHECK(unshare(CLONE_NEWPID) == 0);
	if (fork() == 0)
		_exit(0);
	CHECK(wait(NULL) > 0);
	serve(check_dead);
}

/* From outside, into the first one. */
static int joined, joined_by;

static void check_joiner(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(getpid() > 1 && getppid() == 0 ? 5 : 6);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
}

static void joined_child(void)
{
	CHECK(getpid() > 1 && getppid() == 0);
	serve(NULL);
}

static void joiner(void)
{
	start(plain, 0, 0);
	CHECK(setns(joined, CLONE_NEWPID) == 0);
	start(joined_child, 0, 0);
	serve(check_joiner);
}

static int pidfd_number(int fd)
{
	char path[64], text[512] = { 0 }, *at;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY);
	CHECK(read(info, text, sizeof(text) - 1) > 0);
	close(info);
	at = strstr(text, "\nPid:");
	return at ? atoi(at + 5) : -1;
}

int main(void)
{
	char path[64];
	int first, fd, file, pid;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	crew_begin();
	first = start(outer, CLONE_NEWPID | CLONE_NEWNS, 7);
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", first);
	joined = open(path, O_RDONLY | O_CLOEXEC);
	joined_by = start(joiner, 0, 2);
	start(grouped, 0, 3);
	start(contains, 0, 6);
	/* The first one still has a copy of the masks. */
	unmask_proc();
	start(unborn, 0, 0);
	start(dead, 0, 0);
	fd = (int)syscall(SYS_pidfd_open, first, 0);
	snprintf(path, sizeof(path), "/proc/%d/root/proc/1/comm", first);
	file = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && file >= 0 && !crew->failed && crew->ready == expected);
	if (guest_failed)
		return 1;
	wait_for_restore();
	crew_check();
	CHECK(pidfd_number(fd) == first);
	CHECK(read(file, path, sizeof(path)) > 0 && strncmp(path, "outer\n", 6) == 0);
	/* Who is process 1 takes all along. */
	CHECK(kill(joined_by, SIGKILL) == 0 && kill(first, SIGKILL) == 0);
	/* It ends when all in it are reaped, one of them here by now. */
	while ((pid = wait(NULL)) > 0 && pid != first)
		continue;
	CHECK(pid == first);
	CHECK(setns(joined, CLONE_NEWPID) == 0 && fork() < 0);
	return done();
}
