/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is changed when all has been looked at for the last time and nothing stands still yet: open files, memory, processes,
 * mounts, namespaces, signals, limits, sockets, the network's switches. The driver says "late" in the round right before the
 * stop (drive -l); a copy that was made of what was seen before would show here.
 */
#include "tests/checkpoint/busy.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#define TURNS 12
#define PAGE 4096
#define SIZE (8 * PAGE)

/* What a turn begins with, and what it makes of it. */
static struct turn {
	int closed, replaced, opened, pair[2];
	char *unmapped, *protected, *moved, *mapped;
	pid_t ends, child, sender;
	int ask[2], answer[2];
} turn[TURNS];
static unsigned turns;
static volatile int handled;

static void on_signal(int sig)
{
	handled = sig;
}

static char *map_filled(int value)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	memset(p, value, SIZE);
	return p;
}

static bool is_filled(const char *p, int value)
{
	for (size_t i = 0; i < SIZE; i++)
		if (p[i] != value)
			return false;
	return true;
}

static pid_t fork_idle(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void set_up(struct turn *t)
{
	t->closed = eventfd(1, 0);
	t->replaced = eventfd(2, 0);
	t->unmapped = map_filled(1);
	t->protected = map_filled(2);
	t->moved = map_filled(3);
	t->ends = fork_idle();
}

static void change_files(struct turn *t, unsigned n)
{
	char name[32];
	int p[2];

	snprintf(name, sizeof(name), "/root/late%u", n);
	CHECK(close(t->closed) == 0); /* whose number goes to another */
	t->opened = open(name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	CHECK(write(t->opened, name, sizeof(name)) == sizeof(name) && lseek(t->opened, 3, SEEK_SET) == 3);
	CHECK(pipe(p) == 0 && write(p[1], "late", 4) == 4 && dup2(p[0], t->replaced) == t->replaced);
	CHECK(close(p[0]) == 0);
}

static void check_files(const struct turn *t)
{
	char text[8] = { 0 };

	CHECK(t->opened == t->closed);
	CHECK(read(t->replaced, text, 8) == 4 && memcmp(text, "late", 4) == 0);
	CHECK(lseek(t->opened, 0, SEEK_CUR) == 3 && fcntl(t->opened, F_GETFD) == FD_CLOEXEC);
	CHECK((fcntl(t->opened, F_GETFL) & O_APPEND) && read(t->opened, text, 3) == 3 && memcmp(text, "ot/", 3) == 0);
}

static void change_memory(struct turn *t, int n)
{
	char *to = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(munmap(t->unmapped, SIZE) == 0);
	memset(t->protected, 4 + n, SIZE);
	CHECK(mprotect(t->protected + PAGE, PAGE, PROT_READ) == 0);
	CHECK(mremap(t->moved, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	t->moved = to;
	t->mapped = map_filled(8 + n);
}

/* The kernel itself finds what may be written to. */
static bool may_write(const char *p)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	bool may = read(fd, (char *)(uintptr_t)p, 1) == 1;

	close(fd);
	return may;
}

static void check_memory(const struct turn *t, int n)
{
	unsigned char in[8];

	CHECK(mincore(t->unmapped, SIZE, in) < 0 || t->unmapped == t->mapped || t->unmapped == t->moved);
	CHECK(is_filled(t->protected, 4 + n) && is_filled(t->moved, 3) && is_filled(t->mapped, 8 + n));
	CHECK(may_write(t->protected) && !may_write(t->protected + PAGE) && may_write(t->protected + 2 * PAGE));
}

/* In a child: a name of its own, and what it had from its parent. */
static void serve(const struct turn *t, int n)
{
	char name[16], own[16], c;

	snprintf(name, sizeof(name), "child%d", n);
	if (unshare(CLONE_NEWUTS) < 0 || sethostname(name, strlen(name)) < 0)
		_exit(1);
	c = 'r';
	if (write(t->answer[1], &c, 1) != 1 || read(t->ask[0], &c, 1) != 1)
		_exit(2);
	c = gethostname(own, sizeof(own)) == 0 && strcmp(own, name) == 0 && is_filled(t->mapped, 8 + n) ? 'y' : 'n';
	_exit(write(t->answer[1], &c, 1) == 1 ? 0 : 3);
}

static void change_processes(struct turn *t, int n)
{
	char c = 0;

	CHECK(kill(t->ends, SIGKILL) == 0 && waitpid(t->ends, NULL, 0) == t->ends);
	CHECK(pipe(t->ask) == 0 && pipe(t->answer) == 0);
	t->child = fork();
	if (t->child == 0)
		serve(t, n);
	CHECK(read(t->answer[0], &c, 1) == 1 && c == 'r');
}

static void check_processes(const struct turn *t)
{
	int status;
	char c = 0;

	CHECK(kill(t->ends, 0) < 0);
	CHECK(write(t->ask[1], "?", 1) == 1 && read(t->answer[0], &c, 1) == 1 && c == 'y');
	CHECK(waitpid(t->child, &status, 0) == t->child && status == 0);
}

/* A pair that a process made which has ended since, with something in it. */
static void change_sockets(struct turn *t)
{
	int way[2], fds[2];
	union {
		char buf[CMSG_SPACE(sizeof(fds))];
		struct cmsghdr h;
	} u;
	char c = 'x';
	struct iovec iov = { &c, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u) };

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, way) == 0);
	t->sender = fork();
	if (t->sender == 0) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 || write(fds[0], "late", 4) != 4)
			_exit(1);
		u.h = (struct cmsghdr){ CMSG_LEN(sizeof(fds)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(&u.h), fds, sizeof(fds));
		_exit(sendmsg(way[0], &m, 0) == 1 ? 0 : 1);
	}
	CHECK(recvmsg(way[1], &m, MSG_CMSG_CLOEXEC) == 1);
	memcpy(t->pair, CMSG_DATA(&u.h), sizeof(t->pair));
	CHECK(waitpid(t->sender, NULL, 0) == t->sender);
	close(way[0]);
	close(way[1]);
}

static void check_sockets(const struct turn *t)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);
	char text[8];

	CHECK(getsockopt(t->pair[1], SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid == t->sender);
	CHECK(read(t->pair[1], text, sizeof(text)) == 4 && memcmp(text, "late", 4) == 0);
	CHECK(write(t->pair[1], "x", 1) == 1 && read(t->pair[0], text, 1) == 1);
}

static void write_switch(const char *text)
{
	int fd = open("/proc/sys/net/ipv4/ip_default_ttl", O_WRONLY | O_CLOEXEC);

	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* What there is one of: the last turn's holds. */
static void change_rest(unsigned n)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = n % 2 ? SA_NODEFER : SA_RESTART };
	struct rlimit files = { 900 + n, 1000 + n };
	struct itimerval timer = { .it_value.tv_sec = 5000 + n };
	char name[32], text[16];
	sigset_t set;

	snprintf(name, sizeof(name), "/run/late%u", n);
	CHECK(mkdir(name, 0700) == 0 && mount("late", name, "tmpfs", 0, "mode=0711") == 0 && chdir(name) == 0);
	close(open("inside", O_WRONLY | O_CREAT, 0600));
	snprintf(name, sizeof(name), "late%u", n);
	CHECK(sethostname(name, strlen(name)) == 0 && prctl(PR_SET_NAME, name) == 0);
	CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + (int)n);
	CHECK(sigprocmask(SIG_SETMASK, &set, NULL) == 0 && raise(SIGRTMIN + (int)n) == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0 && setitimer(ITIMER_REAL, &timer, NULL) == 0);
	umask(n);
	snprintf(text, sizeof(text), "%u", 70 + n);
	write_switch(text);
}

static int read_switch(void)
{
	int fd = open("/proc/sys/net/ipv4/ip_default_ttl", O_RDONLY | O_CLOEXEC);
	char text[16] = { 0 };

	CHECK(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atoi(text);
}

static void check_signals(unsigned n)
{
	struct sigaction sa;
	sigset_t set;

	CHECK(sigaction(SIGUSR1, NULL, &sa) == 0 && sa.sa_handler == on_signal);
	CHECK((sa.sa_flags & (SA_NODEFER | SA_RESTART)) == (n % 2 ? SA_NODEFER : SA_RESTART));
	CHECK(raise(SIGUSR1) == 0 && handled == SIGUSR1);
	CHECK(sigpending(&set) == 0 && sigismember(&set, SIGRTMIN + (int)n));
}

static void check_rest(unsigned n)
{
	struct rlimit files = { 0 };
	struct itimerval timer = { 0 };
	char name[32], own[32] = { 0 };
	struct stat st;

	check_signals(n);
	snprintf(name, sizeof(name), "/run/late%u", n);
	CHECK(getcwd(own, sizeof(own)) && strcmp(own, name) == 0);
	CHECK(stat(name, &st) == 0 && (st.st_mode & 07777) == 0711 && access("inside", F_OK) == 0);
	snprintf(name, sizeof(name), "late%u", n);
	CHECK(gethostname(own, sizeof(own)) == 0 && strcmp(own, name) == 0);
	CHECK(prctl(PR_GET_NAME, own) == 0 && strcmp(own, name) == 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur == 900 + n && files.rlim_max == 1000 + n);
	CHECK(getitimer(ITIMER_REAL, &timer) == 0 && timer.it_value.tv_sec > 4000 && timer.it_value.tv_sec <= 5000 + n);
	CHECK(umask(022) == n && read_switch() == (int)(70 + n));
}

static void change(void)
{
	unsigned n = turns++;

	CHECK(n < TURNS);
	change_memory(&turn[n], (int)n);
	change_processes(&turn[n], (int)n);
	change_files(&turn[n], n);
	change_sockets(&turn[n]);
	change_rest(TURNS - n); /* a limit only falls */
}

int main(void)
{
	be_busy(BUSY, 1000);
	for (unsigned n = 0; n < TURNS; n++)
		set_up(&turn[n]);
	wait_for_restore();
	while (strcmp(guest_line, "late") == 0) {
		change();
		dprintf(1, "changed\n");
		wait_for_line();
	}
	CHECK(turns > 0);
	for (unsigned n = 0; n < turns; n++) {
		check_memory(&turn[n], (int)n);
		check_processes(&turn[n]);
		check_files(&turn[n]);
		check_sockets(&turn[n]);
	}
	check_rest(TURNS + 1 - turns);
	return done();
}
