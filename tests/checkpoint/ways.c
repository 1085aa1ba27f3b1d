/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Whatever is opened by a path when it is restored, each by one of its own. The driver tries images in which one of these
 * leads through /proc/self/root: to the same thing, so that nothing but the magic link is in the way. Here all of it was
 * opened through such links, of which nothing is left in the paths.
 */
#include "tests/checkpoint/guest.h"

#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define TOP "/proc/self/fd/90"

static int regular, fifo, status, watch, notify, live, relative, moved, hears[2];
static char *mapped;

static int name(int type, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	CHECK(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

static void say_to(int fd, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int from = socket(AF_UNIX, SOCK_DGRAM, 0);
	char c;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	CHECK(sendto(from, "s", 1, 0, (struct sockaddr *)&sa, sizeof(sa)) == 1 && recv(fd, &c, 1, MSG_DONTWAIT) == 1);
	close(from);
}

static void set_files(void)
{
	int fd;

	put_text(TOP "/mapped", "mapped");
	put_text(TOP "/regular", "regular");
	put_text("/tmp/watched", "");
	fd = open(TOP "/mapped", O_RDWR);
	mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	regular = open(TOP "/regular", O_RDWR);
	CHECK(mkfifo(TOP "/fifo", 0600) == 0);
	fifo = open(TOP "/fifo", O_RDWR);
	CHECK(write(fifo, "fifo", 4) == 4);
	status = open("/proc/self/root/proc/self/status", O_RDONLY);
	watch = inotify_init1(IN_NONBLOCK);
	CHECK(inotify_add_watch(watch, TOP "/watched", IN_ATTRIB) == 1);
	CHECK(mapped != MAP_FAILED && regular >= 0 && fifo >= 0 && status >= 0);
	/* An overlay finds its layers by paths, too. */
	CHECK(mkdir("/run/lower", 0755) == 0 && mkdir("/run/merged", 0755) == 0 && mkdir("/run/least", 0755) == 0);
	CHECK(mount("overlay", "/run/merged", "overlay", 0, "lowerdir=/run/lower:/run/least") == 0);
	put_text("/run/lower/file", "lower");
}

static void check_files(void)
{
	char t[64] = { 0 };

	CHECK(strcmp(mapped, "mapped") == 0);
	memcpy(mapped, "MAPPED", 6);
	CHECK(has_text("/tmp/mapped", "MAPPED"));
	CHECK(read(regular, t, sizeof(t)) == 7 && memcmp(t, "regular", 7) == 0 && lseek(regular, 0, SEEK_SET) == 0);
	CHECK(read(fifo, t, sizeof(t)) == 4 && memcmp(t, "fifo", 4) == 0);
	CHECK(read(status, t, 6) == 6 && memcmp(t, "Name:\t", 6) == 0);
	CHECK(chmod("/tmp/watched", 0600) == 0 && read(watch, t, sizeof(t)) == sizeof(struct inotify_event));
	CHECK(has_text("/run/merged/file", "lower"));
}

static void set_sockets(void)
{
	struct sockaddr_un sa = { AF_UNIX, "/run/host/notify" };

	notify = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(connect(notify, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	CHECK(mkdir("/tmp/where", 0755) == 0 && mkdir("/tmp/there", 0755) == 0);
	live = name(SOCK_DGRAM, "/tmp/live");
	moved = name(SOCK_DGRAM, TOP "/moved");
	CHECK(rename("/tmp/moved", "/tmp/there/moved") == 0);
	CHECK(chdir("/tmp/where") == 0);
	relative = name(SOCK_DGRAM, "relative");
	CHECK(chdir("/") == 0);
}

static void check_sockets(void)
{
	say_to(live, "/tmp/live");
	say_to(moved, "/tmp/there/moved");
	say_to(relative, "/tmp/where/relative");
	CHECK(send(notify, "STATUS=x", 8, 0) == 8);
}

static int start(void (*go)(void))
{
	int pid = fork();
	char c, at[64];

	if (pid > 0)
		return pid;
	go();
	close(hears[1]);
	CHECK(read(hears[0], &c, 1) == 0 && getcwd(at, sizeof(at)) && access("here", F_OK) == 0);
	_exit(guest_failed);
}

static void into_directory(void)
{
	CHECK(chdir(TOP "/directory") == 0);
}

static void into_root(void)
{
	CHECK(chroot(TOP "/root") == 0 && chdir("/") == 0);
}

int main(void)
{
	int pids[2], ended;

	CHECK(dup2(open("/tmp", O_PATH), 90) == 90);
	CHECK(mkdir("/tmp/directory", 0755) == 0 && mkdir("/tmp/root", 0755) == 0);
	put_text("/tmp/directory/here", "");
	put_text("/tmp/root/here", "");
	set_files();
	set_sockets();
	close(90);
	CHECK(pipe(hears) == 0 && dup2(open("/tmp", O_PATH), 90) == 90);
	pids[0] = start(into_directory);
	pids[1] = start(into_root);
	close(90);
	wait_for_restore();
	check_files();
	check_sockets();
	close(hears[1]);
	for (int i = 0; i < 2; i++)
		CHECK(waitpid(pids[i], &ended, 0) == pids[i] && ended == 0);
	return done();
}
