/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Options of sockets, set again: of what was saved what a new one has otherwise. */
#include "checkpoint/sockopt_internal.h"

#include <errno.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/socket.h>

static int attach(int fd, const Ckpt__SocketOption *o)
{
	struct sock_fprog p = { (unsigned short)(o->value.len / sizeof(struct sock_filter)),
				(void *)o->value.data };

	return setsockopt(fd, SOL_SOCKET, (int)o->name, &p, sizeof(p)) < 0 ? -errno : 0;
}

static int number_of(const Ckpt__SocketOption *o)
{
	int v = 0;

	memcpy(&v, o->value.data, o->value.len < sizeof(v) ? o->value.len : sizeof(v));
	return v;
}

/* One that grew by itself grows again. */
static int set_buffer(int fd, const Ckpt__Socket *s, const struct sockopt_row *r, const Ckpt__SocketOption *o)
{
	int lock = ckpt_sockopt_number(s, SOL_SOCKET, SO_BUF_LOCK_), v = number_of(o), now = 0;
	socklen_t len = sizeof(now);

	if (!(lock & (r->name == SO_SNDBUF ? 1 : 2)) &&
	    (getsockopt(fd, SOL_SOCKET, r->name, &now, &len) < 0 || v >= now))
		return 0;
	v /= 2;
	return setsockopt(fd, SOL_SOCKET, r->name, &v, sizeof(v)) < 0 ? -errno : 0;
}

static bool grew(const Ckpt__Socket *s, const struct sockopt_row *r, const Ckpt__SocketOption *o, const uint8_t *now)
{
	int v;

	memcpy(&v, now, sizeof(v));
	return (r->flags & SOCKOPT_LESS) && !sockopt_is_idle(s) && number_of(o) >= v;
}

/* Nothing when it has that value already: most may not even be said without a privilege. 1: it was set. */
static int set(int fd, const Ckpt__Socket *s, const struct sockopt_row *r, const Ckpt__SocketOption *o,
	       struct err *e)
{
	uint8_t now[SOCKOPT_HEADER_MAX];
	socklen_t len = sizeof(now);
	bool is_set = true;
	int n = 0;

	if (sockopt_is_program(r))
		n = attach(fd, o);
	else if (r->flags & SOCKOPT_BUFFER)
		n = set_buffer(fd, s, r, o);
	else if (getsockopt(fd, r->level, r->name, now, &len) < 0 || len != o->value.len ||
		 (memcmp(now, o->value.data, len) != 0 && !grew(s, r, o, now)))
		n = setsockopt(fd, r->level, r->name, o->value.data, (socklen_t)o->value.len) < 0 ? -errno : 0;
	else
		is_set = false;
	if (n < 0 && !(r->flags & SOCKOPT_MAY_FAIL))
		return err_code(e, n, "set option %d of level %d of a socket", r->name, r->level);
	return is_set;
}

static enum ckpt_sockopt_phase phase_of(const struct sockopt_row *r)
{
	return r->flags & SOCKOPT_EARLY ? CKPT_SOCKOPT_EARLY :
	       r->flags & SOCKOPT_LAST	? CKPT_SOCKOPT_LAST :
					  CKPT_SOCKOPT_BOUND;
}

/* By row. Of several the first. */
static void sort_out(const Ckpt__Socket *s, const Ckpt__SocketOption *ret[CKPT_SOCKOPTS_MAX])
{
	const struct sockopt_row *r = sockopt_rows;

	memset(ret, 0, CKPT_SOCKOPTS_MAX * sizeof(ret[0]));
	for (size_t i = 0; i < s->n_option; i++) {
		r = sockopt_find_from((size_t)(r - sockopt_rows), s->option[i]->level, s->option[i]->name);
		if (!r)
			return; /* which ckpt_sockopts_are_good() does not let pass */
		if (!ret[r - sockopt_rows])
			ret[r - sockopt_rows] = s->option[i];
	}
}

static int set_all(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase, struct ckpt_sockopt_log *log,
		   struct err *e)
{
	const Ckpt__SocketOption *at[CKPT_SOCKOPTS_MAX];
	int n = 0;

	sort_out(s, at);
	/* In the table's order, whatever the image's is. */
	for (size_t i = 0; n >= 0 && i < sockopt_row_count; i++) {
		if (!at[i] || phase_of(&sockopt_rows[i]) != phase)
			continue;
		n = set(fd, s, &sockopt_rows[i], at[i], e);
		if (n > 0 && log)
			log->is_set[i / 8] |= (uint8_t)(1u << i % 8);
	}
	return n < 0 ? n : 0;
}

int ckpt_sockopts_set(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase, struct err *e)
{
	return set_all(fd, s, phase, NULL, e);
}

int ckpt_sockopts_set_again(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase,
			    const struct ckpt_sockopt_log *log, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n >= 0 && i < sockopt_row_count; i++) {
		const Ckpt__SocketOption *o;

		if (phase_of(&sockopt_rows[i]) != phase ||
		    !(sockopt_rows[i].flags & (SOCKOPT_OWN | SOCKOPT_ROUTED) || log->is_set[i / 8] & 1u << i % 8))
			continue;
		o = sockopt_saved(s, sockopt_rows[i].level, sockopt_rows[i].name);
		n = o ? set(fd, s, &sockopt_rows[i], o, e) : 0;
	}
	return n < 0 ? n : 0;
}

int ckpt_sockopts_set_first(int fd, const Ckpt__Socket *s, enum ckpt_sockopt_phase phase, struct ckpt_sockopt_log *log,
			    struct err *e)
{
	return set_all(fd, s, phase, log, e);
}

int ckpt_sockopt_set(int fd, const Ckpt__Socket *s, int level, int name, struct err *e)
{
	const struct sockopt_row *r = sockopt_find((uint32_t)level, (uint32_t)name);
	const Ckpt__SocketOption *o = sockopt_saved(s, level, name);

	return r && o && set(fd, s, r, o, e) < 0 ? -EIO : 0;
}

int ckpt_sockopts_hand_on(int fd, const Ckpt__Socket *s, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sockopt_row_count; i++)
		if (sockopt_rows[i].flags & SOCKOPT_HANDED)
			r = ckpt_sockopt_set(fd, s, sockopt_rows[i].level, sockopt_rows[i].name, e);
	return r;
}
