/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/err.h"

#include "base/macro.h"
#include "tests/unit/tap.h"

#include <limits.h>

TEST(from_the_system)
{
	struct err e = { 0 };
	char buf[2048];

	errno = EPERM;
	eq_int(err_sys(&e, "mount %s", "/proc"), -EPERM, "the errno value comes back");
	eq_str(e.msg, "mount /proc: Operation not permitted", "text");
	eq_int(e.code, ERR_FAIL, "status");
	eq_str(err_format(&e, buf, sizeof(buf)), "mount /proc: Operation not permitted", "no hint");
	errno = 0;
	ok(err_sys(&e, "odd") < 0, "an error even when errno says none");
}

TEST(no_space)
{
	static const int codes[] = { ENOSPC, EDQUOT, EROFS };

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		struct err e = { 0 };

		eq_int(err_code(&e, -codes[i], "write"), -codes[i], "%s", strerror(codes[i]));
		eq_int(e.code, ERR_NOSPACE, "is a lack of space");
	}
}

TEST(context_and_hint)
{
	struct err e = { 0 };
	char buf[2048];

	ok(err_set(&e, ERR_NOT_FOUND, "no template %s", "x") < 0, "negative");
	ok(err_hint(&e, "try %s", "y") < 0, "a hint keeps it an error");
	ok(err_wrap(&e, "create %s", "web") < 0, "and so does context");
	eq_int(e.code, ERR_NOT_FOUND, "with the status kept");
	eq_str(err_format(&e, buf, sizeof(buf)), "create web: no template x (hint: try y)", "text");
}

TEST(statuses)
{
	struct err e = { 0 };

	for (int s = ERR_FAIL; s <= ERR_UNSUPPORTED; s++)
		ok(err_errno((enum err_status)s) < 0, "status %d has an errno value", s);
	ok(sizeof(e) < PIPE_BUF, "an error goes down a pipe in one piece");
}

TEST(long_texts)
{
	char big[4000], small[8];
	struct err e = { 0 };

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&e, ERR_FAIL, "%s", big);
	eq_int(strlen(e.msg), sizeof(e.msg) - 1, "a message is cut");
	err_wrap(&e, "%s", big);
	ok(strlen(e.msg) < sizeof(e.msg), "context on top stays in it");
	err_hint(&e, "%s", big);
	eq_int(strlen(e.hint), sizeof(e.hint) - 1, "a hint is cut");
	ok(strlen(err_format(&e, small, sizeof(small))) < sizeof(small), "a small buffer holds");
}
