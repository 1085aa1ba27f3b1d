/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What options sockets have, of all families, and what is special about each. */
#include "checkpoint/sockopt_internal.h"

#include "base/macro.h"
#include "checkpoint/tcp.h"

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#define VALUE_MAX 64

/* Newer than some headers. */
enum { SO_BINDTOIFINDEX_ = 62, SO_TIMESTAMP_NEW_ = 63, SO_TIMESTAMPNS_NEW_ = 64, SO_TIMESTAMPING_NEW_ = 65,
       SO_PREFER_BUSY_POLL_ = 69, SO_RESERVE_MEM_ = 73, SO_TXREHASH_ = 74, SO_RCVMARK_ = 75, SO_PASSPIDFD_ = 76,
       SO_RCVPRIORITY_ = 82, SO_PASSRIGHTS_ = 83, SO_INQ_ = 84, TCP_RTO_MAX_MS_ = 44, TCP_RTO_MIN_US_ = 45,
       TCP_DELACK_MAX_US_ = 46, PACKET_VNET_HDR_SZ_ = 24 };

const struct sockopt_row sockopt_rows[] = {
	{ SOL_SOCKET, SO_REUSEADDR, SOCKOPT_EARLY },
	{ SOL_SOCKET, SO_REUSEPORT, SOCKOPT_EARLY },
	{ SOL_SOCKET, SO_BINDTODEVICE, SOCKOPT_EARLY },
	{ SOL_SOCKET, SO_BINDTOIFINDEX_, SOCKOPT_EARLY | SOCKOPT_NAMELESS },
	{ SOL_SOCKET, SO_MARK, SOCKOPT_EARLY },
	{ SOL_IP, IP_FREEBIND, SOCKOPT_EARLY },
	{ SOL_IP, IP_TRANSPARENT, SOCKOPT_EARLY },
	{ SOL_IP, IP_BIND_ADDRESS_NO_PORT, SOCKOPT_EARLY },
	{ SOL_IP, 51 /* IP_LOCAL_PORT_RANGE */, SOCKOPT_EARLY },
	{ SOL_IPV6, IPV6_V6ONLY, SOCKOPT_EARLY },
	{ SOL_IPV6, IPV6_FREEBIND, SOCKOPT_EARLY },
	{ SOL_IPV6, IPV6_TRANSPARENT, SOCKOPT_EARLY },
	{ SOL_IPV6, IPV6_ADDR_PREFERENCES, SOCKOPT_EARLY },
	{ SOL_IP, IP_HDRINCL, SOCKOPT_EARLY },
	{ SOL_IPV6, IPV6_HDRINCL, SOCKOPT_EARLY },

	/* The type of service sets the priority, so that comes behind it. */
	{ SOL_IP, IP_TOS, 0 },
	{ SOL_IP, IP_TTL, 0 },
	{ SOL_IP, IP_OPTIONS, 0 },
	{ SOL_IP, IP_PKTINFO, 0 },
	{ SOL_IP, IP_RECVTTL, 0 },
	{ SOL_IP, IP_RECVTOS, 0 },
	{ SOL_IP, IP_RECVOPTS, 0 },
	{ SOL_IP, IP_RETOPTS, 0 },
	{ SOL_IP, IP_PASSSEC, 0 },
	{ SOL_IP, IP_RECVORIGDSTADDR, 0 },
	{ SOL_IP, IP_CHECKSUM, 0 },
	{ SOL_IP, IP_RECVFRAGSIZE, 0 },
	{ SOL_IP, IP_RECVERR, 0 },
	{ SOL_IP, 26 /* IP_RECVERR_RFC4884 */, 0 },
	{ SOL_IP, IP_MTU_DISCOVER, 0 },
	{ SOL_IP, IP_MULTICAST_TTL, SOCKOPT_PACKETS },
	{ SOL_IP, IP_MULTICAST_LOOP, 0 },
	{ SOL_IP, IP_MULTICAST_IF, SOCKOPT_PACKETS },
	{ SOL_IP, IP_MULTICAST_ALL, 0 },
	{ SOL_IP, IP_UNICAST_IF, 0 },
	{ SOL_IP, IP_NODEFRAG, 0 },
	{ SOL_IP, IP_ROUTER_ALERT, 0 },
	{ SOL_IP, IP_MINTTL, 0 },
	{ SOL_IPV6, IPV6_TCLASS, 0 },
	{ SOL_IPV6, IPV6_UNICAST_HOPS, SOCKOPT_OWN },
	{ SOL_IPV6, IPV6_MULTICAST_HOPS, SOCKOPT_PACKETS },
	{ SOL_IPV6, IPV6_MULTICAST_LOOP, 0 },
	{ SOL_IPV6, IPV6_MULTICAST_IF, SOCKOPT_PACKETS },
	{ SOL_IPV6, 29 /* IPV6_MULTICAST_ALL */, 0 },
	{ SOL_IPV6, 30 /* IPV6_ROUTER_ALERT_ISOLATE */, 0 },
	{ SOL_IPV6, IPV6_UNICAST_IF, 0 },
	{ SOL_IPV6, IPV6_MTU_DISCOVER, 0 },
	{ SOL_IPV6, IPV6_RECVERR, 0 },
	{ SOL_IPV6, 31 /* IPV6_RECVERR_RFC4884 */, 0 },
	{ SOL_IPV6, IPV6_2292PKTINFO, 0 },
	{ SOL_IPV6, IPV6_2292HOPOPTS, 0 },
	{ SOL_IPV6, IPV6_2292DSTOPTS, 0 },
	{ SOL_IPV6, IPV6_2292RTHDR, 0 },
	{ SOL_IPV6, IPV6_2292HOPLIMIT, 0 },
	{ SOL_IPV6, 11 /* IPV6_FLOWINFO */, 0 },
	{ SOL_IPV6, IPV6_RECVPKTINFO, 0 },
	{ SOL_IPV6, IPV6_RECVHOPLIMIT, 0 },
	{ SOL_IPV6, IPV6_RECVTCLASS, 0 },
	{ SOL_IPV6, IPV6_RECVRTHDR, 0 },
	{ SOL_IPV6, IPV6_RECVHOPOPTS, 0 },
	{ SOL_IPV6, IPV6_RECVDSTOPTS, 0 },
	{ SOL_IPV6, IPV6_RECVPATHMTU, 0 },
	{ SOL_IPV6, IPV6_RECVORIGDSTADDR, 0 },
	{ SOL_IPV6, IPV6_RECVFRAGSIZE, 0 },
	{ SOL_IPV6, IPV6_HOPOPTS, SOCKOPT_HEADER },
	{ SOL_IPV6, IPV6_RTHDR, SOCKOPT_HEADER },
	{ SOL_IPV6, IPV6_RTHDRDSTOPTS, SOCKOPT_HEADER },
	{ SOL_IPV6, IPV6_DSTOPTS, SOCKOPT_HEADER },
	{ SOL_IPV6, IPV6_AUTOFLOWLABEL, 0 },
	{ SOL_IPV6, 33 /* IPV6_FLOWINFO_SEND */, 0 },
	{ SOL_IPV6, IPV6_DONTFRAG, 0 },
	{ SOL_IPV6, IPV6_MINHOPCOUNT, 0 },
	{ SOL_RAW, IPV6_CHECKSUM, 0 }, /* of ICMPv6, where the next is refused (raw.c in the kernel) */
	{ SOL_IPV6, IPV6_CHECKSUM, 0 },
	{ SOL_RAW, 1 /* ICMP_FILTER */, 0 },
	{ SOL_ICMPV6, 1 /* ICMPV6_FILTER */, 0 },
	{ SOL_UDP, UDP_CORK, 0 },
	{ SOL_UDP, UDP_ENCAP, 0 },
	{ SOL_UDP, UDP_NO_CHECK6_TX, 0 },
	{ SOL_UDP, UDP_NO_CHECK6_RX, 0 },
	{ SOL_UDP, UDP_SEGMENT, 0 },
	{ SOL_UDP, UDP_GRO, 0 },
	{ 136 /* SOL_UDPLITE */, 10 /* UDPLITE_SEND_CSCOV */, 0 },
	{ 136, 11 /* UDPLITE_RECV_CSCOV */, 0 },
	{ SOL_TCP, TCP_NODELAY, 0 },
	{ SOL_TCP, TCP_CORK, 0 },
	{ SOL_TCP, TCP_KEEPIDLE, 0 },
	{ SOL_TCP, TCP_KEEPINTVL, 0 },
	{ SOL_TCP, TCP_KEEPCNT, 0 },
	{ SOL_TCP, TCP_SYNCNT, 0 },
	{ SOL_TCP, TCP_LINGER2, 0 },
	{ SOL_TCP, TCP_DEFER_ACCEPT, 0 },
	{ SOL_TCP, TCP_USER_TIMEOUT, 0 },
	{ SOL_TCP, TCP_NOTSENT_LOWAT, 0 },
	{ SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS, 0 },
	{ SOL_TCP, TCP_SAVE_SYN, 0 },
	{ SOL_TCP, TCP_INQ, 0 },
	{ SOL_TCP, TCP_TX_DELAY, 0 },
	{ SOL_TCP, TCP_RTO_MAX_MS_, 0 },
	{ SOL_TCP, TCP_RTO_MIN_US_, 0 },
	{ SOL_TCP, TCP_DELACK_MAX_US_, 0 },
	{ SOL_TCP, TCP_MAXSEG, SOCKOPT_IDLE | SOCKOPT_MAY_FAIL }, /* what it was last, when nobody has set it */
	{ SOL_TCP, TCP_WINDOW_CLAMP, SOCKOPT_LESS | SOCKOPT_OWN },
	{ SOL_TCP, TCP_FASTOPEN, SOCKOPT_IDLE },
	{ SOL_TCP, TCP_FASTOPEN_CONNECT, SOCKOPT_IDLE },
	{ SOL_TCP, TCP_FASTOPEN_NO_COOKIE, SOCKOPT_IDLE },
	{ SOL_TCP, TCP_CONGESTION, SOCKOPT_MAY_FAIL | SOCKOPT_ROUTED },
	{ SOL_NETLINK, NETLINK_PKTINFO, 0 },
	{ SOL_NETLINK, NETLINK_BROADCAST_ERROR, 0 },
	{ SOL_NETLINK, NETLINK_NO_ENOBUFS, 0 },
	{ SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 0 },
	{ SOL_NETLINK, NETLINK_CAP_ACK, 0 },
	{ SOL_NETLINK, NETLINK_EXT_ACK, 0 },
	{ SOL_NETLINK, NETLINK_GET_STRICT_CHK, 0 },
	{ SOL_PACKET, PACKET_VERSION, 0 },
	{ SOL_PACKET, PACKET_AUXDATA, 0 },
	{ SOL_PACKET, PACKET_ORIGDEV, 0 },
	{ SOL_PACKET, PACKET_RESERVE, 0 },
	{ SOL_PACKET, PACKET_COPY_THRESH, 0 },
	{ SOL_PACKET, PACKET_LOSS, 0 },
	{ SOL_PACKET, PACKET_VNET_HDR, 0 },
	{ SOL_PACKET, PACKET_VNET_HDR_SZ_, 0 }, /* Linux 6.6: the same, and larger ones */
	{ SOL_PACKET, PACKET_TIMESTAMP, 0 },
	{ SOL_PACKET, PACKET_TX_HAS_OFF, 0 },
	{ SOL_PACKET, PACKET_QDISC_BYPASS, 0 },
	{ SOL_PACKET, PACKET_IGNORE_OUTGOING, 0 },
	{ SOL_PACKET, PACKET_FANOUT, SOCKOPT_LAST }, /* who has joined others may not be bound again */
	{ SOL_SOCKET, SO_PRIORITY, 0 },
	{ SOL_SOCKET, SO_KEEPALIVE, 0 },
	{ SOL_SOCKET, SO_BROADCAST, 0 },
	{ SOL_SOCKET, SO_DONTROUTE, 0 },
	{ SOL_SOCKET, SO_OOBINLINE, 0 },
	{ SOL_SOCKET, SO_LINGER, 0 },
	{ SOL_SOCKET, SO_NO_CHECK, 0 },
	{ SOL_SOCKET, SO_PASSCRED, SOCKOPT_LAST | SOCKOPT_HANDED }, /* who has it is given a name when it connects or sends */
	{ SOL_SOCKET, SO_PASSSEC, SOCKOPT_LAST | SOCKOPT_HANDED },
	{ SOL_SOCKET, SO_PASSPIDFD_, SOCKOPT_LAST | SOCKOPT_HANDED },
	{ SOL_SOCKET, SO_PASSRIGHTS_, SOCKOPT_LAST | SOCKOPT_HANDED },
	{ SOL_SOCKET, SO_INQ_, 0 },
	{ SOL_SOCKET, SO_RCVLOWAT, 0 },
	{ SOL_SOCKET, SO_RCVTIMEO, 0 },
	{ SOL_SOCKET, SO_SNDTIMEO, SOCKOPT_LAST },
	{ SOL_SOCKET, SO_TIMESTAMPNS, 0 },
	{ SOL_SOCKET, SO_TIMESTAMP, 0 },
	{ SOL_SOCKET, SO_TIMESTAMPING, 0 },
	/* The same with times of 64 bits: the last one of either sort that was set decides. */
	{ SOL_SOCKET, SO_TIMESTAMP_NEW_, 0 },
	{ SOL_SOCKET, SO_TIMESTAMPNS_NEW_, 0 },
	{ SOL_SOCKET, SO_TIMESTAMPING_NEW_, 0 },
	{ SOL_SOCKET, SO_RCVPRIORITY_, 0 },
	{ SOL_SOCKET, SO_WIFI_STATUS, 0 },
	{ SOL_SOCKET, SO_NOFCS, 0 },
	{ SOL_SOCKET, SO_RXQ_OVFL, 0 },
	{ SOL_SOCKET, SO_SELECT_ERR_QUEUE, 0 },
	{ SOL_SOCKET, SO_RCVMARK_, 0 },
	{ SOL_SOCKET, SO_ZEROCOPY, 0 },
	{ SOL_SOCKET, SO_TXTIME, 0 },
	{ SOL_SOCKET, SO_TXREHASH_, 0 },
	{ SOL_SOCKET, SO_MAX_PACING_RATE, 0 },
	{ SOL_SOCKET, SO_INCOMING_CPU, SOCKOPT_HEARD }, /* of a group (SO_REUSEPORT) it decides who is chosen */
	{ SOL_SOCKET, SO_BUSY_POLL, SOCKOPT_MAY_FAIL },
	{ SOL_SOCKET, SO_PREFER_BUSY_POLL_, SOCKOPT_MAY_FAIL },
	{ SOL_SOCKET, SO_SNDBUF, SOCKOPT_BUFFER | SOCKOPT_MAY_FAIL | SOCKOPT_OWN },
	{ SOL_SOCKET, SO_RCVBUF, SOCKOPT_BUFFER | SOCKOPT_MAY_FAIL | SOCKOPT_OWN },
	{ SOL_SOCKET, SO_BUF_LOCK_, SOCKOPT_ROUTED }, /* which setting a buffer changes */
	{ SOL_SOCKET, SO_RESERVE_MEM_, SOCKOPT_MAY_FAIL }, /* where sockets are accounted to control groups */
	{ SOL_SOCKET, SO_PEEK_OFF, SOCKOPT_LAST },
	{ SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, SOCKOPT_LAST }, /* reuseport.c; when all are in the group */
	{ SOL_SOCKET, SO_ATTACH_FILTER, SOCKOPT_LAST },
	{ SOL_SOCKET, SO_LOCK_FILTER, SOCKOPT_LAST },
};
const size_t sockopt_row_count = ARRAY_SIZE(sockopt_rows);

static_assert(ARRAY_SIZE(sockopt_rows) <= CKPT_SOCKOPTS_MAX, "a bit for each in struct ckpt_sockopt_log");

const struct sockopt_row *sockopt_find_from(size_t from, uint32_t level, uint32_t name)
{
	for (size_t k = 0; k < sockopt_row_count; k++) {
		const struct sockopt_row *r = &sockopt_rows[(from + k) % sockopt_row_count];

		if ((uint32_t)r->level == level && (uint32_t)r->name == name)
			return r;
	}
	return NULL;
}

const struct sockopt_row *sockopt_find(uint32_t level, uint32_t name)
{
	return sockopt_find_from(0, level, name);
}

const Ckpt__SocketOption *sockopt_saved(const Ckpt__Socket *s, int level, int name)
{
	for (size_t i = 0; i < s->n_option; i++)
		if (s->option[i]->level == (uint32_t)level && s->option[i]->name == (uint32_t)name)
			return s->option[i];
	return NULL;
}

int ckpt_sockopt_number(const Ckpt__Socket *s, int level, int name)
{
	const Ckpt__SocketOption *o = sockopt_saved(s, level, name);
	int v = 0;

	if (o && o->value.len >= sizeof(v))
		memcpy(&v, o->value.data, sizeof(v));
	return v;
}

bool sockopt_is_idle(const Ckpt__Socket *s)
{
	return s->state == TCP_CLOSE || s->state == TCP_LISTEN;
}

bool sockopt_is_program(const struct sockopt_row *r)
{
	return r->level == SOL_SOCKET && (r->name == SO_ATTACH_FILTER || r->name == SO_ATTACH_REUSEPORT_CBPF);
}

bool ckpt_sockopts_are_good(Ckpt__SocketOption *const *list, size_t count)
{
	size_t from = 0;

	for (size_t i = 0; i < count; i++) {
		const Ckpt__SocketOption *o = list[i];
		const struct sockopt_row *r = sockopt_find_from(from, o->level, o->name);
		size_t max = r && r->flags & SOCKOPT_HEADER ? SOCKOPT_HEADER_MAX : VALUE_MAX;

		if (r && sockopt_is_program(r))
			max = BPF_MAXINSNS * sizeof(struct sock_filter);
		if (!r || o->value.len == 0 || o->value.len > max)
			return false;
		from = (size_t)(r - sockopt_rows);
	}
	return true;
}
