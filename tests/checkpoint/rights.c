/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Unix sockets that take no open files (SO_PASSRIGHTS, Linux 6.16): who sends them some is told so, also by who
 * waits to be accepted and in datagrams, while others take them; and those that were on their way before are as
 * they are without a pause. And who waits to be accepted is asked for his credentials (SO_PASSCRED) as the
 * listener's.
 */
#include "tests/checkpoint/guest.h"

#include <sys/socket.h>
#include <sys/un.h>

#define PASSRIGHTS 83

static int send_file(int to)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { .room = { 0 } };
	struct iovec v = { (char[]){ 'x' }, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof(u.room) };
	int fd = 0;

	u.align = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&u.align), &fd, sizeof(fd));
	return sendmsg(to, &m, MSG_DONTWAIT) == 1 ? 0 : errno;
}

/* How many open files come with the next byte; -1: it does not come. */
static int take(int from)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	char c;
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof(u.room) };
	struct cmsghdr *h;
	int fd;

	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1)
		return -1;
	h = CMSG_FIRSTHDR(&m);
	if (!h || h->cmsg_type != SCM_RIGHTS)
		return 0;
	memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	close(fd);
	return 1;
}

static int set(int fd, int on)
{
	return setsockopt(fd, SOL_SOCKET, PASSRIGHTS, &on, sizeof(on));
}

static int get_option(int fd, int name)
{
	int on = -1;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, name, &on, &len) == 0 ? on : -1;
}

static int get(int fd)
{
	return get_option(fd, PASSRIGHTS);
}

/* A listener that asks, and who waits for it. */
static int asking[2];

static void ask(void)
{
	struct sockaddr_un sun = { AF_UNIX, "/run/asks" };
	int on = 1;

	asking[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	asking[1] = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(asking[0], (struct sockaddr *)&sun, sizeof(sun)) == 0 && listen(asking[0], 5) == 0);
	CHECK(setsockopt(asking[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
	CHECK(connect(asking[1], (struct sockaddr *)&sun, sizeof(sun)) == 0 && write(asking[1], "w", 1) == 1);
}

static void check_asking(void)
{
	char room[CMSG_SPACE(sizeof(struct ucred))], c;
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	int accepted = accept(asking[0], NULL, NULL);

	CHECK(accepted >= 0 && get_option(accepted, SO_PASSCRED) == 1);
	CHECK(recvmsg(accepted, &m, MSG_DONTWAIT) == 1 && CMSG_FIRSTHDR(&m) &&
	      CMSG_FIRSTHDR(&m)->cmsg_type == SCM_CREDENTIALS);
}

int main(void)
{
	struct sockaddr_un sun = { AF_UNIX, "/run/listener" };
	int none[2], dgram[2], both[2], under_way[2], same[2], listener, client, accepted, refused;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, none) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram) == 0 &&
	      socketpair(AF_UNIX, SOCK_SEQPACKET, 0, both) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, under_way) == 0 &&
	      socketpair(AF_UNIX, SOCK_STREAM, 0, same) == 0);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(listener, (struct sockaddr *)&sun, sizeof(sun)) == 0 && listen(listener, 5) == 0);
	ask();
	if (set(none[1], 0) < 0) {
		wait_for_restore(); /* this kernel has no such option */
		check_asking();
		return done();
	}
	CHECK(set(dgram[1], 0) == 0 && set(both[0], 0) == 0 && set(both[1], 0) == 0 && set(listener, 0) == 0);
	CHECK(connect(client, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	CHECK(send_file(under_way[0]) == 0 && send_file(same[0]) == 0 && set(under_way[1], 0) == 0 && set(same[1], 0) == 0);
	refused = send_file(none[0]);
	CHECK(refused != 0 && send_file(none[1]) == 0);
	wait_for_restore();
	check_asking();
	CHECK(get(none[1]) == 0 && get(none[0]) == 1 && get(dgram[1]) == 0 && get(both[0]) == 0 && get(listener) == 0);
	CHECK(send_file(none[0]) == refused && send_file(dgram[0]) == refused && send_file(both[0]) == refused &&
	      send_file(both[1]) == refused);
	CHECK(take(none[0]) == 1 && send_file(dgram[1]) == 0 && take(dgram[0]) == 1);
	CHECK(take(under_way[1]) == take(same[1]));
	CHECK(send_file(client) == refused);
	accepted = accept(listener, NULL, NULL);
	CHECK(accepted >= 0 && get(accepted) == 0 && send_file(client) == refused && send_file(accepted) == 0);
	CHECK(take(client) == 1);
	return done();
}
