/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/dns_message.h"

#include "tests/unit/tap.h"

#include <arpa/inet.h>

struct bytes {
	uint8_t at[70000];
	size_t len;
};

static void put16(struct bytes *b, unsigned v)
{
	b->at[b->len++] = (uint8_t)(v >> 8);
	b->at[b->len++] = (uint8_t)v;
}

static void put_name(struct bytes *b, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, ".");

		b->at[b->len++] = (uint8_t)n;
		memcpy(b->at + b->len, text, n);
		b->len += n;
		text += n + (text[n] == '.');
	}
	b->at[b->len++] = 0;
}

static struct bytes *query(struct bytes *b, const char *name, unsigned type, int edns)
{
	b->len = 0;
	put16(b, 0x1234);
	put16(b, 0x0100);
	put16(b, 1);
	put16(b, 0);
	put16(b, 0);
	put16(b, edns >= 0);
	put_name(b, name);
	put16(b, type);
	put16(b, 1);
	if (edns >= 0) {
		put_name(b, "");
		put16(b, DNS_OPT);
		put16(b, (unsigned)edns);
		put16(b, 0);
		put16(b, 0);
		put16(b, 0);
	}
	return b;
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

TEST(plain_query)
{
	static struct bytes b;
	struct dns_query q;
	char text[DNS_TEXT_MAX];

	query(&b, "WEB-1.Vps", DNS_AAAA, -1);
	eq_int(dns_query_parse(b.at, b.len, &q), 0, "it is read");
	eq_str(dns_name_text(q.name, q.name_len, text), "web-1.vps", "the name, in lower case");
	eq_int(q.type, DNS_AAAA, "type");
	eq_int(q.class, DNS_CLASS_IN, "class");
	eq_int(q.id, 0x1234, "id");
	eq_int(q.udp_size, 512, "without EDNS 512 bytes");
	eq_int(q.end, b.len, "the question's end");
}

TEST(edns)
{
	static const struct { int said; size_t want; } rows[] = {
		{ 0, 512 }, { 100, 512 }, { 1232, 1232 }, { 65535, 4096 },
	};
	static struct bytes b;
	struct dns_query q;

	for (size_t i = 0; i < 4; i++) {
		query(&b, "a", DNS_A, rows[i].said);
		eq_int(dns_query_parse(b.at, b.len, &q), 0, "it is read");
		ok(q.edns && q.udp_size == rows[i].want, "%d bytes are %zu", rows[i].said,
		   rows[i].want);
	}
	b.at[b.len - 5] = 1;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_BADVERS, "EDNS of another version");
	memcpy(b.at + b.len, b.at + b.len - 11, 11);
	b.len += 11;
	b.at[b.len - 5] = b.at[b.len - 16] = 0;
	b.at[11] = 2;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_FORMERR, "EDNS twice");
}

TEST(hostile)
{
	static struct bytes b;
	struct dns_query q;

	query(&b, "web1.vps", DNS_A, 1232);
	for (size_t len = 0; len < b.len; len++) {
		/* In memory of its own: a read beyond the end is seen by the sanitizer. */
		uint8_t *cut = malloc(len ? len : 1);

		memcpy(cut, b.at, len);
		ok(dns_query_parse(cut, len, &q) != 0, "cut to %zu bytes", len);
		free(cut);
	}
	b.at[b.len] = 0;
	eq_int(dns_query_parse(b.at, b.len + 1, &q), DNS_FORMERR, "more than it says");
	b.at[2] |= 0x80;
	ok(dns_query_parse(b.at, b.len, &q) < 0, "a reply is not answered");
	b.at[2] = 0x28;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_NOTIMP, "an update");
	b.at[2] = 1;
	b.at[5] = 2;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_FORMERR, "two questions");
	b.at[5] = 0;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_FORMERR, "no question");
	b.at[5] = 1;
	b.at[7] = 1;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_FORMERR, "an answer in a query");
	b.at[7] = 0;
	b.at[11] = 200;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_FORMERR, "200 records");
	b.at[11] = 1;
	b.at[12] = 0xc0;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_FORMERR, "a name that points to itself");
	b.at[12] = 64;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_FORMERR, "a label that is too long");
}

TEST(long_names)
{
	char name[512] = "";
	static struct bytes b;
	struct dns_query q;
	char text[DNS_TEXT_MAX];

	for (int i = 0; i < 126; i++)
		strcat(name, i ? ".a" : "a");
	strcat(name, ".a");
	query(&b, name, DNS_A, -1);
	eq_int(dns_query_parse(b.at, b.len, &q), 0, "255 bytes are a name");
	eq_int(q.name_len, 255, "all of it");
	eq_str(dns_name_text(q.name, q.name_len, text), name, "as text");
	strcat(name, "a");
	query(&b, name, DNS_A, -1);
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_FORMERR, "256 are none");
}

TEST(odd_bytes)
{
	static const uint8_t name[] = { 4, 'a', '.', ' ', 0xff, 0 };
	char text[DNS_TEXT_MAX];

	eq_str(dns_name_text(name, sizeof(name), text), "a\\046\\032\\255", "a dot in a label is none");
	eq_str(dns_name_text(name + 5, 1, text), "", "the root");
}

TEST(reverse)
{
	static const struct { const char *name, *addr; } rows[] = {
		{ "3.2.20.10.in-addr.arpa", "10.20.2.3" },
		{ "255.0.0.1.in-addr.arpa", "1.0.0.255" },
		{ "256.0.0.1.in-addr.arpa", NULL },
		{ "03.2.20.10.in-addr.arpa", NULL },
		{ "+3.2.20.10.in-addr.arpa", NULL },
		{ "2.20.10.in-addr.arpa", NULL },
		{ "1.3.2.20.10.in-addr.arpa", NULL },
		{ "3.2.20.10.in-addr.arpa.vps", NULL },
		{ "99999999999999999999.2.20.10.in-addr.arpa", NULL },
		{ "", NULL },
		{ "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.a.d.f.ip6.arpa", "fdab::3" },
		{ "30.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.a.d.f.ip6.arpa", NULL },
		{ "3.0.0.0.b.a.d.f.ip6.arpa", NULL },
		{ "g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.a.d.f.ip6.arpa", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t addr[16];
		char text[64] = "";
		int family = dns_name_reverse(rows[i].name, addr);

		if (family)
			inet_ntop(family, addr, text, sizeof(text));
		eq_str(text, rows[i].addr ? rows[i].addr : "", "%.24s", rows[i].name);
	}
}

TEST(reply)
{
	static const uint8_t addr[16] = { 10, 20, 0, 2 };
	static struct bytes b;
	uint8_t buf[512];
	struct dns_reply r;
	struct dns_query q;
	size_t len;

	query(&b, "Web1", DNS_A, 1232);
	dns_query_parse(b.at, b.len, &q);
	dns_reply_begin(&r, buf, sizeof(buf), b.at, &q, DNS_NOERROR, true);
	dns_reply_address(&r, DNS_A, addr);
	len = dns_reply_end(&r);
	eq_int(len, q.end + 16 + 11, "question, answer and EDNS");
	eq_int(get16(buf), 0x1234, "id");
	eq_int(get16(buf + 2), 0x8580, "a reply, authoritative, recursion asked for and there");
	ok(memcmp(buf + 12, b.at + 12, q.end - 12) == 0, "the question as it was asked");
	eq_int(get16(buf + 6), 1, "one answer");
	eq_int(get16(buf + 10), 1, "EDNS for one who knows it");
	ok(memcmp(buf + q.end + 12, addr, 4) == 0, "the address");
	ok(dns_reply_matches(buf, len, 0x1234, b.at, &q), "it is the reply to the question");
}

TEST(reply_without_room)
{
	static const uint8_t addr[16];
	static struct bytes b;
	uint8_t buf[512];
	struct dns_reply r;
	struct dns_query q;

	query(&b, "web1.vps", DNS_AAAA, -1);
	dns_query_parse(b.at, b.len, &q);
	dns_reply_begin(&r, buf, sizeof(buf), b.at, &q, DNS_NOERROR, true);
	for (int i = 0; i < 17; i++)
		dns_reply_address(&r, DNS_AAAA, addr);
	eq_int(r.answers, 17, "17 fit");
	dns_reply_address(&r, DNS_AAAA, addr);
	dns_reply_soa(&r, "vps", false);
	eq_int(dns_reply_end(&r), q.end, "with the 18th nothing is left but the question");
	ok(buf[2] & 2, "and that it was cut");
	eq_int(get16(buf + 6) + get16(buf + 8), 0, "no record is counted");
}

TEST(errors)
{
	static struct bytes b;
	uint8_t buf[512];
	struct dns_reply r;
	struct dns_query q;

	query(&b, "a", DNS_A, -1);
	b.at[5] = 7;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_FORMERR, "it is bad");
	dns_reply_begin(&r, buf, sizeof(buf), b.at, &q, DNS_FORMERR, false);
	eq_int(dns_reply_end(&r), 12, "nothing of it is repeated");
	eq_int(get16(buf + 4), 0, "no question");
	eq_int(dns_reply_code(buf), DNS_FORMERR, "the code");
	query(&b, "a", DNS_A, 512);
	b.at[b.len - 5] = 1;
	eq_int(dns_query_parse(b.at, b.len, &q), DNS_BADVERS, "a version of EDNS that is none");
	dns_reply_begin(&r, buf, sizeof(buf), b.at, &q, DNS_BADVERS, false);
	dns_reply_end(&r);
	ok(dns_reply_code(buf) == 0 && buf[q.end + 5] == 1, "the upper bits of the code are in EDNS");
}

TEST(matching)
{
	static struct bytes b, a;
	uint8_t buf[512];
	struct dns_query q;
	size_t len;

	query(&b, "www.example", DNS_A, -1);
	dns_query_parse(b.at, b.len, &q);
	len = dns_truncated(buf, sizeof(buf), b.at, &q, 0);
	dns_set_id(buf, 77);
	ok(dns_reply_matches(buf, len, 77, b.at, &q), "the reply");
	buf[13] = 'W';
	ok(dns_reply_matches(buf, len, 77, b.at, &q), "letters in another case");
	ok(!dns_reply_matches(buf, len, 78, b.at, &q), "another id");
	ok(!dns_reply_matches(buf, len - 1, 77, b.at, &q), "cut");
	for (size_t i = 0; i < 12; i++)
		ok(!dns_reply_matches(buf, i, 77, b.at, &q), "%zu bytes", i);
	buf[14] = 'x';
	ok(!dns_reply_matches(buf, len, 77, b.at, &q), "another name");
	buf[14] = 'w';
	buf[q.end - 3] = DNS_NS;
	ok(!dns_reply_matches(buf, len, 77, b.at, &q), "another type");
	buf[q.end - 3] = DNS_A;
	buf[2] &= 0x7f;
	ok(!dns_reply_matches(buf, len, 77, b.at, &q), "a query");
	query(&a, "www.example.more", DNS_A, -1);
	a.at[2] |= 0x80;
	ok(!dns_reply_matches(a.at, a.len, 0x1234, b.at, &q), "a longer name");
}
