/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/nl.h"

#include "base/macro.h"
#include "netns/internal.h"

#include <linux/netlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define MESSAGE_ROOM (72 * 1024) /* an attribute's length has 16 bits */
#define ANSWER_ROOM (64 * 1024)

static bool stays;
static int kept = -EBADF;

void nl_stay(void)
{
	stays = true;
}

int nl_open(struct nl *n, int protocol, int netns_fd, struct err *e)
{
	int on = 1;

	*n = (struct nl)NL_INIT;
	n->fd = netns_socket(netns_fd, AF_NETLINK, SOCK_RAW, protocol, e);
	if (n->fd < 0)
		return n->fd;
	n->first_seq = 1;
	/* Errors without a copy of the request (Linux 4.3), with a text (Linux 4.12). */
	setsockopt(n->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	setsockopt(n->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	return 0;
}

int nl_open_rules(struct nl *n, struct err *e)
{
	int r = 0;

	if (stays && kept >= 0)
		*n = (struct nl){ .fd = TAKE_FD(kept), .first_seq = 1 };
	else
		r = nl_open(n, NETLINK_NETFILTER, -EBADF, e);
	n->kept = stays && r == 0;
	return r;
}

void nl_done(struct nl *n)
{
	if (n->kept && kept < 0)
		kept = TAKE_FD(n->fd);
	fd_close(&n->fd);
	free(n->buf);
	free(n->what);
	n->buf = NULL;
	n->what = NULL;
}

static int make_room(struct nl *n)
{
	if (n->room - n->len < MESSAGE_ROOM) {
		size_t room = n->room * 2 + MESSAGE_ROOM;
		char *bigger = realloc(n->buf, room);

		if (!bigger)
			return -ENOMEM;
		n->buf = bigger;
		n->room = room;
	}
	if (n->count == n->what_room) {
		size_t room = n->what_room * 2 + 32;
		struct nl_what *bigger = realloc(n->what, room * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		n->what = bigger;
		n->what_room = room;
	}
	return 0;
}

struct nlmsghdr *nl_begin(struct nl *n, uint16_t type, uint16_t flags, const void *extra,
			  size_t extra_len, const char *what)
{
	struct nlmsghdr *m;

	if (n->no_memory || make_room(n) < 0) {
		n->no_memory = true;
		return NULL;
	}
	m = mnl_nlmsg_put_header(n->buf + n->len);
	m->nlmsg_type = type;
	m->nlmsg_flags = NLM_F_REQUEST | flags;
	m->nlmsg_seq = n->first_seq + n->count;
	memcpy(mnl_nlmsg_put_extra_header(m, extra_len), extra, extra_len);
	n->what[n->count] = (struct nl_what){ .text = what };
	return m;
}

void nl_end(struct nl *n, struct nlmsghdr *m)
{
	if (!m)
		return;
	/* Whoever makes messages of what others said bounds them. */
	if ((size_t)((char *)m - n->buf) + m->nlmsg_len > n->room)
		abort();
	n->len += MNL_ALIGN(m->nlmsg_len);
	n->count++;
}

void nl_ignore(struct nl *n, int errnum)
{
	int *ignore;

	if (!n->count || n->no_memory)
		return;
	ignore = n->what[n->count - 1].ignore;
	ignore[ignore[0] != 0] = errnum;
}

const struct nlattr *nl_attr(const struct nlmsghdr *m, size_t head, uint16_t type)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, m, head)
		if (mnl_attr_get_type(a) == type)
			return a;
	return NULL;
}

const struct nlattr *nl_nested(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *a;

	if (nest)
		mnl_attr_for_each_nested(a, nest)
			if (mnl_attr_get_type(a) == type)
				return a;
	return NULL;
}

bool nl_attr_is(const struct nlattr *a, const char *text)
{
	return a && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0 && strcmp(mnl_attr_get_str(a), text) == 0;
}

static const char *ext_text(const struct nlmsghdr *m, const struct nlmsgerr *ne)
{
	size_t skip = sizeof(*ne);
	const struct nlattr *a;

	if (!(m->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(m->nlmsg_flags & NLM_F_CAPPED))
		skip += ne->msg.nlmsg_len - sizeof(ne->msg);
	a = nl_attr(m, skip, NLMSGERR_ATTR_MSG);
	return a ? mnl_attr_get_str(a) : NULL;
}

struct talk {
	const char *subject;
	nl_data_fn data;
	void *ctx;
	struct err *e;
	int result;
};

static void take_error(struct nl *n, struct talk *t, const struct nlmsghdr *m, int error, const char *text)
{
	uint32_t at = m->nlmsg_seq - n->first_seq;

	if (error == 0 || t->result < 0)
		return;
	if (at < n->count && (n->what[at].ignore[0] == -error || n->what[at].ignore[1] == -error))
		return;
	/* nftables answers the end of a transaction under the number of its beginning. */
	t->result = err_code(t->e, error, "%s of %s%s%s",
			     at < n->count ? n->what[at].text : "change", t->subject,
			     text ? ": " : "", text ? text : "");
}

/* A dump that failed on its way tells so at its end (net/netlink/af_netlink.c, netlink_dump_done()). */
static int end_error(const struct nlmsghdr *m)
{
	const int *error = mnl_nlmsg_get_payload(m);

	return mnl_nlmsg_get_payload_len(m) >= sizeof(*error) && *error < 0 ? *error : 0;
}

/* Returns 1 at the end of a dump. */
static int take_answers(struct nl *n, struct talk *t, const char *buf, size_t len)
{
	const struct nlmsghdr *m = (const struct nlmsghdr *)buf;
	int left = (int)len, done = 0;

	for (; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left)) {
		if (m->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *ne = mnl_nlmsg_get_payload(m);

			take_error(n, t, m, ne->error, ext_text(m, ne));
		} else if (m->nlmsg_type == NLMSG_DONE) {
			take_error(n, t, m, end_error(m), NULL);
			done = 1;
		} else if (m->nlmsg_type >= NLMSG_MIN_TYPE && t->data && t->result >= 0) {
			int r = t->data(m, t->ctx);

			if (r < 0)
				t->result = r;
		}
	}
	return done;
}

static int receive(struct nl *n, struct talk *t)
{
	cleanup_free char *answer = malloc(ANSWER_ROOM);

	if (!answer)
		return err_code(t->e, -ENOMEM, "talk to the kernel about %s", t->subject);
	/* What was asked has been worked off when sendmsg() returned, and the next part of a dump is
	 * made when the one before it is read: an empty queue is the end. */
	for (;;) {
		ssize_t got = recv(n->fd, answer, ANSWER_ROOM, MSG_DONTWAIT | MSG_TRUNC);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return 0;
		if (got < 0)
			return err_sys(t->e, "read the kernel's answer about %s", t->subject);
		if ((size_t)got > ANSWER_ROOM)
			return err_code(t->e, -EMSGSIZE, "read the kernel's answer about %s",
					t->subject);
		take_answers(n, t, answer, (size_t)got);
	}
}

int nl_talk(struct nl *n, const char *subject, nl_data_fn data, void *ctx, struct err *e)
{
	struct talk t = { .subject = subject, .data = data, .ctx = ctx, .e = e };
	int size = (int)n->len * 2, r = 0;

	if (n->no_memory)
		return err_code(e, -ENOMEM, "talk to the kernel about %s", subject);
	if (n->count == 0)
		return 0;
	/* The default lets some 200 KiB through; beyond that sendmsg() says EMSGSIZE. The answers to
	 * a few thousand requests overrun the receiving side's default too. */
	if (n->len > 64 * 1024) {
		setsockopt(n->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
		setsockopt(n->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	}
	if (send(n->fd, n->buf, n->len, 0) < 0)
		r = err_sys(e, "talk to the kernel about %s", subject);
	else
		r = receive(n, &t);
	n->kept = n->kept && r == 0; /* else answers may be left in it */
	n->first_seq += n->count;
	n->count = 0;
	n->len = 0;
	return r < 0 ? r : t.result;
}

int nl_talk_if_much(struct nl *n, const char *subject, struct err *e)
{
	return n->len > 128 * 1024 ? nl_talk(n, subject, NULL, NULL, e) : 0;
}

int nl_ifindex(const struct nl *n, const char *name)
{
	struct ifreq ifr = { 0 };

	/* Any socket takes the interface ioctls (netdevice(7)), in its own namespace. */
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return ioctl(n->fd, SIOCGIFINDEX, &ifr) < 0 ? 0 : ifr.ifr_ifindex;
}
