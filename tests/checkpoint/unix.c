/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Unix sockets: pairs of all types with data under way both ways, a closed and a half-closed end, a
 * process asleep in one, listening ones by path and abstract name, one that was shut down. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static int listen_at(struct sockaddr_un *sa, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa->sun_family = AF_UNIX;
	CHECK(bind(fd, (struct sockaddr *)sa, len) == 0 && listen(fd, 17) == 0);
	return fd;
}

static void try_connect(int listener, const struct sockaddr_un *sa, socklen_t len)
{
	int c = socket(AF_UNIX, SOCK_STREAM, 0), a;
	char t[8];

	CHECK(connect(c, (const struct sockaddr *)sa, len) == 0);
	a = accept(listener, NULL, NULL);
	CHECK(a >= 0 && write(c, "hey", 3) == 3 && read(a, t, 8) == 3 && memcmp(t, "hey", 3) == 0);
	close(c);
	close(a);
}

int main(void)
{
	struct sockaddr_un path = { .sun_path = "/root/sock" }, abstract = { .sun_path = "\0hidden\0name" },
			   deaf_name = { .sun_path = "/root/deaf" };
	socklen_t alen = sizeof(sa_family_t) + 12;
	int st[2], dg[2], sq[2], gone[2], half[2], ch[2], lp, la, deaf, alone, status, on = 1;
	static char big[50000], got[50000];
	struct stat sb;
	char t[64];
	pid_t pid;

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 13);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, st) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, dg) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sq) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, gone) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, half) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ch) == 0);
	CHECK(write(st[0], big, sizeof(big)) == sizeof(big) && write(st[1], "back", 4) == 4);
	CHECK(write(gone[1], "bye", 3) == 3);
	close(gone[1]);
	CHECK(write(half[1], "half", 4) == 4 && shutdown(half[1], SHUT_WR) == 0);
	setsockopt(dg[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	lp = listen_at(&path, sizeof(path));
	chmod("/root/sock", 0640);
	la = listen_at(&abstract, alen);
	alone = socket(AF_UNIX, SOCK_DGRAM, 0);
	deaf = listen_at(&deaf_name, sizeof(deaf_name));
	CHECK(shutdown(deaf, SHUT_RDWR) == 0);
	pid = fork();
	if (pid == 0) {
		close(ch[0]);
		_exit(read(ch[1], t, 10) == 4 && memcmp(t, "wake", 4) == 0 && write(ch[1], "up", 2) == 2 ? 5 : 6);
	}
	close(ch[1]);
	wait_for_restore();
	for (size_t at = 0; at < sizeof(got);) {
		ssize_t n = read(st[1], got + at, sizeof(got) - at);

		CHECK(n > 0);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	CHECK(memcmp(big, got, sizeof(big)) == 0);
	CHECK(read(st[0], t, 10) == 4 && memcmp(t, "back", 4) == 0);
	CHECK(read(st[0], t, 10) < 0 && errno == EAGAIN);
	CHECK(write(st[1], "more", 4) == 4 && read(st[0], t, 10) == 4);
	CHECK(write(dg[0], "a", 1) == 1 && write(dg[0], "bc", 2) == 2 && read(dg[1], t, 9) == 1 &&
	      read(dg[1], t, 9) == 2);
	CHECK(write(sq[1], "abc", 3) == 3 && write(sq[1], "d", 1) == 1 && read(sq[0], t, 9) == 3 &&
	      read(sq[0], t, 9) == 1);
	CHECK(read(gone[0], t, 9) == 3 && memcmp(t, "bye", 3) == 0 && read(gone[0], t, 9) == 0);
	CHECK(read(half[0], t, 9) == 4 && read(half[0], t, 9) == 0);
	CHECK(write(half[0], "on", 2) == 2 && read(half[1], t, 9) == 2);
	CHECK(send(half[1], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	CHECK(write(ch[0], "wake", 4) == 4 && read(ch[0], t, 9) == 2);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 5);
	CHECK(stat("/root/sock", &sb) == 0 && (sb.st_mode & 07777) == 0640);
	try_connect(lp, &path, sizeof(path));
	try_connect(la, &abstract, alen);
	CHECK(accept(deaf, NULL, NULL) < 0 && errno == EINVAL);
	CHECK(connect(alone, (struct sockaddr *)&deaf_name, sizeof(deaf_name)) < 0);
	CHECK(fcntl(lp, F_GETFD) == FD_CLOEXEC && fcntl(st[0], F_GETFD) == 0);
	CHECK((fcntl(st[0], F_GETFL) & O_NONBLOCK) && !(fcntl(dg[0], F_GETFL) & O_NONBLOCK));
	abstract.sun_path[1] = 'x';
	CHECK(bind(alone, (struct sockaddr *)&abstract, alen) == 0);
	return done();
}
