/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_STREAM_H
#define TESTS_CHECKPOINT_STREAM_H

/* Connections over which both ends send the same bytes, which both know: none may be lost or come twice. */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#define BULK 3000000u

static uint8_t bytes[BULK], got[BULK + 16];

static void make_bytes(void)
{
	uint32_t x = 12345;

	for (size_t i = 0; i < BULK; i++) {
		x = x * 1103515245 + 12345;
		bytes[i] = (uint8_t)(x >> 16);
	}
}

static void say(int fd, const char *text)
{
	CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Writes and reads at once, until `out` bytes are written and `in` are read. */
static void exchange(int fd, size_t from, size_t out, size_t in)
{
	size_t sent = from, have = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (sent < out || have < in) {
		struct pollfd p = { fd, (short)((sent < out ? POLLOUT : 0) | (have < in ? POLLIN : 0)), 0 };
		ssize_t n;

		if (poll(&p, 1, 20000) != 1 || (p.revents & POLLERR)) {
			dprintf(1, "sent %zu of %zu, got %zu of %zu\n", sent, out, have, in);
			CHECK(!"something comes");
			return;
		}
		n = sent < out ? send(fd, bytes + sent, out - sent, MSG_NOSIGNAL) : 0;
		sent += n > 0 ? (size_t)n : 0;
		n = have < in ? recv(fd, got + have, in - have, 0) : 0;
		if (n == 0 && have < in && sent == out && (p.revents & POLLIN)) {
			CHECK(!"more before the end");
			return;
		}
		have += n > 0 ? (size_t)n : 0;
	}
	fcntl(fd, F_SETFL, 0);
	CHECK(memcmp(got, bytes, in) == 0);
}

/* Until nothing more goes in, also in a moment. */
static size_t push(int fd)
{
	size_t n = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int idle = 0; n < BULK && idle < 5;) {
		ssize_t s = send(fd, bytes + n, BULK - n, MSG_NOSIGNAL);

		idle = s > 0 ? 0 : idle + 1;
		n += s > 0 ? (size_t)s : 0;
		if (s <= 0)
			usleep(20000);
	}
	fcntl(fd, F_SETFL, 0);
	return n;
}

/* From outside, once there is somebody who listens. */
static int dial(const char *ip, int port)
{
	struct sockaddr_in a4 = { AF_INET, htons((uint16_t)port), { 0 }, { 0 } };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	bool v6 = inet_pton(AF_INET, ip, &a4.sin_addr) != 1 && inet_pton(AF_INET6, ip, &a6.sin6_addr) == 1;

	for (int i = 0; i < 1000; i++) {
		int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);

		if (connect(fd, v6 ? (void *)&a6 : (void *)&a4, v6 ? sizeof(a6) : sizeof(a4)) == 0)
			return fd;
		close(fd);
		usleep(10000);
	}
	return -1;
}

#endif
