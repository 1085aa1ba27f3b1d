/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const int status_errno[] = {
	[ERR_OK] = 0,
	[ERR_FAIL] = -EIO,
	[ERR_USAGE] = -EINVAL,
	[ERR_NOT_FOUND] = -ENOENT,
	[ERR_EXISTS] = -EEXIST,
	[ERR_STATE] = -EBUSY,
	[ERR_DENIED] = -EACCES,
	[ERR_TIMEOUT] = -ETIMEDOUT,
	[ERR_NOSPACE] = -ENOSPC,
	[ERR_DAEMON] = -ECONNREFUSED,
	[ERR_CANCELLED] = -ECANCELED,
	[ERR_UNSUPPORTED] = -EOPNOTSUPP,
};

int err_errno(enum err_status status)
{
	if ((unsigned)status >= sizeof(status_errno) / sizeof(*status_errno))
		return -EIO;
	return status_errno[status];
}

static int status_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
	case EROFS:
		return ERR_NOSPACE;
	default:
		return ERR_FAIL;
	}
}

/* The whole struct is sent to other processes: nothing of the stack may be left in it. */
static void fill(struct err *e, int errnum, const char *fmt, va_list ap)
{
	char text[sizeof(e->msg)];
	int n;

	n = vsnprintf(text, sizeof(text), fmt, ap); /* the arguments may point into *e */
	memset(e, 0, sizeof(*e));
	snprintf(e->msg, sizeof(e->msg), "%s", text);
	if (n < 0)
		n = 0;
	if (errnum && (size_t)n < sizeof(e->msg)) {
		const char *s = strerrordesc_np(errnum);

		snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", s ? s : "unknown error");
	}
	/* Whoever may have as few as that cannot do what was asked, however often it is tried. */
	if (errnum == EMFILE)
		err_hint(e, "raise the limit of open files: vpsd's (LimitNOFILE, ulimit -Hn), "
			    "or rlimit=nofile of the VPS");
}

static int of_errno(struct err *e, int errnum, const char *fmt, va_list ap)
{
	fill(e, errnum, fmt, ap);
	e->code = status_of_errno(errnum);
	return -errnum;
}

int err_sys(struct err *e, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = of_errno(e, errno ? errno : EIO, fmt, ap);
	va_end(ap);
	return r;
}

int err_code(struct err *e, int neg_errno, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = of_errno(e, neg_errno < 0 ? -neg_errno : EIO, fmt, ap);
	va_end(ap);
	return r;
}

int err_set(struct err *e, enum err_status status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(e, 0, fmt, ap);
	va_end(ap);
	e->code = (int)status;
	return err_errno(status);
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char old[sizeof(e->msg)];
	va_list ap;
	int n;

	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(e->msg))
		snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %.*s",
			 (int)(sizeof(old) - 1), old);
	return err_errno((enum err_status)e->code);
}

int err_hint(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
	return err_errno((enum err_status)e->code);
}

const char *err_format(const struct err *e, char *buf, size_t size)
{
	if (e->hint[0])
		snprintf(buf, size, "%s (hint: %s)", e->msg, e->hint);
	else
		snprintf(buf, size, "%s", e->msg);
	return buf;
}
