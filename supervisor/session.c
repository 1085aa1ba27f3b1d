/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/session.h"

#include "base/fd.h"
#include "base/macro.h"

int session_send(int sock, enum session_type type, int32_t value, const void *data, size_t len,
		 int fd)
{
	char packet[sizeof(struct session_header) + SESSION_DATA_MAX];
	struct session_header h = { .type = type, .value = value };
	ssize_t n;

	if (len > SESSION_DATA_MAX)
		return -EMSGSIZE;
	memcpy(packet, &h, sizeof(h));
	if (len)
		memcpy(packet + sizeof(h), data, len);
	n = fd_send(sock, packet, sizeof(h) + len, &fd, fd >= 0 ? 1 : 0);
	if (n == -ECONNRESET)
		return -EPIPE;
	return n < 0 ? (int)n : 0;
}

ssize_t session_recv(int sock, struct session_header *h, void *data, size_t size, int *ret_fd)
{
	char packet[sizeof(struct session_header) + SESSION_DATA_MAX];
	size_t nfds;
	ssize_t n;

	*ret_fd = -EBADF;
	n = fd_recv(sock, packet, sizeof(packet), ret_fd, 1, &nfds);
	/* A peer that closed with unread messages of ours makes one receive fail, before those that it
	 * sent are handed out (unix_release_sock(), __skb_try_recv_datagram(), Linux 6.18). */
	if (n == -ECONNRESET)
		n = fd_recv(sock, packet, sizeof(packet), ret_fd, 1, &nfds);
	if (n == 0 || n == -ECONNRESET)
		return -EPIPE;
	if (n < 0)
		return n;
	if ((size_t)n < sizeof(*h) || (size_t)n - sizeof(*h) > size) {
		fd_close(ret_fd);
		return -EBADMSG;
	}
	memcpy(h, packet, sizeof(*h));
	n -= (ssize_t)sizeof(*h);
	if (n)
		memcpy(data, packet + sizeof(*h), (size_t)n);
	return n;
}
