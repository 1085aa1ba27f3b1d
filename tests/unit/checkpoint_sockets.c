/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a hostile image may say of sockets and networks: each change of a good one is refused. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"
#include "checkpoint/netstate.h"
#include "checkpoint/sockets.h"
#include "checkpoint/unix.h"
#include "tests/unit/tap.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

/* A pair of unix sockets, a TCP connection, a listener, and something queued. */
struct image {
	struct ckpt_tree t;
	Ckpt__File file[4], *files[4];
	Ckpt__Socket socket[4];
	Ckpt__UnixSocket local[2];
	Ckpt__Tcp tcp;
	Ckpt__SocketOption option, *options[1];
	Ckpt__SocketData data, *queues[1];
	struct sockaddr_in addr;
	struct sockaddr_un name;
	struct tcp_repair_window window;
	int value;
	uint32_t rights[1];
};

static void make_tcp(struct image *m)
{
	m->addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(80) };
	ckpt__tcp__init(&m->tcp);
	m->tcp.window = (ProtobufCBinaryData){ sizeof(m->window), (uint8_t *)&m->window };
	for (int i = 2; i < 4; i++) {
		m->file[i].kind = CKPT_FILE_INET;
		m->socket[i].family = AF_INET;
		m->socket[i].type = SOCK_STREAM;
		m->socket[i].name = (ProtobufCBinaryData){ sizeof(m->addr), (uint8_t *)&m->addr };
	}
	m->socket[2].state = TCP_ESTABLISHED;
	m->socket[2].peer = m->socket[2].name;
	m->socket[2].tcp = &m->tcp;
	m->socket[3].state = TCP_LISTEN;
	ckpt__socket_option__init(&m->option);
	m->option.level = SOL_SOCKET;
	m->option.name = SO_KEEPALIVE;
	m->option.value = (ProtobufCBinaryData){ sizeof(m->value), (uint8_t *)&m->value };
	m->options[0] = &m->option;
	m->socket[2].option = m->options;
	m->socket[2].n_option = 1;
}

static void make(struct image *m)
{
	*m = (struct image){ .name = { .sun_family = AF_UNIX }, .rights = { 1 } };
	for (int i = 0; i < 4; i++) {
		ckpt__file__init(&m->file[i]);
		ckpt__socket__init(&m->socket[i]);
		m->file[i].socket = &m->socket[i];
		m->files[i] = &m->file[i];
	}
	for (int i = 0; i < 2; i++) {
		ckpt__unix_socket__init(&m->local[i]);
		m->file[i].kind = CKPT_FILE_UNIX;
		m->socket[i].family = AF_UNIX;
		m->socket[i].type = SOCK_STREAM;
		m->socket[i].local = &m->local[i];
		m->local[i].link = CKPT_UNIX_PAIR;
		m->local[i].peer = (uint32_t)(2 - i);
	}
	make_tcp(m);
	ckpt__socket_data__init(&m->data);
	m->data.file = 2;
	m->data.rights = m->rights;
	m->data.n_rights = 1;
	m->queues[0] = &m->data;
	m->t.files = m->files;
	m->t.file_count = 4;
	m->t.queues = m->queues;
	m->t.queue_count = 1;
}

static bool is_good(struct image *m)
{
	struct err e = { 0 };

	return ckpt_sockets_check(&m->t, &e) == 0;
}

/* A good one, but for what `change` does. */
#define REFUSED(what, change)           \
	do {                            \
		struct image m;         \
		make(&m);               \
		change;                 \
		ok(!is_good(&m), what); \
	} while (0)

TEST(sockets)
{
	struct image good;

	make(&good);
	ok(is_good(&good), "a good image");
	REFUSED("a socket without its record", m.file[0].socket = NULL);
	REFUSED("a kind of another family", m.file[2].kind = CKPT_FILE_UNIX);
	REFUSED("an address of another family", m.addr.sin_family = AF_UNIX);
	REFUSED("a short address", m.socket[2].peer.len = 8);
	REFUSED("a long address", m.socket[3].name.len = sizeof(m.addr) + 1);
	REFUSED("a connection without its numbers", m.socket[2].tcp = NULL);
	REFUSED("a state that there is not", m.socket[2].state = 77);
	REFUSED("a window of the wrong size", m.tcp.window.len = 3);
	REFUSED("a scale that is too big", m.tcp.send_scale = 15);
	REFUSED("an option that is not in the table", m.option.name = SO_DEBUG);
	REFUSED("an option that is too long", m.option.value.len = 65);
	REFUSED("a pair with nobody", m.local[0].peer = 9);
	REFUSED("a pair with another kind", m.local[0].peer = 3);
	REFUSED("a pair with itself", m.local[0].peer = 1);
	REFUSED("a pair of one side", m.local[1].link = CKPT_UNIX_ALONE);
	REFUSED("a link that there is not", m.local[1].link = CKPT_UNIX_LINK_COUNT);
	REFUSED("a path without one", m.local[0].bound = CKPT_UNIX_LIVE);
	REFUSED("something queued for no file", m.data.file = 5);
	REFUSED("an open file under way that there is not", m.rights[0] = 5);
	REFUSED("very many under way", m.data.n_rights = 254);
	REFUSED("a sender's address that is too long", m.data.from.len = 200);
}

/* The first waits for the second to accept it, and has spoken. */
static void make_waiting(struct image *m)
{
	make(m);
	m->name.sun_path[0] = '/';
	for (int i = 0; i < 2; i++)
		m->local[i].link = CKPT_UNIX_FREE;
	m->socket[1].state = TCP_LISTEN;
	m->socket[1].name = m->socket[0].peer = (ProtobufCBinaryData){ sizeof(m->name), (uint8_t *)&m->name };
	m->local[0].link = CKPT_UNIX_WAITING;
	m->data.file = 1;
	m->data.queue = 1;
	m->data.n_rights = 0;
}

TEST(waiting)
{
	Ckpt__Credentials who = CKPT__CREDENTIALS__INIT;
	struct image m;

	make_waiting(&m);
	ok(is_good(&m), "one that waits");
	m.local[0].peer = 1;
	ok(!is_good(&m), "who waits for itself");
	make_waiting(&m);
	m.socket[1].state = TCP_CLOSE;
	ok(!is_good(&m), "who waits for one that does not listen");
	make_waiting(&m);
	m.socket[0].peer.len = 3;
	ok(!is_good(&m), "who waits by another name");
	make_waiting(&m);
	m.data.queue = 0;
	ok(!is_good(&m), "who waits and has something to read");
	make_waiting(&m);
	m.data.file = 2;
	ok(!is_good(&m), "a listener that has spoken");
	make_waiting(&m);
	who.pid = 5000000;
	m.local[0].connector = &who;
	ok(!is_good(&m), "a number that nobody has");
}

/* The third is a datagram socket with one that waits. */
static void make_datagram(struct image *m)
{
	make(m);
	m->socket[2].type = SOCK_DGRAM;
	m->socket[2].protocol = IPPROTO_UDP;
	m->socket[2].tcp = NULL;
	m->socket[2].n_option = 0;
	m->data.file = 3;
	m->data.n_rights = 0;
	m->data.from = m->data.to = m->socket[2].name;
}

#define REFUSED_DATAGRAM(what, change)  \
	do {                            \
		struct image m;         \
		make_datagram(&m);      \
		change;                 \
		ok(!is_good(&m), what); \
	} while (0)

TEST(datagrams)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct image good;

	make_datagram(&good);
	ok(is_good(&good), "a datagram that waits");
	good.data.queue = 1;
	good.data.from.len = 0;
	ok(is_good(&good), "a datagram that is half written");
	good.data.to.len = 0;
	ok(!is_good(&good), "one that goes nowhere");
	REFUSED_DATAGRAM("one for a raw socket", m.socket[2].type = SOCK_RAW);
	REFUSED_DATAGRAM("one that is to be sent, from somebody", m.data.queue = 1);
	REFUSED_DATAGRAM("one with open files", m.data.n_rights = 1);
	REFUSED_DATAGRAM("one that is too long", m.data.data.len = 65508);
	REFUSED_DATAGRAM("one from nowhere", m.data.from.len = 0);
	REFUSED_DATAGRAM("one to a short address", m.data.to.len = 4);
	REFUSED_DATAGRAM("one to another family", m.data.to = ((ProtobufCBinaryData){ sizeof(m.addr), (uint8_t *)&six }));
	REFUSED_DATAGRAM("one with an odd type of service", m.data.tos = 256);
	REFUSED_DATAGRAM("one with an odd time to live", m.data.ttl = 256);
	REFUSED_DATAGRAM("segments that are too long", m.data.segment = 65508);
}

static bool is_good_net(uint32_t part, void *data, size_t len)
{
	ProtobufCBinaryData b = { len, data };
	Ckpt__NetState s = CKPT__NET_STATE__INIT, *states[] = { &s };
	struct err e = { 0 };

	s.part = part;
	s.message = &b;
	s.n_message = 1;
	return ckpt_netstate_check(states, 1, &e) == 0;
}

TEST(networks)
{
	struct {
		struct nlmsghdr h;
		struct rtmsg m;
	} q = { { sizeof(q), RTM_NEWROUTE, 0, 0, 0 }, { 0 } };
	char good[] = "ipv4/ip_forward\0001\n", up[] = "../kernel/core_pattern\000x",
	     root[] = "/etc/passwd\000x", whole[] = "ipv4/ip_forward";

	ok(is_good_net(CKPT_NET_ROUTE, &q, sizeof(q)), "a route");
	ok(!is_good_net(CKPT_NET_LINK, &q, sizeof(q)), "a message of another part");
	ok(!is_good_net(0, &q, sizeof(q)), "no part");
	ok(!is_good_net(CKPT_NET_PART_COUNT, &q, sizeof(q)), "a part that there is not");
	ok(!is_good_net(CKPT_NET_ROUTE, &q, sizeof(q) - 1), "a message that is cut off");
	q.h.nlmsg_len = 4096;
	ok(!is_good_net(CKPT_NET_ROUTE, &q, sizeof(q)), "a message longer than it is");
	q.h.nlmsg_len = sizeof(q.h);
	ok(!is_good_net(CKPT_NET_ROUTE, &q, sizeof(q.h)), "a message without its fixed part");
	ok(is_good_net(CKPT_NET_SWITCH, good, sizeof(good) - 1), "a switch");
	ok(!is_good_net(CKPT_NET_SWITCH, up, sizeof(up) - 1), "a switch elsewhere");
	ok(!is_good_net(CKPT_NET_SWITCH, root, sizeof(root) - 1), "an absolute path");
	ok(!is_good_net(CKPT_NET_SWITCH, whole, sizeof(whole) - 1), "a switch without a value");
}
