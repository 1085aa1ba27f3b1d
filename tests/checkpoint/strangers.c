/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A container whose user namespace has no user for the VPS's root: in a tmpfs of its own directories, a link, a file that
 * was deleted, sockets by relative names with connections; beside it, in another mount namespace of the VPS's own, a
 * deleted file in a tmpfs that lies where the VPS has another.
 */
#include "tests/checkpoint/crew.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static int use(int (*call)(int, const struct sockaddr *, socklen_t), int type, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	CHECK(call(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

static bool says(int from, int to)
{
	char c;

	return write(from, "x", 1) == 1 && recv(to, &c, 1, MSG_DONTWAIT) == 1;
}

static int deleted, server, client, listener, connected, accepted, waiting, lost, lost_client;

static int make_deleted(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	CHECK(fd >= 0 && write(fd, "deleted", 7) == 7 && unlink(path) == 0);
	return fd;
}

static void check_deleted(void)
{
	char text[16];

	CHECK(pread(deleted, text, sizeof(text), 0) == 7 && memcmp(text, "deleted", 7) == 0);
}

static void check_inside(void)
{
	struct stat st;

	check_deleted();
	CHECK(stat("/tmp/dir/sub", &st) == 0 && st.st_uid == 3 && st.st_gid == 4 && (st.st_mode & 07777) == 0711);
	CHECK(lstat("/tmp/link", &st) == 0 && st.st_uid == 0 && has_text("/tmp/dir/file", "file"));
	CHECK(says(client, server) && says(connected, accepted) && says(lost_client, lost));
	fcntl(listener, F_SETFL, O_NONBLOCK);
	CHECK(says(waiting, accept(listener, NULL, NULL)));
	CHECK(says(use(connect, SOCK_DGRAM, "/tmp/server"), server) && stat("/tmp/server", &st) == 0 && st.st_uid == 0);
}

static void inside(void)
{
	CHECK(mount("none", "/tmp", "tmpfs", 0, NULL) == 0 && mkdir("/tmp/dir", 0700) == 0);
	CHECK(mkdir("/tmp/dir/sub", 0711) == 0 && chown("/tmp/dir/sub", 3, 4) == 0 && symlink("dir", "/tmp/link") == 0);
	CHECK(chdir("/tmp/dir") == 0);
	put_text("file", "file");
	deleted = make_deleted("gone");
	server = use(bind, SOCK_DGRAM, "../server");
	client = use(connect, SOCK_DGRAM, "../server");
	listener = use(bind, SOCK_STREAM, "listener");
	CHECK(listen(listener, 3) == 0);
	connected = use(connect, SOCK_STREAM, "listener");
	accepted = accept(listener, NULL, NULL);
	waiting = use(connect, SOCK_STREAM, "listener");
	lost = use(bind, SOCK_DGRAM, "lost");
	lost_client = use(connect, SOCK_DGRAM, "lost");
	CHECK(unlink("lost") == 0);
	crew_serve(check_inside);
}

static int maps[2], mapped[2];

static void container(void)
{
	char c;

	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) == 0 && write(maps[1], "u", 1) == 1);
	CHECK(read(mapped[0], &c, 1) == 1 && setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0);
	if (fork() == 0)
		inside();
	for (;;)
		pause();
}

static void write_map(int pid, const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	put_text(path, "0 1000 100\n");
}

static void beside(void)
{
	CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/srv", "tmpfs", 0, NULL) == 0);
	deleted = make_deleted("/srv/gone");
	crew_serve(check_deleted);
}

int main(void)
{
	char c;
	int pid;

	crew_begin();
	mkdir("/srv", 0755);
	CHECK(mount("none", "/srv", "tmpfs", 0, NULL) == 0 && pipe(maps) == 0 && pipe(mapped) == 0);
	crew_start(beside);
	pid = fork();
	if (pid == 0)
		container();
	CHECK(read(maps[0], &c, 1) == 1);
	write_map(pid, "uid_map");
	write_map(pid, "gid_map");
	CHECK(write(mapped[1], "m", 1) == 1);
	crew_wait(2);
	wait_for_restore();
	crew_check();
	return done();
}
