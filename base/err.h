/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <errno.h>
#include <stddef.h>

/*
 * One error: what was being done to what, why it failed, and what to try. It never allocates, so
 * it can be filled between clone and exec, and it is smaller than PIPE_BUF (4096, pipe(7)), so a
 * child writes it whole down a pipe.
 *
 * Functions that can fail take a `struct err *` last and return a negative errno value after
 * filling it. NULL is not allowed. A function fills an error or prints it, never both.
 */

/* What `vps` exits with. Stable, documented in vps(1); never renumber. */
enum err_status {
	ERR_OK = 0,
	ERR_FAIL = 1,        /* the system refused, or a bug */
	ERR_USAGE = 2,       /* unknown verb, option or setting, malformed value */
	ERR_NOT_FOUND = 3,   /* no such VPS, template or file */
	ERR_EXISTS = 4,      /* the name, address or port is taken */
	ERR_STATE = 5,       /* not possible in the VPS's present state */
	ERR_DENIED = 6,      /* the caller may not */
	ERR_TIMEOUT = 7,     /* it did not happen in the time given */
	ERR_NOSPACE = 8,     /* disk full or read-only, ids or addresses used up */
	ERR_DAEMON = 9,      /* vpsd cannot be reached, or broke the protocol */
	ERR_CANCELLED = 10,  /* interrupted by the user; undone */
	ERR_UNSUPPORTED = 11,/* this host's kernel or set-up lacks what is needed */
	ERR_RUN = 125,       /* exec and run: vps itself failed */
	ERR_NOEXEC = 126,    /* exec and run: the command cannot be executed */
	ERR_NOCMD = 127,     /* exec and run: the command is not there */
};

struct err {
	int code; /* enum err_status */
	char hint[256];
	char msg[1024];
};

/*
 * "<what>: strerror(errno)". Status is ERR_NOSPACE for ENOSPC, EDQUOT and EROFS, else ERR_FAIL.
 * Returns -errno (never 0). Call it right at the system call that failed.
 */
__attribute__((format(printf, 2, 3))) int err_sys(struct err *e, const char *fmt, ...);

/* As err_sys() for a call that returned a negative errno value instead of setting errno. */
__attribute__((format(printf, 3, 4))) int err_code(struct err *e, int neg_errno, const char *fmt, ...);

/* An error that no system call made. Returns the negative errno value nearest to `status`. */
__attribute__((format(printf, 3, 4))) int err_set(struct err *e, enum err_status status,
						  const char *fmt, ...);

/* Puts "<what>: " before the message; only where the user's noun changes. Returns -EIO or what
 * err_set() would return for the stored status. */
__attribute__((format(printf, 2, 3))) int err_wrap(struct err *e, const char *fmt, ...);

/* Sets the hint, one sentence without a full stop. Returns as err_wrap(). */
__attribute__((format(printf, 2, 3))) int err_hint(struct err *e, const char *fmt, ...);

/* The errno value (negative) that stands for a status. */
int err_errno(enum err_status status);

/* "msg" or "msg (hint: hint)" into buf; returns buf. */
const char *err_format(const struct err *e, char *buf, size_t size);

#endif
