/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Many connections, nearly all alike: each is as it was all the same. Some have options of their own, some have
 * something in their queues, and every one leads to its own other end. Who is told "late" changes options of some, closes
 * some, and has new ones.
 */
#include "tests/checkpoint/busy.h"
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define PAIRS 240
#define NAMES 130
#define SIZE 64

static const int levels[] = { SOL_SOCKET, SOL_IP, SOL_TCP };
#define LEVELS (sizeof(levels) / sizeof(levels[0]))

static int near[PAIRS], far[PAIRS], listener;
static uint8_t was[PAIRS][LEVELS][NAMES][SIZE];

/* What of a connection is the kernel's own, or leads elsewhere (repair). */
static bool is_left_out(int level, int name)
{
	static const int left_out[][2] = {
		{ SOL_SOCKET, SO_ERROR },	{ SOL_SOCKET, 57 /* SO_COOKIE */ }, { SOL_SOCKET, SO_INCOMING_CPU },
		{ SOL_SOCKET, 55 /* SO_MEMINFO */ }, { SOL_SOCKET, 56 /* SO_INCOMING_NAPI_ID */ },
		{ SOL_SOCKET, SO_PEERCRED },	{ SOL_SOCKET, 77 /* SO_PEERPIDFD */ },
		{ SOL_SOCKET, 71 /* SO_NETNS_COOKIE */ }, { SOL_SOCKET, SO_RCVBUF }, { SOL_SOCKET, SO_SNDBUF },
		{ SOL_IP, IP_MTU }, { SOL_IP, 32 }, { SOL_IP, IP_MULTICAST_TTL },		{ SOL_TCP, TCP_INFO },		    { SOL_TCP, TCP_CC_INFO },
		{ SOL_TCP, TCP_TIMESTAMP },	{ SOL_TCP, TCP_REPAIR_WINDOW },	    { SOL_TCP, TCP_QUEUE_SEQ },
		{ SOL_TCP, TCP_ZEROCOPY_RECEIVE }, { SOL_TCP, TCP_QUICKACK },	    { SOL_TCP, TCP_WINDOW_CLAMP },
		{ SOL_TCP, TCP_MAXSEG },
	};

	for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
		if (left_out[i][0] == level && left_out[i][1] == name)
			return true;
	return false;
}

static void look(int i, uint8_t to[LEVELS][NAMES][SIZE])
{
	for (size_t l = 0; l < LEVELS; l++)
		for (int n = 0; n < NAMES; n++) {
			socklen_t len = SIZE;

			memset(to[l][n], 0, SIZE);
			if (!is_left_out(levels[l], n) && getsockopt(near[i], levels[l], n, to[l][n], &len) < 0)
				memset(to[l][n], 0, SIZE);
		}
}

static void set(int i, int level, int name, int v)
{
	CHECK(setsockopt(near[i], level, name, &v, sizeof(v)) == 0);
}

/* Every seventh connection but the first ones has one option that the others have not; some are back to what is usual. */
static void differ(int i)
{
	struct linger lin = { 1, i };
	struct timeval tv = { i, 0 };

	set(i, SOL_TCP, TCP_NODELAY, 1); /* of all */
	set(i, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (i < 10 || i % 7)
		return;
	switch (i / 7 % 8) {
	case 0: set(i, SOL_TCP, TCP_KEEPIDLE, 60 + i); break;
	case 1: set(i, SOL_TCP, TCP_NODELAY, 0); break;
	case 2: set(i, SOL_IP, IP_TOS, 0x10); break;
	case 3: set(i, SOL_IP, IP_TTL, 9); break;
	case 4: CHECK(setsockopt(near[i], SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0); break;
	case 5: CHECK(setsockopt(near[i], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0); break;
	case 6: set(i, SOL_SOCKET, SO_KEEPALIVE, 0); break;
	default: set(i, SOL_TCP, TCP_USER_TIMEOUT, 1000 * i); break;
	}
}

static const struct sockaddr_in at = { AF_INET, 0x591b /* 7001 */, { 0x0100007f /* 127.0.0.1 */ }, { 0 } };

static void connect_one(int i)
{
	far[i] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(far[i], (const void *)&at, sizeof(at)) == 0);
	near[i] = accept(listener, NULL, NULL);
	CHECK(near[i] >= 0);
}

static void connect_all(void)
{
	struct rlimit lim;

	CHECK(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	lim.rlim_cur = lim.rlim_max;
	CHECK(setrlimit(RLIMIT_NOFILE, &lim) == 0);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(listener, (const void *)&at, sizeof(at)) == 0 && listen(listener, 16) == 0);
	for (int i = 0; i < PAIRS; i++) {
		connect_one(i);
		differ(i);
	}
}

/* After all were looked at: of one that was usual, of one that was not, back to what is usual; and others at old places. */
static void change(void)
{
	set(20, SOL_TCP, TCP_KEEPCNT, 3);
	set(28, SOL_IP, IP_TOS, 0x10);
	set(14, SOL_IP, IP_TOS, 0);
	set(22, SOL_TCP, TCP_NODELAY, 0);
	set(23, SOL_SOCKET, SO_OOBINLINE, 1);
	for (int i = 200; i < 206; i++) {
		close(near[i]);
		close(far[i]);
		connect_one(i);
		if (i % 2)
			set(i, SOL_TCP, TCP_KEEPINTVL, i);
		if (i % 3 == 0)
			CHECK(send(far[i], &i, sizeof(i), 0) == sizeof(i));
	}
	for (int i = 0; i < PAIRS; i++)
		look(i, was[i]);
}

static void verify(int i)
{
	static uint8_t now[LEVELS][NAMES][SIZE];
	int got = -1, sent = 3 * i;

	look(i, now);
	for (size_t l = 0; l < LEVELS; l++)
		for (int n = 0; n < NAMES; n++)
			if (memcmp(now[l][n], was[i][l][n], SIZE) != 0) {
				dprintf(1, "connection %d, level %d, option %d\n", i, levels[l], n);
				CHECK(!"the option is as it was");
			}
	if (i % 3 == 0)
		CHECK(recv(near[i], &got, sizeof(got), MSG_WAITALL) == sizeof(got) && got == i);
	CHECK(send(near[i], &sent, sizeof(sent), 0) == sizeof(sent));
	CHECK(recv(far[i], &got, sizeof(got), MSG_WAITALL) == sizeof(got) && got == sent);
}

int main(void)
{
	be_busy(BUSY, 1000);
	connect_all();
	for (int i = 0; i < PAIRS; i += 3)
		CHECK(send(far[i], &i, sizeof(i), 0) == sizeof(i));
	for (int i = 0; i < PAIRS; i++)
		look(i, was[i]);
	dprintf(1, "ready\n");
	for (wait_for_line(); strcmp(guest_line, "late") == 0; wait_for_line()) {
		change();
		dprintf(1, "changed\n");
	}
	for (int i = 0; i < PAIRS; i++)
		verify(i);
	return done();
}
