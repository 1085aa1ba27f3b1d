/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * WireGuard's links: keys, peers and where these are, as the kernel tells it (uapi/linux/wireguard.h), in the messages
 * by which it is told. Keys of sessions it tells nobody: a new handshake takes their place.
 */
#include "checkpoint/netlinks.h"

#include "base/macro.h"
#include "checkpoint/image/image.h"
#include "checkpoint/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/wireguard.h>
#include <net/if.h>
#include <netinet/in.h>
#include <time.h>

#define KIND "wireguard"
#define SESSION_S 180 /* REJECT_AFTER_TIME: older sessions are none */
#define SOON 65535    /* seconds of a keepalive that is switched off at once */

static int take_family(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *a = nl_attr(m, GENL_HDRLEN, CTRL_ATTR_FAMILY_ID);

	if (a && mnl_attr_get_payload_len(a) == 2)
		*(uint16_t *)arg = mnl_attr_get_u16(a);
	return 0;
}

/* Its number on this machine; it has one when a link of it was made. */
static int find_family(struct nl *n, uint16_t *ret, struct err *e)
{
	struct genlmsghdr g = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 };
	struct nlmsghdr *q = nl_begin(n, GENL_ID_CTRL, 0, &g, sizeof(g), "look for");

	if (q)
		mnl_attr_put_strz(q, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
	nl_end(n, q);
	*ret = 0;
	return nl_talk(n, "WireGuard in the kernel", take_family, ret, e);
}

/*
 * Saved.
 */

static bool is_recent(const struct nlattr *a, time_t now)
{
	struct __kernel_timespec t;

	if (mnl_attr_get_payload_len(a) != sizeof(t))
		return false;
	memcpy(&t, mnl_attr_get_payload(a), sizeof(t));
	return t.tv_sec && now - t.tv_sec < SESSION_S;
}

static void tidy_peer(struct nlmsghdr *q, const struct nlattr *peer, time_t now)
{
	struct nlattr *nest = mnl_attr_nest_start(q, mnl_attr_get_type(peer));
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, peer) {
		switch (mnl_attr_get_type(a)) {
		case WGPEER_A_LAST_HANDSHAKE_TIME:
			if (!is_recent(a, now))
				break; /* there is no session to make up for */
			/* fall through */
		case WGPEER_A_PUBLIC_KEY:
		case WGPEER_A_PRESHARED_KEY:
		case WGPEER_A_ENDPOINT:
		case WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
		case WGPEER_A_ALLOWEDIPS:
			mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
		}
	}
	mnl_attr_nest_end(q, nest);
}

static void tidy_device(struct nlmsghdr *q, const struct nlmsghdr *m, time_t now)
{
	struct nlattr *nest;
	const struct nlattr *a, *b;

	mnl_attr_for_each(a, m, GENL_HDRLEN) {
		switch (mnl_attr_get_type(a)) {
		case WGDEVICE_A_IFINDEX:
		case WGDEVICE_A_PRIVATE_KEY:
		case WGDEVICE_A_LISTEN_PORT:
		case WGDEVICE_A_FWMARK:
			mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
			break;
		case WGDEVICE_A_PEERS:
			nest = mnl_attr_nest_start(q, WGDEVICE_A_PEERS);
			mnl_attr_for_each_nested(b, a)
				tidy_peer(q, b, now);
			mnl_attr_nest_end(q, nest);
		}
	}
}

struct taking {
	net_each_fn fn;
	void *arg;
	uint16_t family;
	uint32_t index;
};

/* A device with many peers, or a peer with many addresses, comes in several messages. */
static int take_device(const struct nlmsghdr *m, void *arg)
{
	const struct taking *t = arg;
	uint8_t buf[NET_MESSAGE_MAX];
	struct genlmsghdr *g;
	struct nlmsghdr *q;

	if (m->nlmsg_type != t->family || m->nlmsg_len < NLMSG_LENGTH(GENL_HDRLEN))
		return 0;
	if (m->nlmsg_len > sizeof(buf) - 1024)
		return -EMSGSIZE;
	memset(buf, 0, m->nlmsg_len + 64);
	q = mnl_nlmsg_put_header(buf);
	q->nlmsg_type = net_parts[CKPT_NET_WIREGUARD].add;
	g = mnl_nlmsg_put_extra_header(q, sizeof(*g));
	*g = (struct genlmsghdr){ .cmd = WG_CMD_SET_DEVICE, .version = WG_GENL_VERSION };
	/* Only the first of several says whose it is. */
	if (!nl_attr(m, GENL_HDRLEN, WGDEVICE_A_IFINDEX))
		mnl_attr_put_u32(q, WGDEVICE_A_IFINDEX, t->index);
	tidy_device(q, m, time(NULL));
	return t->fn(CKPT_NET_WIREGUARD, q, t->arg);
}

int net_wireguards_list(const struct net_walk *links, int netns_fd, net_each_fn fn, void *arg, struct err *e)
{
	struct taking t = { .fn = fn, .arg = arg };
	struct net_walk w = *links;
	cleanup_nl struct nl n = NL_INIT;
	struct net_link l;
	int r = 0;

	while (r == 0 && net_link_next(&w, &l)) {
		struct genlmsghdr g = { .cmd = WG_CMD_GET_DEVICE, .version = WG_GENL_VERSION };
		struct nlmsghdr *q;

		if (!STREQ(l.kind, KIND))
			continue;
		if (n.fd < 0) {
			r = nl_open(&n, NETLINK_GENERIC, netns_fd, e);
			r = r < 0 ? r : find_family(&n, &t.family, e);
			if (r < 0)
				return r;
		}
		t.index = (uint32_t)l.ifi->ifi_index;
		q = nl_begin(&n, t.family, NLM_F_DUMP, &g, sizeof(g), "look at");
		if (q)
			mnl_attr_put_u32(q, WGDEVICE_A_IFINDEX, (uint32_t)l.ifi->ifi_index);
		nl_end(&n, q);
		r = nl_talk(&n, l.name, take_device, &t, e);
	}
	return r;
}

/*
 * The namespace where a link was made, which its socket stays in when it goes elsewhere, is told by nothing but that
 * socket, which it has while it is up.
 */

static const struct nlmsghdr *find_device(const struct net_walk *all, int index)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;

	w.part = CKPT_NET_WIREGUARD;
	while ((m = net_next(&w))) {
		const struct nlattr *a = nl_attr(m, GENL_HDRLEN, WGDEVICE_A_IFINDEX);

		if (a && mnl_attr_get_payload_len(a) == 4 && mnl_attr_get_u32(a) == (uint32_t)index)
			return m;
	}
	return NULL;
}

struct looking {
	uint16_t port;
	bool found;
};

static int hear_socket(const struct nlmsghdr *m, void *arg)
{
	const struct inet_diag_msg *d = mnl_nlmsg_get_payload(m);
	struct looking *l = arg;

	if (m->nlmsg_type == SOCK_DIAG_BY_FAMILY && m->nlmsg_len >= NLMSG_LENGTH(sizeof(*d)) &&
	    ntohs(d->id.idiag_sport) == l->port && !d->id.idiag_src[0] && !d->id.idiag_dst[0])
		l->found = true;
	return 0;
}

static int has_socket(int netns_fd, uint16_t port, bool *ret, struct err *e)
{
	struct inet_diag_req_v2 d = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_UDP,
				      .idiag_states = UINT32_MAX };
	struct looking l = { .port = port };
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_SOCK_DIAG, netns_fd, e);

	if (r < 0)
		return r;
	nl_end(&n, nl_begin(&n, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &d, sizeof(d), "list"));
	r = nl_talk(&n, "UDP sockets", hear_socket, &l, e);
	*ret = l.found;
	return r;
}

struct homes {
	uint32_t id; /* in an image */
	unsigned found, of;
};

static int find_homes(const struct ckpt_dump *d, uint16_t port, struct homes *ret, struct err *e)
{
	int r = 0;

	*ret = (struct homes){ 0 };
	for (uint32_t id = 1; r == 0 && id <= d->tree.space_count; id++) {
		bool here = false;

		if (d->tree.spaces[id - 1]->kind != CKPT_SPACE_NET)
			continue;
		ret->of++;
		if (port)
			r = has_socket(d->spaces.space[id - 1].fd, port, &here, e);
		if (!here)
			continue;
		ret->found++;
		ret->id = id == d->spaces.main[CKPT_SPACE_NET] ? 0 : id;
	}
	return r;
}

static int cannot_be_told(const struct net_link *l, const char *why, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED,
		       "the VPS has an interface %s of kind wireguard, %s: it cannot be told in which network "
		       "namespace its socket is", l->name, why);
}

/* As kinds of links have it whose parent's namespace the kernel tells. */
static int say_home(struct ckpt_dump *d, ProtobufCBinaryData *link, uint32_t id, struct err *e)
{
	uint8_t *more = ckpt_alloc(&d->tree.arena, link->len + 64);

	if (!more)
		return err_code(e, -ENOMEM, "collect the network");
	memset(more, 0, link->len + 64);
	memcpy(more, link->data, link->len);
	mnl_attr_put_u32((struct nlmsghdr *)more, IFLA_LINK_NETNSID, id);
	link->data = more;
	link->len = ((struct nlmsghdr *)more)->nlmsg_len;
	return 0;
}

static int find_home(struct ckpt_dump *d, const struct net_walk *all, const struct net_link *l,
		     ProtobufCBinaryData *link, struct err *e)
{
	const struct nlmsghdr *m = find_device(all, l->ifi->ifi_index);
	const struct nlattr *a = m ? nl_attr(m, GENL_HDRLEN, WGDEVICE_A_LISTEN_PORT) : NULL;
	uint16_t port = a && mnl_attr_get_payload_len(a) == 2 ? mnl_attr_get_u16(a) : 0;
	bool up = l->ifi->ifi_flags & IFF_UP;
	struct homes h;
	int r = find_homes(d, up ? port : 0, &h, e);

	if (r < 0)
		return r;
	if (!up)
		return h.of > 1 ? cannot_be_told(l, "which is down", e) : 0;
	if (h.found == 0)
		return cannot_be_told(l, "which was made outside of it or in one that is gone", e);
	if (h.found > 1)
		return cannot_be_told(l, "whose port is in use in several of them", e);
	return h.id == all->ns ? 0 : say_home(d, link, h.id, e);
}

int ckpt_wireguards_find(struct ckpt_dump *d, Ckpt__NetState *const *states, size_t count, struct err *e)
{
	struct net_walk w = { .states = states, .count = count, .ns = count ? states[0]->ns : 0,
			      .part = CKPT_NET_LINK };
	const struct net_walk all = w;
	struct net_link l;
	int r = 0;

	while (r == 0 && net_link_next(&w, &l))
		if (STREQ(l.kind, KIND))
			r = find_home(d, &all, &l, &w.states[w.i]->message[w.k - 1], e);
	return r;
}

/*
 * Restored.
 */

/* `quiet`: nothing is sent because of it, as nobody could answer yet. */
static void put_peer(struct nlmsghdr *q, const struct nlattr *peer, bool quiet)
{
	struct nlattr *nest = mnl_attr_nest_start(q, mnl_attr_get_type(peer));
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, peer) {
		uint16_t type = mnl_attr_get_type(a);

		if (type != WGPEER_A_LAST_HANDSHAKE_TIME && !(quiet && type == WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL))
			mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	}
	mnl_attr_nest_end(q, nest);
}

static struct nlmsghdr *begin(struct nl *n, uint16_t family, const char *what)
{
	struct genlmsghdr g = { .cmd = WG_CMD_SET_DEVICE, .version = WG_GENL_VERSION };

	return nl_begin(n, family, 0, &g, sizeof(g), what);
}

static void put_device(struct nl *n, uint16_t family, const struct nlmsghdr *m, bool quiet)
{
	struct nlmsghdr *q = begin(n, family, "set the keys and peers");
	struct nlattr *nest;
	const struct nlattr *a, *b;

	if (q)
		mnl_attr_for_each(a, m, GENL_HDRLEN) {
			if (mnl_attr_get_type(a) != WGDEVICE_A_PEERS) {
				mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
				continue;
			}
			nest = mnl_attr_nest_start(q, WGDEVICE_A_PEERS);
			mnl_attr_for_each_nested(b, a)
				put_peer(q, b, quiet);
			mnl_attr_nest_end(q, nest);
		}
	nl_end(n, q);
}

int net_wireguards_restore(const struct net_walk *all, struct err *e)
{
	struct net_walk w = *all;
	cleanup_nl struct nl n = NL_INIT;
	const struct nlmsghdr *m;
	uint16_t family = 0;
	int r = 0;

	w.part = CKPT_NET_WIREGUARD;
	while (r == 0 && (m = net_next(&w))) {
		if (n.fd < 0) {
			r = nl_open(&n, NETLINK_GENERIC, -1, e);
			r = r < 0 ? r : find_family(&n, &family, e);
			if (r < 0)
				return r;
		}
		put_device(&n, family, m, all->ns == 0);
		r = nl_talk(&n, "an interface of WireGuard", NULL, NULL, e);
	}
	return r;
}

static void put_keepalive(struct nl *n, uint16_t family, const struct nlattr *index, const struct nlattr *key,
			  uint16_t seconds)
{
	struct nlmsghdr *q = begin(n, family, "wake a peer");
	struct nlattr *peers, *peer;

	if (q) {
		mnl_attr_put(q, WGDEVICE_A_IFINDEX, 4, mnl_attr_get_payload(index));
		peers = mnl_attr_nest_start(q, WGDEVICE_A_PEERS);
		peer = mnl_attr_nest_start(q, 0);
		mnl_attr_put(q, WGPEER_A_PUBLIC_KEY, WG_KEY_LEN, mnl_attr_get_payload(key));
		mnl_attr_put_u32(q, WGPEER_A_FLAGS, WGPEER_F_UPDATE_ONLY);
		mnl_attr_put_u16(q, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, seconds);
		mnl_attr_nest_end(q, peer);
		mnl_attr_nest_end(q, peers);
	}
	nl_end(n, q);
}

/* Its keepalive begins, or is as if it did: who had a session hears at once that there is to be another, and need not
 * find out that the one it has leads nowhere (15 s after it has sent). */
static void wake_peer(struct nl *n, uint16_t family, const struct nlattr *index, const struct nlattr *peer)
{
	const struct nlattr *key = nl_nested(peer, WGPEER_A_PUBLIC_KEY),
			    *every = nl_nested(peer, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL);
	uint16_t seconds = every && mnl_attr_get_payload_len(every) == 2 ? mnl_attr_get_u16(every) : 0;

	if (!key || mnl_attr_get_payload_len(key) != WG_KEY_LEN)
		return;
	if (seconds) {
		put_keepalive(n, family, index, key, seconds);
	} else if (nl_nested(peer, WGPEER_A_LAST_HANDSHAKE_TIME)) {
		put_keepalive(n, family, index, key, SOON);
		put_keepalive(n, family, index, key, 0);
	}
}

int ckpt_wireguards_wake(Ckpt__NetState *const *states, size_t count, int netns_fd, struct err *e)
{
	struct net_walk w = { .states = states, .count = count, .part = CKPT_NET_WIREGUARD };
	cleanup_nl struct nl n = NL_INIT;
	const struct nlmsghdr *m;
	uint16_t family = 0;
	int r = 0;

	while (r == 0 && (m = net_next(&w))) {
		const struct nlattr *index = nl_attr(m, GENL_HDRLEN, WGDEVICE_A_IFINDEX),
				    *peers = nl_attr(m, GENL_HDRLEN, WGDEVICE_A_PEERS), *a;

		if (!index || mnl_attr_get_payload_len(index) != 4 || !peers)
			continue;
		if (n.fd < 0) {
			r = nl_open(&n, NETLINK_GENERIC, netns_fd, e);
			r = r < 0 ? r : find_family(&n, &family, e);
			if (r < 0)
				return r;
		}
		mnl_attr_for_each_nested(a, peers)
			wake_peer(&n, family, index, a);
		r = nl_talk(&n, "an interface of WireGuard", NULL, NULL, e);
	}
	return r;
}
