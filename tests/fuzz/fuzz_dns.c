/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/dns_message.h"

#include "base/macro.h"

#include "tests/fuzz/fuzz.h"

/* What was read is a name, and a reply to it is a reply to the query. */
static void check(const uint8_t *msg, const struct dns_query *q, int code)
{
	char text[DNS_TEXT_MAX], zone[] = "vps";
	uint8_t buf[DNS_UDP_MAX], addr[16];
	struct dns_reply r;
	size_t len;

	dns_name_reverse(dns_name_text(q->name, q->name_len, text), addr);
	if (strlen(text) >= sizeof(text) || q->udp_size < DNS_UDP_MIN || q->udp_size > sizeof(buf))
		abort();
	dns_reply_begin(&r, buf, q->udp_size, msg, q, (unsigned)code, true);
	dns_reply_ptr(&r, text);
	for (unsigned i = q->id % 64; i; i--)
		dns_reply_address(&r, i & 1 ? DNS_A : DNS_AAAA, addr);
	dns_reply_soa(&r, zone, q->id & 1);
	dns_reply_ns(&r, text);
	len = dns_reply_end(&r);
	if (len > q->udp_size)
		abort();
	if (q->end && !(msg[2] & 0x78) && !dns_reply_matches(buf, len, q->id, msg, q))
		abort();
	dns_truncated(buf, DNS_UDP_MIN, msg, q, 0);
}

/* The bytes as a query, and as what claims to be the reply to one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t asked[] = { 0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1 };
	struct dns_query q;
	int r = dns_query_parse(data, size, &q);

	if (r >= 0)
		check(data, &q, r);
	if (dns_query_parse(asked, sizeof(asked), &q) == 0)
		dns_reply_matches(data, size, 7, asked, &q);
	return 0;
}
