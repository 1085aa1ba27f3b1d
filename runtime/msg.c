/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/internal.h"

#include <errno.h>
#include <poll.h>

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

int rt_blame(struct rt_vps *v, int r, struct err *e)
{
	struct pollfd p = { .fd = v->sync, .events = POLLIN };
	struct rt_msg m;
	int fds[2];
	size_t nfds;

	if (r >= 0 || poll(&p, 1, 0) != 1)
		return r;
	if (rt_msg_recv(v->sync, &m, fds, 2, &nfds) == 0 && m.type == RT_MSG_ERROR && !m.value)
		*e = m.err;
	else
		err_set(e, ERR_FAIL, "the VPS's first process died during its set-up");
	return r;
}

int rt_hear(struct rt_vps *v, uint32_t want, struct rt_msg *m, int *fds, size_t *nfds,
		      struct err *e)
{
	int r;

	while ((r = rt_msg_recv(v->sync, m, fds, 2, nfds)) == 0 && m->type == RT_MSG_LEFT)
		while (*nfds > 0)
			close(fds[--*nfds]);
	if (r == -EPIPE && want == RT_MSG_GO)
		return 0; /* execve closed it */
	if (r < 0)
		return err_set(e, ERR_FAIL, "the VPS's first process died during its set-up");
	if (m->type == RT_MSG_ERROR && m->value) {
		err_code(e, -(int)m->value, "run %s", v->spec->argv.item[0]);
		e->code = m->value == ENOENT ? ERR_NOCMD : ERR_NOEXEC;
		return -EIO;
	}
	if (m->type == RT_MSG_ERROR) {
		*e = m->err;
		return e->code == ERR_OK ? -EIO : err_errno((enum err_status)e->code);
	}
	if (m->type != want)
		return err_set(e, ERR_FAIL, "unexpected message %u from the VPS", m->type);
	return 0;
}
