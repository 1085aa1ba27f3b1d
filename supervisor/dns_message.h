/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_DNS_MESSAGE_H
#define SUPERVISOR_DNS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * DNS messages (RFC 1035, EDNS: RFC 6891) as bytes in memory: queries of tenants are read, replies
 * are built and checked. No system calls, no allocation. Nothing is believed of what is read.
 */

#define DNS_HEADER 12
#define DNS_NAME_MAX 255     /* bytes of a name, the lengths of labels and the last 0 included */
#define DNS_TEXT_MAX 1024    /* a name as text: a byte may become "\ddd" */
#define DNS_UDP_MIN 512      /* what a client without EDNS takes over UDP */
#define DNS_UDP_MAX 4096     /* the most that is sent over UDP */
#define DNS_MESSAGE_MAX 65535
#define DNS_QUERY_MAX 4096   /* of a query; those of resolvers have a hundred bytes */

enum { DNS_A = 1, DNS_NS = 2, DNS_SOA = 6, DNS_PTR = 12, DNS_AAAA = 28, DNS_OPT = 41, DNS_ANY = 255 };
enum { DNS_CLASS_IN = 1 };
enum {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
	DNS_BADVERS = 16,
};

struct dns_query {
	uint16_t id;
	uint8_t name[DNS_NAME_MAX]; /* as labels, in lower case */
	size_t name_len;
	uint16_t type, class;
	size_t end;        /* of the question in the message; 0: there is none to repeat */
	bool edns;
	size_t udp_size;   /* what the client takes over UDP: DNS_UDP_MIN to DNS_UDP_MAX */
};

/*
 * Reads a query. 0: it is one. > 0: a DNS_ code to answer it with (what is there of *q serves to
 * build the reply). < 0: it is not to be answered at all (too short, or a reply itself: answering
 * those could go round in circles for ever).
 */
int dns_query_parse(const uint8_t *msg, size_t len, struct dns_query *q);

/* `msg` is a reply with this id to the question of the query `asked`, which *q was read from. */
bool dns_reply_matches(const uint8_t *msg, size_t len, uint16_t id, const uint8_t *asked,
		       const struct dns_query *q);

/* The code in a reply of at least DNS_HEADER bytes. */
unsigned dns_reply_code(const uint8_t *msg);
void dns_set_id(uint8_t *msg, uint16_t id);
uint16_t dns_get_id(const uint8_t *msg);

/*
 * A reply under construction in a buffer of the caller's. Once something did not fit, the reply is
 * cut back to its question and marked truncated; further records are passed over.
 */
struct dns_reply {
	const struct dns_query *q;
	uint8_t *buf;
	size_t size, len;
	unsigned code;
	uint16_t answers, authorities;
	bool truncated;
};

/* `size` is at least DNS_UDP_MIN; `authoritative` for names of ours. */
void dns_reply_begin(struct dns_reply *r, uint8_t *buf, size_t size, const uint8_t *asked,
		     const struct dns_query *q, unsigned code, bool authoritative);
/* About the name asked for. `addr` has 4 or 16 bytes, by `type`. */
void dns_reply_address(struct dns_reply *r, uint16_t type, const uint8_t *addr);
/* "web1.vps": labels of at most 63 characters, no empty ones. */
void dns_reply_ptr(struct dns_reply *r, const char *name);
/* The SOA record of `zone`, as an answer or, with a negative answer, as its authority (RFC 2308). */
void dns_reply_soa(struct dns_reply *r, const char *zone, bool as_answer);
void dns_reply_ns(struct dns_reply *r, const char *zone);
/* Completes it; returns its length. */
size_t dns_reply_end(struct dns_reply *r);

/* The reply that says "too long, ask over TCP" in the place of one with this code. */
size_t dns_truncated(uint8_t *buf, size_t size, const uint8_t *asked, const struct dns_query *q,
		     unsigned code);

/* Labels as text without the last dot; what is not a letter, digit, '-' or '_' is "\ddd". The root
 * is "". Returns buf. */
const char *dns_name_text(const uint8_t *name, size_t len, char buf[DNS_TEXT_MAX]);

/* The address that "4.3.2.1.in-addr.arpa" or 32 nibbles below ip6.arpa stand for. Returns its family
 * (AF_INET: the first four bytes, the rest 0), or 0 when the name is none of a whole address. */
int dns_name_reverse(const char *text, uint8_t addr[16]);

#endif
