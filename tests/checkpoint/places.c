/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is elsewhere than its name says: sockets bound by relative names and renamed since, a file whose other name lies in
 * another directory, a root that was deleted; and what is told of open files: their flags, for which fd a signal comes,
 * how far a directory was read, locks of files of /proc. A mount that nobody may bind.
 */
#include "tests/checkpoint/guest.h"

#include <dirent.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define FILES 300

static int appended, synced, proc, left, half, sockets[2], ask[2], seen[FILES];
static unsigned flags[2];
static pid_t rootless;

static int bound(const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, name);
	CHECK(fd >= 0 && bind(fd, (void *)&sa, sizeof(sa)) == 0 && listen(fd, 1) == 0);
	return fd;
}

static bool answers(const char *path, int listener, const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX }, its = { 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), other;
	socklen_t len = sizeof(its);
	bool good;

	strcpy(sa.sun_path, path);
	good = connect(fd, (void *)&sa, sizeof(sa)) == 0;
	other = good ? accept(listener, NULL, NULL) : -1;
	good = good && other >= 0 && getpeername(fd, (void *)&its, &len) == 0 && strcmp(its.sun_path, name) == 0;
	close(other);
	close(fd);
	return good;
}

static void set_sockets(void)
{
	CHECK(mkdir("/root/then", 0755) == 0 && chdir("/root/then") == 0);
	sockets[0] = bound("relative");
	CHECK(chdir("/") == 0);
	sockets[1] = bound("/root/old");
	CHECK(rename("/root/old", "/root/then/new") == 0 && chmod("/root/then/new", 0640) == 0);
}

static void check_sockets(void)
{
	struct stat st;

	CHECK(answers("/root/then/relative", sockets[0], "relative"));
	CHECK(answers("/root/then/new", sockets[1], "/root/old"));
	CHECK(stat("/root/then/new", &st) == 0 && (st.st_mode & 07777) == 0640);
	CHECK(access("/root/old", F_OK) == -1);
}

static void set_files(void)
{
	appended = open("/root/appended", O_WRONLY | O_CREAT | O_APPEND, 0600);
	synced = open("/root/appended", O_RDWR | O_DSYNC | O_NOATIME);
	flags[0] = (unsigned)fcntl(appended, F_GETFL);
	flags[1] = (unsigned)fcntl(synced, F_GETFL);
	CHECK(mkdir("/root/gone", 0755) == 0);
	left = open("/root/gone/one", O_RDWR | O_CREAT, 0600);
	CHECK(write(left, "one", 3) == 3 && link("/root/gone/one", "/root/other") == 0);
	CHECK(unlink("/root/gone/one") == 0 && rmdir("/root/gone") == 0);
	proc = open("/proc/self/status", O_RDONLY);
	CHECK(flock(proc, LOCK_EX) == 0);
}

static void check_files(void)
{
	struct stat one, other;

	CHECK((unsigned)fcntl(appended, F_GETFL) == flags[0] && (unsigned)fcntl(synced, F_GETFL) == flags[1]);
	CHECK(fstat(left, &one) == 0 && stat("/root/other", &other) == 0 && one.st_ino == other.st_ino);
	CHECK(flock(open("/proc/self/status", O_RDONLY), LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
}

static void set_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && pipe(ask) == 0);
	CHECK(fcntl(ask[0], F_SETSIG, SIGRTMIN + 1) == 0 && fcntl(ask[0], F_SETOWN, getpid()) == 0);
	CHECK(fcntl(ask[0], F_SETFL, O_ASYNC) == 0);
}

static void check_signal(void)
{
	siginfo_t si = { 0 };

	CHECK(write(ask[1], "x", 1) == 1 && take_signal(SIGRTMIN + 1, &si) && si.si_fd == ask[0]);
}

/* A few of them. */
static long read_names(void)
{
	_Alignas(8) char buf[1024];
	long n = syscall(SYS_getdents64, half, buf, sizeof(buf));

	for (long at = 0; at < n;) {
		const struct dirent64 *de = (const void *)(buf + at);

		if (de->d_name[0] != '.')
			seen[atoi(de->d_name)]++;
		at += de->d_reclen;
	}
	return n;
}

static void set_directory(void)
{
	char name[64];

	CHECK(mkdir("/root/hidden", 0755) == 0 && mount("half", "/root/hidden", "tmpfs", 0, NULL) == 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "/root/hidden/%03d", i);
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	CHECK(mount(NULL, "/root/hidden", NULL, MS_UNBINDABLE, NULL) == 0);
	half = open("/root/hidden", O_RDONLY | O_DIRECTORY);
	CHECK(half >= 0 && read_names() > 0);
}

static void check_directory(void)
{
	while (read_names() > 0)
		;
	for (int i = 0; i < FILES; i++)
		CHECK(seen[i] == 1);
	CHECK(mkdir("/root/bound", 0755) == 0 && mount("/root/hidden", "/root/bound", NULL, MS_BIND, NULL) == -1);
}

static void set_root(void)
{
	int there[2];
	char c;

	CHECK(mkdir("/root/jail", 0755) == 0 && pipe(there) == 0);
	rootless = fork();
	if (rootless == 0) {
		CHECK(chroot("/root/jail") == 0 && chdir("/") == 0 && write(there[1], "x", 1) == 1);
		pause();
		_exit(1);
	}
	CHECK(read(there[0], &c, 1) == 1 && rmdir("/root/jail") == 0);
}

static void check_root(void)
{
	char link[64], path[64] = { 0 };

	snprintf(link, sizeof(link), "/proc/%d/root", (int)rootless);
	CHECK(readlink(link, path, sizeof(path) - 1) > 0 && strcmp(path, "/root/jail (deleted)") == 0);
	CHECK(access("/root/jail", F_OK) == -1);
	CHECK(kill(rootless, SIGKILL) == 0 && waitpid(rootless, NULL, 0) == rootless);
}

int main(void)
{
	set_sockets();
	set_files();
	set_signal();
	set_directory();
	set_root();
	wait_for_restore();
	check_sockets();
	check_files();
	check_signal();
	check_directory();
	check_root();
	return done();
}
