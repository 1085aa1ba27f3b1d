/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * MSG_ZEROCOPY: connections that have heard of all that they have sent so are saved, with whatever else takes
 * option memory, and go on sending. With WAITS (refused_zerocopy) one has not.
 */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#define LEN 8192

static char data[LEN];

static void connect_pair(int ends[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	socklen_t len = sizeof(sin);

	CHECK(bind(listener, (struct sockaddr *)&sin, sizeof(sin)) == 0 && listen(listener, 1) == 0 &&
	      getsockname(listener, (struct sockaddr *)&sin, &len) == 0);
	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(ends[0], (struct sockaddr *)&sin, sizeof(sin)) == 0);
	ends[1] = accept(listener, NULL, NULL);
	CHECK(ends[1] >= 0 && setsockopt(ends[0], SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)) == 0);
	close(listener);
}

static void send_all(const int ends[2])
{
	static char got[LEN];

	CHECK(send(ends[0], data, LEN, MSG_ZEROCOPY) == LEN);
	CHECK(recv(ends[1], got, LEN, MSG_WAITALL) == LEN && memcmp(got, data, LEN) == 0);
}

static bool waits(int fd)
{
	struct pollfd p = { fd, 0, 0 };

	return poll(&p, 1, 10000) == 1 && (p.revents & POLLERR);
}

/* Of one send. */
static bool hears(int fd)
{
	union {
		char room[256];
		struct cmsghdr align;
	} u;
	struct msghdr m = { .msg_control = u.room, .msg_controllen = sizeof(u.room) };
	struct sock_extended_err e = { 0 };

	if (!waits(fd) || recvmsg(fd, &m, MSG_ERRQUEUE) < 0 || !CMSG_FIRSTHDR(&m))
		return false;
	memcpy(&e, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(e));
	return e.ee_origin == SO_EE_ORIGIN_ZEROCOPY && e.ee_errno == 0 && e.ee_info == e.ee_data;
}

int main(void)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0x40000);
	struct sock_fprog program = { 1, &all };
	int heard[2], filtered[2];

	connect_pair(heard);
	connect_pair(filtered);
	CHECK(setsockopt(filtered[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0);
	memset(data, 'z', LEN);
	for (int i = 0; i < 3; i++) {
		send_all(heard);
		CHECK(hears(heard[0]));
	}
	send_all(filtered);
	CHECK(hears(filtered[0]));
	if (WAITS) {
		send_all(heard);
		CHECK(waits(heard[0]));
	}
	wait_for_restore();
	send_all(filtered);
	CHECK(hears(filtered[0]));
	if (!WAITS)
		send_all(heard);
	CHECK(hears(heard[0]));
	return done();
}
