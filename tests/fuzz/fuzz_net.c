/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/boxes.h"
#include "netns/net.h"

#include "base/macro.h"

#include "tests/fuzz/fuzz.h"

/* What parses must format to what parses to the same text again. */
#define CHECK(type, parse, format)                                                  \
	do {                                                                        \
		struct type v, w;                                                   \
		char one[NETNS_TEXT_MAX], two[NETNS_TEXT_MAX];                      \
		if (parse(text, &v, &e) == 0) {                                     \
			format(&v, one);                                            \
			if (parse(one, &w, &e) < 0 || !STREQ(format(&w, two), one)) \
				abort();                                            \
		}                                                                   \
	} while (0)

static void rules(char *text)
{
	struct netns_rule rule[NETNS_RULE_MAX];
	struct netns_box *box;
	size_t n = 0, count;
	struct err e;
	char *line;

	while (n < NETNS_RULE_MAX && (line = strsep(&text, "\n")))
		n += netns_rule_parse(line, &rule[n], &e) == 0;
	if (netns_boxes(rule, n, AF_INET, &box, &count, &e) == 0)
		free(box);
	if (netns_boxes(rule, n, AF_INET6, &box, &count, &e) == 0)
		free(box);
}

/* The first byte chooses the parser. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = NULL;
	struct err e;

	if (size == 0)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	if (!text)
		return 0;
	switch (*data) {
	case 'i':
		CHECK(netns_if, netns_if_parse, netns_if_format);
		break;
	case 'p':
		CHECK(netns_publish, netns_publish_parse, netns_publish_format);
		break;
	case 'r':
		CHECK(netns_rule, netns_rule_parse, netns_rule_format);
		break;
	case 'a':
		CHECK(netns_allow, netns_allow_parse, netns_allow_format);
		break;
	case 'b':
		rules(text);
		break;
	}
	return 0;
}
