/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Threads that do not share with their process what threads do: its directory and umask (one is where a directory was
 * deleted, one has another root), its open files (with a lock, a pipe, some closed), its mount namespace. In process 1
 * and in a child.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { WALKS, UPROOTED, HOMELESS, OPENS, MOUNTS, PLAIN, COUNT };

static pthread_barrier_t set, go;
static int shared_pipe[2];

static bool is_in(const char *want)
{
	char text[4096];

	return getcwd(text, sizeof(text)) && strcmp(text, want) == 0;
}

static mode_t mask(void)
{
	mode_t m = umask(0);

	umask(m);
	return m;
}

static bool is_locked(const char *path)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDWR), r = fcntl(fd, F_GETLK, &l);

	return r == 0 && l.l_type == F_WRLCK;
}

static void walk(void)
{
	CHECK(unshare(CLONE_FS) == 0 && chdir("/tmp") == 0);
	umask(0071);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	CHECK(is_in("/tmp") && mask() == 0071 && chdir("/var") == 0);
}

static void uproot(void)
{
	mkdir("/run/root", 0755);
	mkdir("/run/root/inner", 0755);
	CHECK(unshare(CLONE_FS) == 0 && chroot("/run/root") == 0 && chdir("/inner") == 0);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	CHECK(is_in("/inner") && access("/proc", F_OK) < 0 && access("/inner", F_OK) == 0);
}

static void lose_home(void)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/tmp/gone-%d", (int)getpid());
	CHECK(unshare(CLONE_FS) == 0 && mkdir(path, 0755) == 0 && chdir(path) == 0 && rmdir(path) == 0);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	CHECK(stat(".", &st) == 0 && st.st_nlink == 0 && open("new", O_CREAT | O_RDWR, 0600) < 0 && errno == ENOENT);
}

static void open_own(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int file, pair[2], gone = shared_pipe[1], high;
	char path[64], text[16];

	CHECK(unshare(CLONE_FILES) == 0);
	snprintf(path, sizeof(path), "/tmp/own-%d", (int)getpid());
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(write(file, "owned", 5) == 5 && fcntl(file, F_SETLK, &l) == 0);
	high = fcntl(file, F_DUPFD, 700);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[0], "pair", 4) == 4);
	close(gone);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	CHECK(fcntl(gone, F_GETFD) < 0 && errno == EBADF);
	CHECK(read(pair[1], text, 16) == 4 && lseek(file, 0, SEEK_CUR) == 5 && pread(high, text, 16, 0) == 5);
	CHECK((fcntl(file, F_GETFD) & FD_CLOEXEC) && !(fcntl(high, F_GETFD) & FD_CLOEXEC));
	CHECK(write(1, "", 0) == 0 && read(shared_pipe[0], text, 6) == 6);
}

static void mount_own(void)
{
	CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount("own", "/var", "tmpfs", 0, NULL) == 0 && mkdir("/var/here", 0755) == 0 && chdir("/var/here") == 0);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	CHECK(is_in("/var/here") && access("/var/here", F_OK) == 0);
}

static void stay_plain(void)
{
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	CHECK(is_in("/root") && mask() == 0022 && access("/var/here", F_OK) < 0);
	CHECK(write(shared_pipe[1], "shared", 6) == 6);
}

static void *play(void *arg)
{
	static void (*const parts[COUNT])(void) = { walk, uproot, lose_home, open_own, mount_own, stay_plain };

	parts[(long)arg]();
	return NULL;
}

static void start(pthread_t *t)
{
	pthread_barrier_init(&set, NULL, COUNT + 1);
	pthread_barrier_init(&go, NULL, COUNT + 1);
	CHECK(pipe(shared_pipe) == 0 && chdir("/root") == 0);
	umask(0022);
	for (long i = 0; i < COUNT; i++)
		CHECK(pthread_create(&t[i], NULL, play, (void *)i) == 0);
	pthread_barrier_wait(&set);
}

static void end(const pthread_t *t)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/own-%d", (int)getpid());
	CHECK(is_locked(path) && fcntl(700, F_GETFD) < 0);
	pthread_barrier_wait(&go);
	for (int i = 0; i < COUNT; i++)
		pthread_join(t[i], NULL);
	CHECK(is_in("/root") && fcntl(shared_pipe[1], F_GETFD) == 0);
}

static pid_t child(int said, int told)
{
	pid_t pid = fork();
	pthread_t t[COUNT];
	char c;

	if (pid)
		return pid;
	start(t);
	CHECK(write(said, "x", 1) == 1 && read(told, &c, 1) == 1);
	end(t);
	_exit(guest_failed);
}

int main(void)
{
	int said[2], told[2], status;
	pthread_t t[COUNT];
	pid_t pid;
	char c;

	CHECK(pipe(said) == 0 && pipe(told) == 0);
	pid = child(said[1], told[0]);
	CHECK(read(said[0], &c, 1) == 1);
	start(t);
	wait_for_restore();
	end(t);
	CHECK(write(told[1], "x", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
	return done();
}
