/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Options of sockets, read. */
#include "checkpoint/sockopt_internal.h"

#include "checkpoint/sockets.h"
#include "checkpoint/tcp.h"

#include <errno.h>
#include <linux/filter.h>
#include <net/if.h>
#include <sys/socket.h>

/* A classic filter; its length is counted in instructions. 0: none. */
static int read_filter(int fd, struct sock_filter code[BPF_MAXINSNS], size_t *ret_bytes)
{
	socklen_t n = 0;

	*ret_bytes = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n) < 0)
		return -errno;
	if (n == 0)
		return 0;
	if (n > BPF_MAXINSNS || getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, code, &n) < 0)
		return n > BPF_MAXINSNS ? -E2BIG : -errno;
	*ret_bytes = n * sizeof(*code);
	return 0;
}

static int add(struct ckpt_arena *a, Ckpt__Socket *s, const struct sockopt_row *r, const void *value,
	       size_t len)
{
	Ckpt__SocketOption *o = ckpt_alloc(a, sizeof(*o));

	if (!o)
		return -ENOMEM;
	ckpt__socket_option__init(o);
	o->level = (uint32_t)r->level;
	o->name = (uint32_t)r->name;
	o->value.data = ckpt_memdup(a, value, len);
	o->value.len = len;
	return o->value.data ? ckpt_push(a, &s->option, &s->n_option, o) : -ENOMEM;
}

/* What others there are would be asked for in vain: dozens of calls for each. */
static bool has_level(const Ckpt__Socket *s, int level)
{
	if (s->family == AF_UNIX)
		return level == SOL_SOCKET;
	return !ckpt_socket_is_tcp(s) || level == SOL_SOCKET || level == SOL_TCP || level == SOL_IP ||
	       (level == SOL_IPV6 && s->family == AF_INET6);
}

static bool is_bound_to_nothing(int fd)
{
	char name[IF_NAMESIZE];
	socklen_t len = sizeof(name);

	return getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) < 0 && errno == ENODEV;
}

static bool is_connection(const Ckpt__Socket *s)
{
	return ckpt_socket_is_tcp(s) && !sockopt_is_idle(s);
}

static bool is_told(int fd, const Ckpt__Socket *s, const struct sockopt_row *r)
{
	return !((r->flags & SOCKOPT_IDLE) && !sockopt_is_idle(s)) && has_level(s, r->level) &&
	       !((r->flags & SOCKOPT_PACKETS) && s->type == SOCK_STREAM) &&
	       !((r->flags & SOCKOPT_HEARD) && is_connection(s)) &&
	       !((r->flags & SOCKOPT_NAMELESS) && !is_bound_to_nothing(fd));
}

/* Those whose flag SOCKOPT_OWN is as told. */
static int collect(struct ckpt_arena *a, int fd, Ckpt__Socket *s, unsigned own, struct err *e)
{
	struct sock_filter code[BPF_MAXINSNS];
	int r = 0;

	for (size_t i = 0; r == 0 && i < sockopt_row_count; i++) {
		uint8_t value[SOCKOPT_HEADER_MAX];
		socklen_t len = sizeof(value);
		size_t bytes;

		if ((sockopt_rows[i].flags & SOCKOPT_OWN) != own || !is_told(fd, s, &sockopt_rows[i]))
			continue;
		if (sockopt_rows[i].level == SOL_SOCKET && sockopt_rows[i].name == SO_ATTACH_FILTER) {
			r = read_filter(fd, code, &bytes);
			if (r == -EACCES)
				return err_set(e, ERR_UNSUPPORTED, "a socket has an eBPF program for its filter, "
					       "which cannot be saved");
			if (r == 0 && bytes)
				r = add(a, s, &sockopt_rows[i], code, bytes);
		} else if (getsockopt(fd, sockopt_rows[i].level, sockopt_rows[i].name, value, &len) == 0 && len) {
			r = add(a, s, &sockopt_rows[i], value, len);
		}
	}
	return r < 0 ? err_code(e, r, "read the options of a socket") : 0;
}

int ckpt_sockopts_collect_own(struct ckpt_arena *a, int fd, Ckpt__Socket *s, struct err *e)
{
	return collect(a, fd, s, SOCKOPT_OWN, e);
}

int ckpt_sockopts_collect_rest(struct ckpt_arena *a, int fd, Ckpt__Socket *s, struct err *e)
{
	return collect(a, fd, s, 0, e);
}

int ckpt_sockopts_collect(struct ckpt_arena *a, int fd, Ckpt__Socket *s, struct err *e)
{
	int r = collect(a, fd, s, SOCKOPT_OWN, e);

	return r < 0 ? r : collect(a, fd, s, 0, e);
}

int ckpt_sockopt_keep(struct ckpt_arena *a, Ckpt__Socket *s, int level, int name, const void *value, size_t len,
		      struct err *e)
{
	const struct sockopt_row *r = sockopt_find((uint32_t)level, (uint32_t)name);

	return r && add(a, s, r, value, len) < 0 ? err_code(e, -ENOMEM, "read the options of a socket") : 0;
}
