/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/peek.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE MIB(1)
#define STACK KIB(256)

enum { ASK_QUEUE = 1, ASK_NEXT };

/* On the socket between the two; the data lies beside it. */
struct answer {
	int result; /* 1: a message, 0: no more, else a negative errno value */
	size_t len, from_len;
	struct sockaddr_un from;
	struct ucred cred;
	int has_sender, has_datagram;
	struct ckpt_datagram datagram;
};

struct ckpt_peeker {
	int sock, theirs;
	pid_t pid;
	uint8_t *data;
	void *stack;
};

union control {
	uint8_t buf[CMSG_SPACE(sizeof(int) * CKPT_PEEK_FDS) + CMSG_SPACE(sizeof(struct ucred)) +
		    1024];
	struct cmsghdr align;
};

static void take_fds(const struct msghdr *m, int *fds, size_t *count)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c;
	     c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		const int *its = (const void *)CMSG_DATA(c);
		bool keep = fds && c->cmsg_type == SCM_RIGHTS;

		/* SCM_PIDFD (Linux 6.5) is an fd, too. */
		if (c->cmsg_level != SOL_SOCKET ||
		    (c->cmsg_type != SCM_RIGHTS && c->cmsg_type != 4))
			continue;
		for (size_t i = 0; i < n; i++)
			if (keep && *count < CKPT_PEEK_FDS)
				fds[(*count)++] = its[i];
			else if (its[i] >= 0)
				close(its[i]);
	}
}

/* In the child. */

struct looking {
	int sock, fd, type;
	bool local; /* a unix socket */
	uint8_t *data;
	int fds[CKPT_PEEK_FDS];
	size_t fd_count;
	struct answer a;
	bool last; /* the next byte has open files with it */
};

static void set_offset(int fd, int off)
{
	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
}

static ssize_t look(struct looking *l, size_t len)
{
	union control c;
	struct iovec iov = { l->data, len };
	struct msghdr m = { .msg_name = &l->a.from,
			    .msg_namelen = sizeof(l->a.from),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = c.buf,
			    .msg_controllen = sizeof(c.buf) };
	ssize_t n = recvmsg(l->fd, &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return -errno;
	l->fd_count = 0;
	take_fds(&m, l->fds, &l->fd_count);
	l->a.has_sender = 0;
	l->a.has_datagram = !l->local && ckpt_datagram_read(&m, &l->a.datagram);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&l->a.cred, CMSG_DATA(h), sizeof(l->a.cred));
			l->a.has_sender = 1;
		}
	l->a.len = (size_t)n;
	/* The kernel counts a NUL behind a path that fills its field. */
	l->a.from_len = m.msg_namelen <= sizeof(sa_family_t)   ? 0 :
			m.msg_namelen > sizeof(l->a.from) ? sizeof(l->a.from) :
							    m.msg_namelen;
	if (l->type != SOCK_STREAM && (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return -EMSGSIZE;
	return m.msg_flags & MSG_CTRUNC ? -EMSGSIZE : n;
}

static void let_go(struct looking *l)
{
	while (l->fd_count)
		close(l->fds[--l->fd_count]);
}

/*
 * A look takes with it what comes before the bytes that open files belong to, and tells of the files of those
 * behind its end (Linux 6.18): where they begin is not to be had, only where they end. Whoever reads message
 * by message finds the files with the right one when they come with its last byte.
 */
static ssize_t look_stream(struct looking *l, int off)
{
	ssize_t n = look(l, l->last ? 1 : PIECE);

	l->last = !l->last && n > 1 && l->fd_count;
	if (!l->last)
		return n;
	let_go(l);
	set_offset(l->fd, off);
	n = look(l, (size_t)n - 1);
	let_go(l);
	return n;
}

static int send_answer(struct looking *l)
{
	union control c = { { 0 } };
	struct iovec iov = { &l->a, sizeof(l->a) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (l->fd_count) {
		struct cmsghdr *h;

		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(l->fd_count * sizeof(int));
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(l->fd_count * sizeof(int));
		memcpy(CMSG_DATA(h), l->fds, l->fd_count * sizeof(int));
	}
	n = sendmsg(l->sock, &m, MSG_NOSIGNAL);
	let_go(l);
	return n < 0 ? -errno : 0;
}

/* Messages may be empty: of sequenced ones a sender tells, who is told of with each when that is asked for. */
static bool is_end(const struct looking *l)
{
	return l->type == SOCK_STREAM || (l->type == SOCK_SEQPACKET && !l->a.has_sender);
}

/* Reading behind the last message, or any datagram, would take the error that waits for its owner. */
static ssize_t look_all(struct looking *l)
{
	struct pollfd p = { l->fd, 0, 0 };
	int total = 0, off = 0;
	uint32_t next;

	poll(&p, 1, 0);
	if (ioctl(l->fd, FIONREAD, &total) < 0)
		return -errno;
	if ((p.revents & POLLERR) && !l->local)
		return 0;
	if ((p.revents & POLLERR) && l->type != SOCK_STREAM)
		return total ? -EIO : 0;
	while (l->type != SOCK_STREAM || off < total) {
		ssize_t n = l->type == SOCK_STREAM ? look_stream(l, off) : look(l, CKPT_PEEK_MAX);

		if (n < 0 || (n == 0 && is_end(l)))
			return n == -EAGAIN ? 0 : n;
		off += (int)n;
		l->a.result = 1;
		/* An engine that has died: what was changed in the socket is put back first. */
		if (send_answer(l) < 0 || recv(l->sock, &next, sizeof(next), 0) != sizeof(next))
			return -EPIPE;
	}
	return 0;
}

static void answer_queue(struct looking *l)
{
	int was = -1, told = 1, on = 1;
	struct ckpt_datagram_options options;
	socklen_t len = sizeof(was);

	if (!l->local)
		ckpt_datagrams_prepare(l->fd, &options);
	getsockopt(l->fd, SOL_SOCKET, SO_PEEK_OFF, &was, &len);
	getsockopt(l->fd, SOL_SOCKET, SO_PASSCRED, &told, &len);
	set_offset(l->fd, 0);
	if (!told && l->type == SOCK_SEQPACKET)
		setsockopt(l->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	l->a.result = (int)look_all(l);
	if (!told && l->type == SOCK_SEQPACKET)
		setsockopt(l->fd, SOL_SOCKET, SO_PASSCRED, &told, sizeof(told));
	set_offset(l->fd, was);
	if (!l->local)
		ckpt_datagrams_restore(l->fd, &options);
	let_go(l);
	send_answer(l);
}

/*
 * Another thread group of the same memory, as a copy of it takes the engine longer than all that is looked at: it has to
 * get its own pages back, one by one, while everything stands still. Nothing of the C library is used but plain system
 * calls; it and the engine's thread share errno, and one of the two always waits for the other.
 */
static int serve(void *arg)
{
	struct ckpt_peeker *p = arg;
	int sock = p->theirs;

	close(p->sock); /* its own, or it would not see the engine's end */
	for (;;) {
		struct looking l = { .sock = sock, .fd = -EBADF, .data = p->data };
		uint32_t what;
		union control c;
		struct iovec iov = { &what, sizeof(what) };
		struct msghdr m = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = c.buf,
				    .msg_controllen = sizeof(c.buf) };
		size_t n = 0;
		int fds[CKPT_PEEK_FDS], domain = AF_UNIX;
		socklen_t len = sizeof(l.type);

		if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) != sizeof(what))
			return 0;
		take_fds(&m, fds, &n);
		if (n != 1)
			return 1;
		l.fd = fds[0];
		getsockopt(l.fd, SOL_SOCKET, SO_TYPE, &l.type, &len);
		getsockopt(l.fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
		l.local = domain == AF_UNIX;
		answer_queue(&l);
		close(l.fd);
	}
}

/* In the engine. */

static pid_t begin_inside(struct ckpt_peeker *p, pid_t init, struct err *e)
{
	cleanup_close int home = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC), its = -EBADF;
	char path[64];
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)init);
	its = open(path, O_RDONLY | O_CLOEXEC);
	if (home < 0 || its < 0 || setns(its, CLONE_NEWPID) < 0)
		return err_sys(e, "enter the VPS's pid namespace");
	pid = clone(serve, (char *)p->stack + STACK, CLONE_VM | SIGCHLD, p);
	if (pid < 0)
		err_sys(e, "make a process in the VPS");
	if (setns(home, CLONE_NEWPID) < 0)
		abort(); /* it was our own: only the kernel being out of memory gets us here */
	return pid;
}

static void *map(size_t size, int flags)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

struct ckpt_peeker *ckpt_peeker_new(pid_t init, struct err *e)
{
	struct ckpt_peeker *p = calloc(1, sizeof(*p));
	int pair[2];

	if (!p || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		err_sys(e, "make a process in the VPS");
		free(p);
		return NULL;
	}
	p->sock = pair[0];
	p->theirs = pair[1];
	p->data = map(CKPT_PEEK_MAX, MAP_PRIVATE);
	p->stack = map(STACK, MAP_PRIVATE | MAP_STACK);
	p->pid = p->data && p->stack ? begin_inside(p, init, e) : err_code(e, -ENOMEM, "look into sockets");
	close(pair[1]);
	if (p->pid < 0) {
		ckpt_peeker_free(p);
		return NULL;
	}
	return p;
}

void ckpt_peeker_free(struct ckpt_peeker *p)
{
	if (!p)
		return;
	close(p->sock);
	while (p->pid > 0 && waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (p->data)
		munmap(p->data, CKPT_PEEK_MAX);
	if (p->stack)
		munmap(p->stack, STACK);
	free(p);
}

static int ask(struct ckpt_peeker *p, uint32_t what, int fd)
{
	union control c = { { 0 } };
	struct iovec iov = { &what, sizeof(what) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *h;

		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int));
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(int));
	}
	return sendmsg(p->sock, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int hear(struct ckpt_peeker *p, struct answer *a, struct ckpt_peeked *ret)
{
	union control c;
	struct iovec iov = { a, sizeof(*a) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = c.buf,
			    .msg_controllen = sizeof(c.buf) };

	if (recvmsg(p->sock, &m, MSG_CMSG_CLOEXEC) != sizeof(*a))
		return -EPIPE;
	take_fds(&m, ret ? ret->fds : NULL, ret ? &ret->fd_count : NULL);
	return a->result;
}

int ckpt_peek(struct ckpt_peeker *p, int fd, ckpt_peek_fn each, void *arg, struct err *e)
{
	struct answer a;
	int r = ask(p, ASK_QUEUE, fd), n = 0;

	while (r == 0) {
		struct ckpt_peeked m = { .data = p->data };

		r = hear(p, &a, &m);
		if (r <= 0)
			break;
		m.len = a.len;
		m.from = a.from;
		m.from_len = a.from_len;
		m.has_sender = a.has_sender;
		m.sender = a.cred;
		m.has_datagram = a.has_datagram;
		m.datagram = a.datagram;
		/* It is heard to its end, so that the next question finds its answer. */
		if (n == 0)
			n = each(&m, arg, e);
		for (size_t i = 0; i < m.fd_count; i++)
			if (m.fds[i] >= 0)
				close(m.fds[i]);
		r = ask(p, ASK_NEXT, -1);
	}
	return n < 0 ? n : r < 0 ? err_code(e, r, "look at what is queued in a socket") : 0;
}
