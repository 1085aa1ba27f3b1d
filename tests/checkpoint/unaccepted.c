/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A unix server that has no time: connections wait in its queue, their clients have spoken already, some wait for the
 * answer, others are gone. It finds them in their order, with all that was said and who said it. */
#include "tests/checkpoint/guest.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define AT "/run/busy"
#define PACKETS "/run/packets"
#define LARGE 120000 /* more than the kernel keeps in one piece */
#define CROWD 300

static int server, packets, large, mixed, late[CROWD], reader[2];
static int shut;
static pid_t living, spoke, gone[2];

static struct sockaddr_un at(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	strcpy(sa.sun_path, path);
	return sa;
}

static int serve(int type, const char *path)
{
	struct sockaddr_un sa = at(path);
	int fd = socket(AF_UNIX, type, 0);

	CHECK(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 400) == 0 && chmod(path, 0777) == 0);
	return fd;
}

static int ask(int type, const char *path)
{
	struct sockaddr_un sa = at(path);
	int fd = socket(AF_UNIX, type, 0);

	CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

static void become(uid_t uid)
{
	gid_t groups[] = { 7, 8, uid };

	CHECK(setgroups(3, groups) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
}

static char letter(size_t i)
{
	return (char)('a' + i % 23);
}

static void say_much(int fd)
{
	static char text[LARGE];
	int room = 1 << 20;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = letter(i);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0);
	CHECK(send(fd, text, sizeof(text), MSG_DONTWAIT) == sizeof(text));
}

/* Who connected is not who had the socket made, and has said all that it had to. */
static void client(void)
{
	char t[16] = { 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un sa = at(AT);

	become(44);
	CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	CHECK(write(fd, "request", 7) == 7 && shutdown(fd, SHUT_WR) == 0);
	CHECK(write(reader[1], "!", 1) == 1);
	CHECK(read(fd, t, sizeof(t)) == 6 && memcmp(t, "answer", 6) == 0);
	_exit(guest_failed);
}

static void speak_as_another(int fd)
{
	int status;

	spoke = fork();
	if (spoke == 0) {
		become(33);
		_exit(write(fd, " and another", 12) == 12 ? 0 : 1);
	}
	CHECK(waitpid(spoke, &status, 0) == spoke && status == 0);
}

/* Says what it has to and goes; one has a name. */
static pid_t speak_and_go(bool named)
{
	struct sockaddr_un sa = at("/run/named");
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		CHECK(!named || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
		become(33);
		sa = at(AT);
		CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && write(fd, "and gone", 8) == 8);
		_exit(guest_failed);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return pid;
}

static void set_up(void)
{
	char c;
	int low;

	CHECK(pipe(reader) == 0);
	server = serve(SOCK_STREAM, AT);
	packets = serve(SOCK_SEQPACKET, PACKETS);
	low = dup(0);
	living = fork();
	if (living == 0)
		client();
	CHECK(read(reader[0], &c, 1) == 1);
	gone[0] = speak_and_go(false);
	large = ask(SOCK_STREAM, AT);
	say_much(large);
	/* Of a lower number than the one before it in the queue. */
	close(low);
	mixed = ask(SOCK_STREAM, AT);
	CHECK(write(mixed, "one", 3) == 3);
	speak_as_another(mixed);
	for (int i = 0; i < CROWD; i++) {
		late[i] = ask(SOCK_STREAM, AT);
		CHECK(dprintf(late[i], "number %d", i) > 0);
	}
	gone[1] = speak_and_go(true);
	shut = ask(SOCK_STREAM, AT);
	CHECK(write(shut, "over", 4) == 4 && shutdown(shut, SHUT_RDWR) == 0);
	/* Fewer may wait from here on than do. */
	CHECK(listen(server, 7) == 0);
	low = ask(SOCK_SEQPACKET, PACKETS);
	CHECK(send(low, "first", 5, 0) == 5 && send(low, "", 0, 0) == 0 && send(low, "third", 5, 0) == 5);
}

static int accept_from(int fd, pid_t pid, uid_t uid)
{
	int its = accept4(fd, NULL, NULL, SOCK_NONBLOCK), on = 1;
	struct ucred u = { 0 };
	gid_t g[8] = { 0 };
	socklen_t len = sizeof(u), glen = sizeof(g);

	CHECK(its >= 0 && setsockopt(its, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
	CHECK(getsockopt(its, SOL_SOCKET, SO_PEERCRED, &u, &len) == 0);
	if (u.pid != pid || u.uid != uid)
		dprintf(1, "from %d, user %d\n", u.pid, (int)u.uid);
	CHECK(u.pid == pid && u.uid == uid && u.gid == uid);
	CHECK(getsockopt(its, SOL_SOCKET, SO_PEERGROUPS, g, &glen) == 0);
	CHECK(uid == 0 || (glen == 3 * sizeof(gid_t) && g[0] == 7 && g[1] == 8 && g[2] == uid));
	return its;
}

static void expect(int fd, const char *text, pid_t pid, uid_t uid)
{
	char t[64] = { 0 };
	union {
		char buf[256];
		struct cmsghdr align;
	} c;
	struct iovec iov = { t, sizeof(t) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf) };
	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	struct ucred u = { 0 };

	CHECK(n == (ssize_t)strlen(text) && memcmp(t, text, strlen(text)) == 0);
	CHECK(n < 0 || (h && h->cmsg_type == SCM_CREDENTIALS));
	if (n >= 0 && h)
		memcpy(&u, CMSG_DATA(h), sizeof(u));
	if (u.pid != pid || u.uid != uid)
		dprintf(1, "\"%s\" by %d, user %d, not \"%s\" by %d\n", t, u.pid, (int)u.uid, text, pid);
	CHECK(u.pid == pid && u.uid == uid && u.gid == uid);
}

static void check_much(int fd)
{
	static char text[LARGE];
	size_t n = 0;
	ssize_t more;

	while (n < sizeof(text) && (more = read(fd, text + n, sizeof(text) - n)) > 0)
		n += (size_t)more;
	CHECK(n == sizeof(text));
	for (size_t i = 0; i < n; i++)
		if (text[i] != letter(i)) {
			CHECK(text[i] == letter(i));
			break;
		}
	CHECK(read(fd, text, 1) < 0 && errno == EAGAIN);
}

static void expect_gone(pid_t pid, bool named)
{
	struct sockaddr_un sa = { 0 };
	socklen_t len = sizeof(sa);
	int fd = accept_from(server, pid, 33);
	char c;

	CHECK(getpeername(fd, (struct sockaddr *)&sa, &len) == 0 && strcmp(sa.sun_path, named ? "/run/named" : "") == 0);
	expect(fd, "and gone", pid, 33);
	CHECK(read(fd, &c, 1) == 0 && send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
}

int main(void)
{
	char text[32], c;
	int fd, status;

	set_up();
	wait_for_restore();
	fd = accept_from(server, living, 44);
	expect(fd, "request", living, 44);
	CHECK(read(fd, &c, 1) == 0 && write(fd, "answer", 6) == 6);
	CHECK(waitpid(living, &status, 0) == living && status == 0);
	expect_gone(gone[0], false);
	check_much(accept_from(server, 1, 0));
	fd = accept_from(server, 1, 0);
	expect(fd, "one", 1, 0);
	expect(fd, " and another", spoke, 33);
	CHECK(write(mixed, "more", 4) == 4 && write(fd, "back", 4) == 4);
	expect(fd, "more", 1, 0);
	CHECK(read(mixed, text, sizeof(text)) == 4);
	for (int i = 0; i < CROWD; i++) {
		snprintf(text, sizeof(text), "number %d", i);
		expect(accept_from(server, 1, 0), text, 1, 0);
	}
	expect_gone(gone[1], true);
	CHECK(access("/run/named", F_OK) == 0);
	fd = accept_from(server, 1, 0);
	expect(fd, "over", 1, 0);
	CHECK(read(fd, &c, 1) == 0 && send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE && read(shut, &c, 1) == 0);
	fd = accept_from(packets, 1, 0);
	expect(fd, "first", 1, 0);
	expect(fd, "", 1, 0);
	expect(fd, "third", 1, 0);
	CHECK(fcntl(server, F_SETFL, O_NONBLOCK) == 0 && accept(server, NULL, NULL) < 0 && errno == EAGAIN);
	return done();
}
