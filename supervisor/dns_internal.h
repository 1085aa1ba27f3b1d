/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_DNS_INTERNAL_H
#define SUPERVISOR_DNS_INTERNAL_H

#include "supervisor/dns.h"
#include "supervisor/dns_message.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define DNS_SERVERS 3            /* of resolv.conf(5), as the C library has it */
#define DNS_SOURCES 1024         /* a bridge has no more ports; a tenant has a few addresses */
#define DNS_RATE 200             /* queries a second from an address */
#define DNS_BURST 400
#define DNS_PENDING 512          /* forwarded queries under way */
#define DNS_SOURCE_PENDING 32    /* of one address */
#define DNS_CONNECTIONS 64
#define DNS_SOURCE_CONNECTIONS 4
#define DNS_CONNECTION_QUERIES 32
#define DNS_TRY_US 2000000
#define DNS_TCP_TRY_US 5000000
#define DNS_IDLE_US 10000000
/* Of each window of time so much goes to reading queries; what comes above it is the kernel's to
 * drop. A flood costs the host a fifth of a CPU at most, and vpsd's clients nothing. */
#define DNS_WINDOW_US 100000
#define DNS_BUDGET_US 20000

union dns_addr {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* An address that asks. */
struct dns_source {
	struct in6_addr addr;
	uint64_t seen_us;    /* 0: not used */
	uint64_t tokens;     /* millionths of a query that it may send */
	unsigned pending, connections;
};

struct dns_listener {
	struct dns *s;
	int family, udp, tcp;
	sd_event_source *udp_io, *tcp_io;
};

struct dns_servers {
	union dns_addr addr[DNS_SERVERS];
	size_t count;
	struct stat file;
	uint64_t looked_us;
};

struct dns {
	struct sup_daemon *d;
	struct netns_host host;
	struct dns_listener on[2];
	size_t listeners;
	struct dns_servers servers;
	struct dns_source sources[DNS_SOURCES];
	uint64_t seed;
	struct dns_pending *pending;
	size_t pending_count;
	struct dns_tcp *connections;
	size_t connection_count;
	uint64_t window_us, used_us; /* the window's start, what of the budget is gone */
	sd_event_source *resume;
	uint8_t buf[DNS_MESSAGE_MAX + 1];
};

/* dns.c */
/* The record of an address; NULL when all that it could have are busy. */
struct dns_source *dns_source_get(struct dns *s, const union dns_addr *from);
/* Takes `cost` queries off what it may send; false: it has sent too many. */
bool dns_source_take(struct dns_source *src, unsigned cost);
socklen_t dns_addr_len(const union dns_addr *a);
/* Sources of ours come after those of vpsd's clients and monitors. */
int dns_watch(struct dns *s, sd_event_source **ret, int fd, uint32_t events, sd_event_io_handler_t io,
	      void *userdata);
int dns_timer(struct dns *s, sd_event_source **ret, uint64_t us, sd_event_time_handler_t fire,
	      void *userdata);
int dns_random_id(uint16_t *ret);
size_t dns_error(uint8_t *buf, size_t size, const uint8_t *asked, const struct dns_query *q,
		 unsigned code);

/* dns_zone.c: what an answer may cost, in queries; and the answer, 0: others are to be asked. */
unsigned dns_zone_cost(const struct dns *s, const struct dns_query *q);
size_t dns_zone_answer(const struct dns *s, const uint8_t *asked, const struct dns_query *q,
		       uint8_t *buf, size_t size);

/* dns_forward.c */
/* The host's resolvers as they are now. There is one at least. */
const struct dns_servers *dns_servers_get(struct dns *s);
/* Passes a query on; sees to the reply. */
void dns_forward(struct dns *s, int udp, const union dns_addr *client, struct dns_source *src,
		 const uint8_t *msg, size_t len, const struct dns_query *q);
void dns_forward_done(struct dns *s);

/* dns_tcp.c: takes `fd` over. */
void dns_tcp_new(struct dns *s, int fd, struct dns_source *src);
void dns_tcp_done(struct dns *s);

#endif
