/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/sockopt.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/sockets.h"
#include "checkpoint/tcp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#define VALUE_MAX 64
#define HEADER_MAX 2048

/* Newer than some headers. */
enum { SO_PASSPIDFD_ = 76, SO_PASSRIGHTS_ = 83, SO_INQ_ = 84, SO_BUF_LOCK_ = 72, SO_RESERVE_MEM_ = 73, SO_RCVMARK_ = 75,
       SO_TXREHASH_ = 74, SO_PREFER_BUSY_POLL_ = 69, TCP_RTO_MAX_MS_ = 44, TCP_RTO_MIN_US_ = 45, TCP_DELACK_MAX_US_ = 46,
       SO_TIMESTAMP_NEW_ = 63, SO_TIMESTAMPNS_NEW_ = 64, SO_TIMESTAMPING_NEW_ = 65, SO_RCVPRIORITY_ = 82,
       SO_BINDTOIFINDEX_ = 62, PACKET_VNET_HDR_SZ_ = 24 };

enum {
	EARLY = 1,    /* set before the socket is bound */
	LAST = 2,     /* set when all else is there */
	IDLE = 4,     /* of sockets that are closed or listen; of others it is something else, or refused */
	PACKETS = 32, /* none of streams, which inherit something there all the same */
	MAY_FAIL = 8, /* what the host must grant, or have: it goes on without */
	BUFFER = 16,  /* kept as twice what it is told (socket(7)); set when the owner did, or it is less */
	HEADER = 128, /* of IPv6: up to HEADER_MAX bytes */
	NAMELESS = 256, /* an interface that is gone: only its number says that nothing may come from others */
	LESS = 64,    /* of sockets that are not idle the kernel chooses it, unless it is less than that */
	OWN = 512,    /* of connections the kernel changes it, or the way to the peer does: no two need have the same */
	ROUTED = 1024, /* which one a new connection has the way to the peer decides */
	HEARD = 2048, /* of connections it is set anew by each segment that comes */
	HANDED = 4096, /* of a unix listener: whoever it accepts has it as it is when the client connects */
};

static const struct row {
	int level, name;
	unsigned flags;
} rows[] = {
	{ SOL_SOCKET, SO_REUSEADDR, EARLY },
	{ SOL_SOCKET, SO_REUSEPORT, EARLY },
	{ SOL_SOCKET, SO_BINDTODEVICE, EARLY },
	{ SOL_SOCKET, SO_BINDTOIFINDEX_, EARLY | NAMELESS },
	{ SOL_SOCKET, SO_MARK, EARLY },
	{ SOL_IP, IP_FREEBIND, EARLY },
	{ SOL_IP, IP_TRANSPARENT, EARLY },
	{ SOL_IP, IP_BIND_ADDRESS_NO_PORT, EARLY },
	{ SOL_IP, 51 /* IP_LOCAL_PORT_RANGE */, EARLY },
	{ SOL_IPV6, IPV6_V6ONLY, EARLY },
	{ SOL_IPV6, IPV6_FREEBIND, EARLY },
	{ SOL_IPV6, IPV6_TRANSPARENT, EARLY },
	{ SOL_IPV6, IPV6_ADDR_PREFERENCES, EARLY },
	{ SOL_IP, IP_HDRINCL, EARLY },
	{ SOL_IPV6, IPV6_HDRINCL, EARLY },

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
	{ SOL_IP, IP_MULTICAST_TTL, PACKETS },
	{ SOL_IP, IP_MULTICAST_LOOP, 0 },
	{ SOL_IP, IP_MULTICAST_IF, PACKETS },
	{ SOL_IP, IP_MULTICAST_ALL, 0 },
	{ SOL_IP, IP_UNICAST_IF, 0 },
	{ SOL_IP, IP_NODEFRAG, 0 },
	{ SOL_IP, IP_ROUTER_ALERT, 0 },
	{ SOL_IP, IP_MINTTL, 0 },
	{ SOL_IPV6, IPV6_TCLASS, 0 },
	{ SOL_IPV6, IPV6_UNICAST_HOPS, OWN },
	{ SOL_IPV6, IPV6_MULTICAST_HOPS, PACKETS },
	{ SOL_IPV6, IPV6_MULTICAST_LOOP, 0 },
	{ SOL_IPV6, IPV6_MULTICAST_IF, PACKETS },
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
	{ SOL_IPV6, IPV6_HOPOPTS, HEADER },
	{ SOL_IPV6, IPV6_RTHDR, HEADER },
	{ SOL_IPV6, IPV6_RTHDRDSTOPTS, HEADER },
	{ SOL_IPV6, IPV6_DSTOPTS, HEADER },
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
	{ SOL_TCP, TCP_MAXSEG, IDLE | MAY_FAIL }, /* what it was last, when nobody has set it */
	{ SOL_TCP, TCP_WINDOW_CLAMP, LESS | OWN },
	{ SOL_TCP, TCP_FASTOPEN, IDLE },
	{ SOL_TCP, TCP_FASTOPEN_CONNECT, IDLE },
	{ SOL_TCP, TCP_FASTOPEN_NO_COOKIE, IDLE },
	{ SOL_TCP, TCP_CONGESTION, MAY_FAIL | ROUTED },
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
	{ SOL_PACKET, PACKET_FANOUT, LAST }, /* who has joined others may not be bound again */
	{ SOL_SOCKET, SO_PRIORITY, 0 },
	{ SOL_SOCKET, SO_KEEPALIVE, 0 },
	{ SOL_SOCKET, SO_BROADCAST, 0 },
	{ SOL_SOCKET, SO_DONTROUTE, 0 },
	{ SOL_SOCKET, SO_OOBINLINE, 0 },
	{ SOL_SOCKET, SO_LINGER, 0 },
	{ SOL_SOCKET, SO_NO_CHECK, 0 },
	{ SOL_SOCKET, SO_PASSCRED, LAST | HANDED }, /* who has it is given a name when it connects or sends */
	{ SOL_SOCKET, SO_PASSSEC, LAST | HANDED },
	{ SOL_SOCKET, SO_PASSPIDFD_, LAST | HANDED },
	{ SOL_SOCKET, SO_PASSRIGHTS_, LAST | HANDED },
	{ SOL_SOCKET, SO_INQ_, 0 },
	{ SOL_SOCKET, SO_RCVLOWAT, 0 },
	{ SOL_SOCKET, SO_RCVTIMEO, 0 },
	{ SOL_SOCKET, SO_SNDTIMEO, LAST },
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
	{ SOL_SOCKET, SO_INCOMING_CPU, HEARD }, /* of a group (SO_REUSEPORT) it decides who is chosen */
	{ SOL_SOCKET, SO_BUSY_POLL, MAY_FAIL },
	{ SOL_SOCKET, SO_PREFER_BUSY_POLL_, MAY_FAIL },
	{ SOL_SOCKET, SO_SNDBUF, BUFFER | MAY_FAIL | OWN },
	{ SOL_SOCKET, SO_RCVBUF, BUFFER | MAY_FAIL | OWN },
	{ SOL_SOCKET, SO_BUF_LOCK_, ROUTED }, /* which setting a buffer changes */
	{ SOL_SOCKET, SO_RESERVE_MEM_, MAY_FAIL }, /* where sockets are accounted to control groups */
	{ SOL_SOCKET, SO_PEEK_OFF, LAST },
	{ SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, LAST }, /* reuseport.c; when all are in the group */
	{ SOL_SOCKET, SO_ATTACH_FILTER, LAST },
	{ SOL_SOCKET, SO_LOCK_FILTER, LAST },
};

static_assert(ARRAY_SIZE(rows) <= CKPT_SOCKOPTS_MAX, "a bit for each in struct ckpt_sockopt_log");

/* Looked for from a row on: lists are mostly in the table's order. */
static const struct row *find_from(size_t from, uint32_t level, uint32_t name)
{
	for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
		const struct row *r = &rows[(from + k) % ARRAY_SIZE(rows)];

		if ((uint32_t)r->level == level && (uint32_t)r->name == name)
			return r;
	}
	return NULL;
}

static const struct row *find(uint32_t level, uint32_t name)
{
	return find_from(0, level, name);
}

static const Ckpt__SocketOption *saved(const Ckpt__Socket *s, int level, int name)
{
	for (size_t i = 0; i < s->n_option; i++)
		if (s->option[i]->level == (uint32_t)level && s->option[i]->name == (uint32_t)name)
			return s->option[i];
	return NULL;
}

int ckpt_sockopt_number(const Ckpt__Socket *s, int level, int name)
{
	const Ckpt__SocketOption *o = saved(s, level, name);
	int v = 0;

	if (o && o->value.len >= sizeof(v))
		memcpy(&v, o->value.data, sizeof(v));
	return v;
}

/* A classic filter; its length is counted in instructions. 0: none. */
static int read_filter(int fd, struct sock_filter code[BPF_MAXINSNS], size_t *ret_bytes)
{
	socklen_t n = 0;

	*ret_bytes = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n) < 0)
		return -errno;
	if (n == 0)
		return 0;
	if (n > BPF_MAXINSNS || getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, code, &n) < 0)
		return n > BPF_MAXINSNS ? -E2BIG : -errno;
	*ret_bytes = n * sizeof(*code);
	return 0;
}

static int add(struct ckpt_arena *a, Ckpt__Socket *s, const struct row *r, const void *value,
	       size_t len)
{
	Ckpt__SocketOption *o = ckpt_alloc(a, sizeof(*o));

	if (!o)
		return -ENOMEM;
	ckpt__socket_option__init(o);
	o->level = (uint32_t)r->level;
	o->name = (uint32_t)r->name;
	o->value.data = ckpt_memdup(a, value, len);
	o->value.len = len;
	return o->value.data ? ckpt_push(a, &s->option, &s->n_option, o) : -ENOMEM;
}

/* What others there are would be asked for in vain: dozens of calls for each. */
static bool has_level(const Ckpt__Socket *s, int level)
{
	if (s->family == AF_UNIX)
		return level == SOL_SOCKET;
	return !ckpt_socket_is_tcp(s) || level == SOL_SOCKET || level == SOL_TCP || level == SOL_IP ||
	       (level == SOL_IPV6 && s->family == AF_INET6);
}

static bool is_idle(const Ckpt__Socket *s)
{
	return s->state == TCP_CLOSE || s->state == TCP_LISTEN;
}

static bool is_bound_to_nothing(int fd)
{
	char name[IF_NAMESIZE];
	socklen_t len = sizeof(name);

	return getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) < 0 && errno == ENODEV;
}

static bool is_connection(const Ckpt__Socket *s)
{
	return ckpt_socket_is_tcp(s) && !is_idle(s);
}

static bool is_told(int fd, const Ckpt__Socket *s, const struct row *r)
{
	return !((r->flags & IDLE) && !is_idle(s)) && has_level(s, r->level) &&
	       !((r->flags & PACKETS) && s->type == SOCK_STREAM) && !((r->flags & HEARD) && is_connection(s)) &&
	       !((r->flags & NAMELESS) && !is_bound_to_nothing(fd));
}

/* Those whose flag OWN is as told. */
static int collect(struct ckpt_arena *a, int fd, Ckpt__Socket *s, unsigned own, struct err *e)
{
	struct sock_filter code[BPF_MAXINSNS];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rows); i++) {
		uint8_t value[HEADER_MAX];
		socklen_t len = sizeof(value);
		size_t bytes;

		if ((rows[i].flags & OWN) != own || !is_told(fd, s, &rows[i]))
			continue;
		if (rows[i].level == SOL_SOCKET && rows[i].name == SO_ATTACH_FILTER) {
			r = read_filter(fd, code, &bytes);
			if (r == -EACCES)
				return err_set(e, ERR_UNSUPPORTED, "a socket has an eBPF program for its filter, "
					       "which cannot be saved");
			if (r == 0 && bytes)
				r = add(a, s, &rows[i], code, bytes);
		} else if (getsockopt(fd, rows[i].level, rows[i].name, value, &len) == 0 && len) {
			r = add(a, s, &rows[i], value, len);
		}
	}
	return r < 0 ? err_code(e, r, "read the options of a socket") : 0;
}

int ckpt_sockopts_collect_own(struct ckpt_arena *a, int fd, Ckpt__Socket *s, struct err *e)
{
	return collect(a, fd, s, OWN, e);
}

int ckpt_sockopts_collect_rest(struct ckpt_arena *a, int fd, Ckpt__Socket *s, struct err *e)
{
	return collect(a, fd, s, 0, e);
}

int ckpt_sockopts_collect(struct ckpt_arena *a, int fd, Ckpt__Socket *s, struct err *e)
{
	int r = collect(a, fd, s, OWN, e);

	return r < 0 ? r : collect(a, fd, s, 0, e);
}

int ckpt_sockopt_keep(struct ckpt_arena *a, Ckpt__Socket *s, int level, int name, const void *value, size_t len,
		      struct err *e)
{
	const struct row *r = find((uint32_t)level, (uint32_t)name);

	return r && add(a, s, r, value, len) < 0 ? err_code(e, -ENOMEM, "read the options of a socket") : 0;
}

static bool is_program(const struct row *r)
{
	return r->level == SOL_SOCKET && (r->name == SO_ATTACH_FILTER || r->name == SO_ATTACH_REUSEPORT_CBPF);
}

static int attach(int fd, const Ckpt__SocketOption *o)
{
	struct sock_fprog p = { (unsigned short)(o->value.len / sizeof(struct sock_filter)),
				(void *)o->value.data };

	return setsockopt(fd, SOL_SOCKET, (int)o->name, &p, sizeof(p)) < 0 ? -errno : 0;
}

static int number_of(const Ckpt__SocketOption *o)
{
	int v = 0;

	memcpy(&v, o->value.data, o->value.len < sizeof(v) ? o->value.len : sizeof(v));
	return v;
}

/* One that grew by itself grows again. */
static int set_buffer(int fd, const Ckpt__Socket *s, const struct row *r, const Ckpt__SocketOption *o)
{
	int lock = ckpt_sockopt_number(s, SOL_SOCKET, SO_BUF_LOCK_), v = number_of(o), now = 0;
	socklen_t len = sizeof(now);

	if (!(lock & (r->name == SO_SNDBUF ? 1 : 2)) &&
	    (getsockopt(fd, SOL_SOCKET, r->name, &now, &len) < 0 || v >= now))
		return 0;
	v /= 2;
	return setsockopt(fd, SOL_SOCKET, r->name, &v, sizeof(v)) < 0 ? -errno : 0;
}

static bool grew(const Ckpt__Socket *s, const struct row *r, const Ckpt__SocketOption *o, const uint8_t *now)
{
	int v;

	memcpy(&v, now, sizeof(v));
	return (r->flags & LESS) && !is_idle(s) && number_of(o) >= v;
}

/* Nothing when it has that value already: most may not even be said without a privilege. 1: it was set. */
static int set(int fd, const Ckpt__Socket *s, const struct row *r, const Ckpt__SocketOption *o,
	       struct err *e)
{
	uint8_t now[HEADER_MAX];
	socklen_t len = sizeof(now);
	bool is_set = true;
	int n = 0;

	if (is_program(r))
		n = attach(fd, o);
	else if (r->flags & BUFFER)
		n = set_buffer(fd, s, r, o);
	else if (getsockopt(fd, r->level, r->name, now, &len) < 0 || len != o->value.len ||
		 (memcmp(now, o->value.data, len) != 0 && !grew(s, r, o, now)))
		n = setsockopt(fd, r->level, r->name, o->value.data, (socklen_t)o->value.len) < 0 ? -errno : 0;
	else
		is_set = false;
	if (n < 0 && !(r->flags & MAY_FAIL))
		return err_code(e, n, "set option %d of level %d of a socket", r->name, r->level);
	return is_set;
}

static enum ckpt_sockopt_phase phase_of(const struct row *r)
{
	return r->flags & EARLY ? CKPT_SOCKOPT_EARLY : r->flags & LAST ? CKPT_SOCKOPT_LAST : CKPT_SOCKOPT_BOUND;
}

/* By row. Of several the first. */
static void sort_out(const Ckpt__Socket *s, const Ckpt__SocketOption *ret[ARRAY_SIZE(rows)])
{
	const struct row *r = rows;

	memset(ret, 0, ARRAY_SIZE(rows) * sizeof(ret[0]));
	for (size_t i = 0; i < s->n_option; i++) {
		r = find_from((size_t)(r - rows), s->option[i]->level, s->option[i]->name);
		if (!r)
			return; /* which ckpt_sockopts_are_good() does not let pass */
		if (!ret[r - rows])
			ret[r - rows] = s->option[i];
	}
}

static int set_all(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase, struct ckpt_sockopt_log *log,
		   struct err *e)
{
	const Ckpt__SocketOption *at[ARRAY_SIZE(rows)];
	int n = 0;

	sort_out(s, at);
	/* In the table's order, whatever the image's is. */
	for (size_t i = 0; n >= 0 && i < ARRAY_SIZE(rows); i++) {
		if (!at[i] || phase_of(&rows[i]) != phase)
			continue;
		n = set(fd, s, &rows[i], at[i], e);
		if (n > 0 && log)
			log->is_set[i / 8] |= (uint8_t)(1u << i % 8);
	}
	return n < 0 ? n : 0;
}

int ckpt_sockopts_set(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase, struct err *e)
{
	return set_all(fd, s, phase, NULL, e);
}

int ckpt_sockopts_set_again(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase,
			    const struct ckpt_sockopt_log *log, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n >= 0 && i < ARRAY_SIZE(rows); i++) {
		const Ckpt__SocketOption *o;

		if (phase_of(&rows[i]) != phase ||
		    !(rows[i].flags & (OWN | ROUTED) || log->is_set[i / 8] & 1u << i % 8))
			continue;
		o = saved(s, rows[i].level, rows[i].name);
		n = o ? set(fd, s, &rows[i], o, e) : 0;
	}
	return n < 0 ? n : 0;
}

int ckpt_sockopts_set_first(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase, struct ckpt_sockopt_log *log,
			    struct err *e)
{
	return set_all(fd, s, phase, log, e);
}

int ckpt_sockopt_set(int fd, const Ckpt__Socket *s, int level, int name, struct err *e)
{
	const struct row *r = find((uint32_t)level, (uint32_t)name);
	const Ckpt__SocketOption *o = saved(s, level, name);

	return r && o && set(fd, s, r, o, e) < 0 ? -EIO : 0;
}

int ckpt_sockopts_hand_on(int fd, const Ckpt__Socket *s, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rows); i++)
		if (rows[i].flags & HANDED)
			r = ckpt_sockopt_set(fd, s, rows[i].level, rows[i].name, e);
	return r;
}

bool ckpt_sockopts_are_good(Ckpt__SocketOption *const *list, size_t count)
{
	size_t from = 0;

	for (size_t i = 0; i < count; i++) {
		const Ckpt__SocketOption *o = list[i];
		const struct row *r = find_from(from, o->level, o->name);
		size_t max = r && r->flags & HEADER ? HEADER_MAX : VALUE_MAX;

		if (r && is_program(r))
			max = BPF_MAXINSNS * sizeof(struct sock_filter);
		if (!r || o->value.len == 0 || o->value.len > max)
			return false;
		from = (size_t)(r - rows);
	}
	return true;
}
