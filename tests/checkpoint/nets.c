/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Network namespaces of containers: one of the VPS's root, one of a nested user namespace, and one that nobody is in,
 * kept by a mount. nets.sh joins them; a connection that goes through what it makes goes on.
 */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static struct shared {
	volatile int ready;
} *sh;

/* The same path in each container is another socket. */
static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	CHECK(bind(fd, (void *)&a, sizeof(a)) == 0 && listen(fd, 4) == 0);
	return fd;
}

static void check_listener(int listener, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), other;
	char c;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	CHECK(connect(fd, (void *)&a, sizeof(a)) == 0);
	other = accept(listener, NULL, NULL);
	CHECK(write(other, "x", 1) == 1 && read(fd, &c, 1) == 1);
	close(other);
	close(fd);
}

/* In the container: says what it is told. */
static _Noreturn void echo(void)
{
	struct sockaddr_in a = { AF_INET, htons(7000), { INADDR_ANY }, { 0 } };
	int fd, listener, local;
	char text[64];
	ssize_t n;

	CHECK(unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 && prctl(PR_SET_NAME, "container") == 0);
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("run", "/run", "tmpfs", 0, NULL) == 0);
	local = listen_at("/run/socket");
	listener = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(listener, (void *)&a, sizeof(a)) == 0 && listen(listener, 4) == 0);
	sh->ready++;
	fd = accept(listener, NULL, NULL);
	while ((n = read(fd, text, sizeof(text))) > 0) {
		check_listener(local, "/run/socket");
		CHECK(!guest_failed && write(fd, text, (size_t)n) == n);
	}
	for (;;)
		pause();
}

static _Noreturn void rootless(void)
{
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
	CHECK(prctl(PR_SET_NAME, "rootless") == 0);
	put_text("/proc/self/setgroups", "deny");
	put_text("/proc/self/gid_map", "0 0 1\n");
	put_text("/proc/self/uid_map", "0 0 1\n");
	sh->ready++;
	for (;;)
		pause();
}

/* As `ip netns add` has it. */
static void keep(void)
{
	int status;
	pid_t pid;

	close(open("/run/kept", O_CREAT | O_RDWR, 0600));
	pid = fork();
	if (pid == 0) {
		CHECK(unshare(CLONE_NEWNET) == 0);
		CHECK(mount("/proc/self/ns/net", "/run/kept", NULL, MS_BIND, NULL) == 0);
		_exit(guest_failed);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

/* Outside of the container, as soon as there is a way. */
static int connect_to_it(void)
{
	struct sockaddr_in a = { AF_INET, htons(7000), { inet_addr("10.88.0.2") }, { 0 } };
	int fd = -1, r = -1;

	while (r < 0) {
		close(fd);
		fd = socket(AF_INET, SOCK_STREAM, 0);
		r = connect(fd, (void *)&a, sizeof(a));
		if (r < 0)
			usleep(10000);
	}
	return fd;
}

int main(void)
{
	char text[16] = "";
	int to[2], from[2], local;

	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(pipe(to) == 0 && pipe(from) == 0);
	keep();
	local = listen_at("/run/socket");
	if (fork() == 0)
		echo();
	if (fork() == 0)
		rootless();
	if (fork() == 0) {
		int fd = connect_to_it();

		CHECK(read(to[0], text, 5) == 5 && write(fd, text, 5) == 5);
		CHECK(recv(fd, text, 5, MSG_WAITALL) == 5 && write(from[1], text, 5) == 5);
		for (;;)
			pause();
	}
	while (sh->ready < 2)
		usleep(1000);
	wait_for_restore();
	check_listener(local, "/run/socket");
	CHECK(write(to[1], "hello", 5) == 5 && read(from[0], text, 5) == 5 && strcmp(text, "hello") == 0);
	return done();
}
