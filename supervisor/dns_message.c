/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/dns_message.h"

#include "base/macro.h"

#include <ctype.h>
#include <sys/socket.h>

#define QR 0x8000
#define OPCODE 0x7800
#define AA 0x0400
#define TC 0x0200
#define RD 0x0100
#define RA 0x0080
#define CD 0x0010
#define QUESTION_PTR 0xc00c /* a name that is the question's */
#define TTL 5               /* VPSs come and go */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void set16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* --- reading ------------------------------------------------------------------------------------ */

/* The question's name, which has nothing before it to point to. Returns its length, 0 when bad. */
static size_t read_name(const uint8_t *p, size_t room, uint8_t ret[DNS_NAME_MAX])
{
	size_t at = 0;

	while (at < room && p[at]) {
		size_t end = at + 1 + p[at];

		if (p[at] > 63 || end >= room || end >= DNS_NAME_MAX)
			return 0;
		ret[at] = p[at];
		for (at++; at < end; at++)
			ret[at] = p[at] >= 'A' && p[at] <= 'Z' ? p[at] | 0x20 : p[at];
	}
	if (at >= room || at >= DNS_NAME_MAX)
		return 0;
	ret[at] = 0;
	return at + 1;
}

/* Passes over a name that may end in a pointer; where it points is of no interest. 0 when bad. */
static size_t skip_name(const uint8_t *msg, size_t len, size_t at)
{
	size_t start = at;

	while (at < len && msg[at] && at - start < DNS_NAME_MAX) {
		if (msg[at] >= 0xc0)
			return at + 2 <= len ? at + 2 : 0;
		if (msg[at] > 63)
			return 0;
		at += 1 + (size_t)msg[at];
	}
	return at < len && msg[at] == 0 ? at + 1 : 0;
}

/* The records behind the question: EDNS, perhaps a signature. */
static int read_additional(const uint8_t *msg, size_t len, struct dns_query *q)
{
	unsigned count = get16(msg + 10);
	size_t at = q->end;

	if (count > 4)
		return DNS_FORMERR;
	for (unsigned i = 0; i < count; i++) {
		size_t fixed = skip_name(msg, len, at), size;

		if (!fixed || len - fixed < 10)
			return DNS_FORMERR;
		size = get16(msg + fixed + 8);
		if (len - fixed - 10 < size)
			return DNS_FORMERR;
		if (get16(msg + fixed) == DNS_OPT) {
			if (q->edns || fixed != at + 1) /* its name is the root's */
				return DNS_FORMERR;
			q->edns = true;
			q->udp_size = get16(msg + fixed + 2);
			if (msg[fixed + 5] != 0)
				return DNS_BADVERS;
		}
		at = fixed + 10 + size;
	}
	return at == len ? 0 : DNS_FORMERR;
}

int dns_query_parse(const uint8_t *msg, size_t len, struct dns_query *q)
{
	unsigned flags;
	int r;

	*q = (struct dns_query){ .udp_size = DNS_UDP_MIN };
	if (len < DNS_HEADER)
		return -1;
	flags = get16(msg + 2);
	if (flags & QR)
		return -1;
	q->id = get16(msg);
	if (flags & OPCODE)
		return DNS_NOTIMP;
	if (len > DNS_QUERY_MAX || flags & TC || get16(msg + 4) != 1 || get16(msg + 6) || get16(msg + 8))
		return DNS_FORMERR;
	q->name_len = read_name(msg + DNS_HEADER, len - DNS_HEADER, q->name);
	if (!q->name_len || len - DNS_HEADER - q->name_len < 4)
		return DNS_FORMERR;
	q->end = DNS_HEADER + q->name_len + 4;
	q->type = get16(msg + q->end - 4);
	q->class = get16(msg + q->end - 2);
	r = read_additional(msg, len, q);
	if (q->udp_size < DNS_UDP_MIN)
		q->udp_size = DNS_UDP_MIN;
	if (q->udp_size > DNS_UDP_MAX)
		q->udp_size = DNS_UDP_MAX;
	return r;
}

bool dns_reply_matches(const uint8_t *msg, size_t len, uint16_t id, const uint8_t *asked,
		       const struct dns_query *q)
{
	uint8_t name[DNS_NAME_MAX];

	if (len < q->end || len < DNS_HEADER || get16(msg) != id || !(get16(msg + 2) & QR) ||
	    get16(msg + 2) & OPCODE || get16(msg + 4) != 1)
		return false;
	/* A server may change the letters' case. */
	return read_name(msg + DNS_HEADER, len - DNS_HEADER, name) == q->name_len &&
	       memcmp(name, q->name, q->name_len) == 0 &&
	       memcmp(msg + q->end - 4, asked + q->end - 4, 4) == 0;
}

unsigned dns_reply_code(const uint8_t *msg)
{
	return msg[3] & 0x0f;
}

void dns_set_id(uint8_t *msg, uint16_t id)
{
	set16(msg, id);
}

uint16_t dns_get_id(const uint8_t *msg)
{
	return get16(msg);
}

/* --- building ----------------------------------------------------------------------------------- */

#define OPT_SIZE 11

static size_t room_left(const struct dns_reply *r)
{
	return r->size - r->len - (r->q->edns ? OPT_SIZE : 0);
}

void dns_reply_begin(struct dns_reply *r, uint8_t *buf, size_t size, const uint8_t *asked,
		     const struct dns_query *q, unsigned code, bool authoritative)
{
	size_t head = q->end ? q->end : DNS_HEADER;
	unsigned flags = QR | RA;

	*r = (struct dns_reply){ .q = q, .buf = buf, .size = size, .len = head, .code = code };
	memcpy(buf, asked, head);
	flags |= get16(asked + 2) & (OPCODE | RD | CD);
	set16(buf + 2, flags | (authoritative ? AA : 0) | (code & 0x0f));
	set16(buf + 4, q->end ? 1 : 0);
	memset(buf + 6, 0, 6);
}

/* The head of a record and its data; returns whether it fits. */
static bool put_record(struct dns_reply *r, const uint8_t *name, size_t name_len, uint16_t type,
		       const uint8_t *data, size_t len)
{
	uint8_t *p = r->buf + r->len;

	if (r->truncated)
		return false;
	if (name_len + 10 + len > room_left(r)) {
		r->truncated = true;
		r->answers = r->authorities = 0;
		r->len = r->q->end ? r->q->end : DNS_HEADER;
		return false;
	}
	memcpy(p, name, name_len);
	p += name_len;
	set16(p, type);
	set16(p + 2, DNS_CLASS_IN);
	set16(p + 4, 0);
	set16(p + 6, TTL);
	set16(p + 8, (unsigned)len);
	memcpy(p + 10, data, len);
	r->len += name_len + 10 + len;
	return true;
}

static void put_answer(struct dns_reply *r, uint16_t type, const uint8_t *data, size_t len)
{
	uint8_t name[2];

	set16(name, QUESTION_PTR);
	r->answers += put_record(r, name, 2, type, data, len);
}

void dns_reply_address(struct dns_reply *r, uint16_t type, const uint8_t *addr)
{
	put_answer(r, type, addr, type == DNS_A ? 4 : 16);
}

/* "web1.vps" as labels; 0 when it is not such a text. */
static size_t put_labels(uint8_t out[DNS_NAME_MAX], const char *text)
{
	size_t at = 0;

	while (*text) {
		size_t n = strcspn(text, ".");

		if (n == 0 || n > 63 || at + n + 2 > DNS_NAME_MAX)
			return 0;
		out[at] = (uint8_t)n;
		memcpy(out + at + 1, text, n);
		at += n + 1;
		text += n + (text[n] == '.');
	}
	out[at] = 0;
	return at + 1;
}

void dns_reply_ptr(struct dns_reply *r, const char *name)
{
	uint8_t labels[DNS_NAME_MAX];
	size_t len = put_labels(labels, name);

	if (len)
		put_answer(r, DNS_PTR, labels, len);
}

void dns_reply_ns(struct dns_reply *r, const char *zone)
{
	uint8_t labels[DNS_NAME_MAX];
	size_t len = put_labels(labels, zone);

	if (len)
		put_answer(r, DNS_NS, labels, len);
}

void dns_reply_soa(struct dns_reply *r, const char *zone, bool as_answer)
{
	uint8_t name[DNS_NAME_MAX], data[2 * DNS_NAME_MAX + 20];
	size_t len = put_labels(name, zone), at;

	if (!len)
		return;
	/* Server, mailbox, serial, refresh, retry, expire, and how long a "no" may be kept. */
	memcpy(data, name, len);
	at = len;
	memcpy(data + at, name, len);
	at += len;
	memset(data + at, 0, 20);
	data[at + 3] = 1;
	for (size_t i = 1; i < 5; i++)
		set16(data + at + 4 * i + 2, i < 3 ? 3600 : TTL);
	at += 20;
	if (as_answer)
		put_answer(r, DNS_SOA, data, at);
	else
		r->authorities += put_record(r, name, len, DNS_SOA, data, at);
}

size_t dns_reply_end(struct dns_reply *r)
{
	set16(r->buf + 6, r->answers);
	set16(r->buf + 8, r->authorities);
	if (r->truncated)
		r->buf[2] |= TC >> 8;
	if (r->q->edns) {
		uint8_t *p = r->buf + r->len;

		memset(p, 0, OPT_SIZE);
		set16(p + 1, DNS_OPT);
		set16(p + 3, DNS_UDP_MAX);
		p[5] = (uint8_t)(r->code >> 4); /* the upper bits of the code */
		set16(r->buf + 10, 1);
		r->len += OPT_SIZE;
	}
	return r->len;
}

size_t dns_truncated(uint8_t *buf, size_t size, const uint8_t *asked, const struct dns_query *q,
		     unsigned code)
{
	struct dns_reply r;

	dns_reply_begin(&r, buf, size, asked, q, code, false);
	r.truncated = true;
	return dns_reply_end(&r);
}

/* --- names -------------------------------------------------------------------------------------- */

const char *dns_name_text(const uint8_t *name, size_t len, char buf[DNS_TEXT_MAX])
{
	char *out = buf;

	for (size_t at = 0; at < len && name[at];) {
		size_t end = at + 1 + name[at];

		if (out != buf)
			*out++ = '.';
		for (at++; at < end && at < len; at++) {
			if (isalnum(name[at]) || name[at] == '-' || name[at] == '_')
				*out++ = (char)name[at];
			else
				out += sprintf(out, "\\%03u", name[at]);
		}
	}
	*out = '\0';
	return buf;
}

static int reverse4(const char *text, uint8_t addr[16])
{
	for (int i = 3; i >= 0; i--) {
		char *end;
		unsigned long n;

		if (!isdigit((unsigned char)*text) || (*text == '0' && isdigit((unsigned char)text[1])))
			return 0;
		n = strtoul(text, &end, 10);
		if (n > 255 || *end != '.')
			return 0;
		addr[i] = (uint8_t)n;
		text = end + 1;
	}
	return STREQ(text, "in-addr.arpa") ? AF_INET : 0;
}

static int reverse6(const char *text, uint8_t addr[16])
{
	for (int i = 31; i >= 0; i--, text += 2) {
		unsigned c = (unsigned char)*text, n;

		if (!isxdigit((int)c) || text[1] != '.')
			return 0;
		n = isdigit((int)c) ? c - '0' : (c | 0x20) - 'a' + 10;
		addr[i / 2] |= (uint8_t)(i & 1 ? n : n << 4);
	}
	return STREQ(text, "ip6.arpa") ? AF_INET6 : 0;
}

int dns_name_reverse(const char *text, uint8_t addr[16])
{
	int family;

	memset(addr, 0, 16);
	family = reverse4(text, addr);
	if (family)
		return family;
	memset(addr, 0, 16);
	return reverse6(text, addr);
}
