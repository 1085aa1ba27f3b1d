/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What has lost its name and is no file: FIFOs with one end or both, with contents, with a reader asleep, whose name is
 * another's by now, one with a name elsewhere; places (O_PATH) of FIFOs and sockets. And names that are hard to say:
 * with newlines, as a deleted file's.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define ODD "/root/odd\nname \\012 \x01\xff (deleted)"

static int fifo(const char *path, int flags)
{
	CHECK(mkfifo(path, 0640) == 0 || errno == EEXIST);
	return open(path, flags | O_NONBLOCK);
}

static short hears(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static bool gives(int fd, const char *text)
{
	char got[64] = { 0 };

	return read(fd, got, strlen(text)) == (ssize_t)strlen(text) && strcmp(got, text) == 0;
}

static unsigned links(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (unsigned)st.st_nlink : 99;
}

int main(void)
{
	int in, out, both, lonely, reused, other, left, place, sock, odd, odd_dir, go[2], status;
	struct sockaddr_un un = { AF_UNIX, "/root/sock" };
	struct stat st, st2;
	char *odd_map, *run;
	pid_t pid;

	in = fifo("/root/ends", O_RDONLY);
	out = fifo("/root/ends", O_WRONLY);
	CHECK(write(out, "through", 7) == 7 && unlink("/root/ends") == 0);
	both = fifo("/run/both", O_RDWR);
	CHECK(write(both, "kept", 4) == 4 && chown("/run/both", 5, 6) == 0 && unlink("/run/both") == 0);
	lonely = fifo("/root/lonely", O_RDONLY);
	CHECK(unlink("/root/lonely") == 0);
	reused = fifo("/root/name", O_RDWR);
	CHECK(write(reused, "first", 5) == 5 && unlink("/root/name") == 0);
	other = fifo("/root/name", O_RDWR);
	CHECK(write(other, "second", 6) == 6);
	left = fifo("/root/one", O_RDWR);
	CHECK(link("/root/one", "/root/other") == 0 && unlink("/root/one") == 0 && write(left, "two", 3) == 3);
	CHECK(mkfifo("/root/place", 0600) == 0);
	place = open("/root/place", O_PATH);
	CHECK(unlink("/root/place") == 0);
	CHECK(bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&un, sizeof(un)) == 0);
	sock = open("/root/sock", O_PATH);
	CHECK(sock >= 0 && unlink("/root/sock") == 0);
	CHECK(pipe(go) == 0);
	pid = fork();
	if (pid == 0) {
		int own = fifo("/run/asleep", O_RDWR);

		CHECK(unlink("/run/asleep") == 0 && fcntl(own, F_SETFL, 0) == 0);
		CHECK(dup2(own, go[0]) == go[0] && write(go[1], "x", 1) == 1);
		_exit(!gives(own, "awake"));
	}
	CHECK(gives(go[0], "x"));
	snprintf(un.sun_path, sizeof(un.sun_path), "/proc/%d/fd/%d", (int)pid, go[0]);
	while (stat(un.sun_path, &st) == 0 && !S_ISFIFO(st.st_mode))
		usleep(1000);
	odd = open(ODD, O_RDWR | O_CREAT, 0600);
	CHECK(odd >= 0 && ftruncate(odd, 4096) == 0 && write(odd, "odd", 3) == 3);
	odd_map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, odd, 0);
	CHECK(mkdir("/root/dir\n(deleted)", 0700) == 0);
	odd_dir = open("/root/dir\n(deleted)", O_RDONLY | O_DIRECTORY);
	run = realpath(ODD, NULL);
	wait_for_restore();
	CHECK(hears(in) == POLLIN && gives(in, "through") && write(out, "again", 5) == 5 && gives(in, "again"));
	CHECK(fstat(in, &st) == 0 && fstat(out, &st2) == 0 && st.st_ino == st2.st_ino && links(in) == 0);
	CHECK(gives(both, "kept") && fstat(both, &st) == 0 && st.st_uid == 5 && st.st_gid == 6 && links(both) == 0);
	CHECK(hears(lonely) == 0 && read(lonely, &st, 1) == 0 && links(lonely) == 0);
	CHECK(gives(reused, "first") && gives(other, "second") && links(reused) == 0 && links(other) == 1);
	CHECK(stat("/root/name", &st) == 0 && fstat(other, &st2) == 0 && st.st_ino == st2.st_ino);
	CHECK(gives(left, "two") && stat("/root/other", &st) == 0 && fstat(left, &st2) == 0 && st.st_ino == st2.st_ino);
	CHECK(fstat(place, &st) == 0 && S_ISFIFO(st.st_mode) && st.st_nlink == 0 && (fcntl(place, F_GETFL) & O_PATH));
	CHECK(fstat(sock, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_nlink == 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "/proc/%d/fd/%d", (int)pid, go[0]);
	status = open(un.sun_path, O_WRONLY);
	CHECK(status >= 0 && write(status, "awake", 5) == 5);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	close(out);
	CHECK(hears(in) == POLLHUP);
	odd_map[0] = 'O';
	CHECK(lseek(odd, 0, SEEK_CUR) == 3 && pread(odd, un.sun_path, 3, 0) == 3 && memcmp(un.sun_path, "Odd", 3) == 0);
	CHECK(run && access(run, R_OK) == 0 && links(odd) == 1 && fstat(odd_dir, &st) == 0 && S_ISDIR(st.st_mode));
	return done();
}
