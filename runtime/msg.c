/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/internal.h"

#include <errno.h>

int rt_msg_send(int sock, enum rt_msg_type type, uint32_t value, const struct err *err,
		const int *fds, size_t nfds)
{
	struct rt_msg m = { .type = type, .value = value };
	ssize_t n;

	if (err)
		m.err = *err;
	n = fd_send(sock, &m, sizeof(m), fds, nfds);
	return n < 0 ? (int)n : 0;
}

int rt_msg_recv(int sock, struct rt_msg *m, int *fds, size_t max_fds, size_t *nfds)
{
	ssize_t n = fd_recv(sock, m, sizeof(*m), fds, max_fds, nfds);

	/* Said once when the peer closed with something of ours unread; its last words come next
	 * (unix_release_sock() in net/unix/af_unix.c). */
	if (n == -ECONNRESET)
		n = fd_recv(sock, m, sizeof(*m), fds, max_fds, nfds);
	if (n == 0 || n == -ECONNRESET)
		return -EPIPE;
	if (n < 0)
		return (int)n;
	/* vps-init knows nothing of this struct: its four bytes are an errno and what it was at. */
	if (n == sizeof(uint32_t)) {
		static const char *const what[] = { "run the command", "enter the working directory",
						    "become the user", "take the terminal" };
		uint32_t word, step;

		memcpy(&word, m, sizeof(word));
		step = word >> 16 < ARRAY_SIZE(what) ? word >> 16 : 0;
		m->type = RT_MSG_ERROR;
		m->value = step == 0 ? word & 0xffff : 0;
		err_code(&m->err, -(int)(word & 0xffff), "%s", what[step]);
		return 0;
	}
	if (n == sizeof(*m)) {
		m->err.msg[sizeof(m->err.msg) - 1] = '\0';
		m->err.hint[sizeof(m->err.hint) - 1] = '\0';
		return 0;
	}
	while (*nfds > 0)
		close(fds[--*nfds]);
	return -EBADMSG;
}
