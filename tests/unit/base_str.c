/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/str.h"

#include "base/macro.h"
#include "tests/unit/tap.h"

TEST(lists)
{
	cleanup_strv struct strv v = { 0 };

	eq_int(strv_split(&v, "  a bc,,d ", " ,"), 0, "split");
	eq_int(v.count, 3, "three words");
	eq_str(v.item[1], "bc", "the second");
	ok(v.item[3] == NULL, "NULL at the end");
	ok(strv_has(&v, "d") && !strv_has(&v, "b"), "has whole words");
	eq_int(strv_split(&v, "", " "), 0, "nothing to split");
	eq_int(v.count, 3, "adds nothing");
	strv_done(&v);
	eq_int(v.count, 0, "empty again");
}

TEST(buffers)
{
	cleanup_buf struct buf b = { 0 };
	cleanup_free char *big = calloc(1, 10001);

	memset(big, 'y', 10000);
	eq_int(buf_add(&b, NULL, 0), 0, "nothing");
	eq_str(b.data, "", "is an empty string");
	eq_int(buf_addf(&b, "%d-%s", 7, "x"), 0, "formatted");
	eq_int(buf_addf(&b, "%s", big), 0, "and much");
	eq_int(b.len, 10003, "length");
	eq_int(strlen(b.data), 10003, "NUL after it");
	eq_int(buf_add(&b, "\0z", 2), 0, "any bytes");
	eq_int(b.len, 10005, "counted");
	ok(buf_add(&b, "x", SIZE_MAX) < 0, "a length that overflows is refused");
	eq_int(b.len, 10005, "and nothing is added");
}

TEST(printable)
{
	static const char *const good[] = { "", "plain", "caf\xc3\xa9", "\xe2\x82\xac",
					    "\xf0\x9f\x90\xa7", "\xf4\x8f\xbf\xbf" };
	static const char *const bad[] = {
		"a\nb", "\t", "\x1b[31m", "\x7f",
		"\xc2\x85",         /* a control character past ASCII */
		"\xff", "\x80",     /* no first bytes */
		"\xc3",             /* cut short */
		"\xc0\xaf",         /* overlong */
		"\xe0\x80\xaf", "\xf0\x80\x80\xaf",
		"\xed\xa0\x80",     /* a surrogate */
		"\xf4\x90\x80\x80", /* past the last */
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ok(str_is_printable(good[i]), "good text %zu", i);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(!str_is_printable(bad[i]), "bad text %zu", i);
}
