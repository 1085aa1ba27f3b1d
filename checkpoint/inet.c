/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Internet sockets but TCP's: UDP, UDP-Lite, raw ones, those of ping. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/datagrams.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/sockets.h"
#include "checkpoint/sockopt.h"
#include "checkpoint/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define SOURCES_MAX 64
#define GROUPS_FILE_MAX MIB(1)

static int is_at(const Ckpt__Socket *s)
{
	const struct sockaddr_in *a4 = (const void *)s->name.data;
	const struct sockaddr_in6 *a6 = (const void *)s->name.data;

	return a4->sin_port || (s->family == AF_INET ? a4->sin_addr.s_addr != 0 :
						       !IN6_IS_ADDR_UNSPECIFIED(&a6->sin6_addr));
}

/* Room for the sources too: it tells how many there are. */
union filter {
	struct group_filter f;
	uint8_t room[sizeof(struct group_filter) + SOURCES_MAX * sizeof(struct sockaddr_storage)];
};

static size_t address_size(uint32_t family)
{
	return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* Which groups a socket is in the kernel tells only when it is asked for one. */
static int try_group(const struct ckpt_sock *k, uint32_t index, const void *addr, struct err *e)
{
	struct ckpt_arena *a = ckpt_dump_arena(k->d);
	size_t size = address_size(k->s->family);
	union filter u = { .f = { .gf_interface = index, .gf_numsrc = SOURCES_MAX } };
	socklen_t len = sizeof(u);
	Ckpt__SocketGroup *g;

	memcpy(&u.f.gf_group, addr, size);
	if (getsockopt(k->fd, k->s->family == AF_INET ? SOL_IP : SOL_IPV6, MCAST_MSFILTER, &u,
		       &len) < 0)
		return 0;
	if (u.f.gf_numsrc > SOURCES_MAX)
		return ckpt_sock_refuse(k, "that takes a group from very many sources", e);
	g = ckpt_alloc(a, sizeof(*g));
	if (!g || ckpt_push(a, &k->s->group, &k->s->n_group, g) < 0)
		return err_code(e, -ENOMEM, "collect sockets");
	ckpt__socket_group__init(g);
	g->index = index;
	g->mode = u.f.gf_fmode;
	g->group.data = ckpt_memdup(a, addr, size);
	g->group.len = size;
	g->source = ckpt_alloc(a, (u.f.gf_numsrc + 1) * sizeof(*g->source));
	for (uint32_t i = 0; g->source && i < u.f.gf_numsrc; i++) {
		g->source[i].data = ckpt_memdup(a, &u.f.gf_slist[i], size);
		g->source[i].len = size;
		g->n_source++;
	}
	return g->group.data && g->source ? 0 : err_code(e, -ENOMEM, "collect sockets");
}

/* "1	lo …" heads the groups of an interface, each "	010000E0 …", in the order of memory. */
static int groups4(const struct ckpt_sock *k, const char *text, struct err *e)
{
	uint32_t index = 0;
	int r = 0;

	for (const char *l = strchr(text, '\n'); r == 0 && l; l = strchr(l + 1, '\n')) {
		struct sockaddr_in a = { .sin_family = AF_INET };

		if (l[1] != '\t')
			index = (uint32_t)strtoul(l + 1, NULL, 10);
		else if (sscanf(l + 1, "%x", &a.sin_addr.s_addr) == 1)
			r = try_group(k, index, &a, e);
	}
	return r;
}

/* "1    lo    ff020000000000000000000000000001 …" */
static int groups6(const struct ckpt_sock *k, const char *text, struct err *e)
{
	int r = 0;

	for (const char *l = text; r == 0 && *l; l += strcspn(l, "\n"), l += *l == '\n') {
		struct sockaddr_in6 a = { .sin6_family = AF_INET6 };
		char hex[33] = { 0 };
		unsigned index;

		if (sscanf(l, "%u %*s %32[0-9a-f]", &index, hex) != 2 || strlen(hex) != 32)
			continue;
		for (int i = 0; i < 16; i++)
			sscanf(hex + 2L * i, "%2hhx", &a.sin6_addr.s6_addr[i]);
		r = try_group(k, index, &a, e);
	}
	return r;
}

static int collect_groups(const struct ckpt_sock *k, struct err *e)
{
	cleanup_free char *text = NULL;
	pid_t pid = k->file->space ? k->d->spaces.space[k->file->space - 1].pid : k->d->init;
	char path[64];
	int r;

	if (!pid)
		return ckpt_sock_refuse(k, "in a network namespace that no process is in", e);
	snprintf(path, sizeof(path), "/proc/%d/net/igmp%s", (int)pid,
		 k->s->family == AF_INET ? "" : "6");
	r = fd_read_file_at(AT_FDCWD, path, GROUPS_FILE_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : err_code(e, r, "read %s", path);
	return k->s->family == AF_INET ? groups4(k, text, e) : groups6(k, text, e);
}

/* As far as a look at it tells: whether it receives no more. */
static uint32_t shut(int fd)
{
	struct pollfd p = { fd, POLLRDHUP, 0 };

	poll(&p, 1, 0);
	return p.revents & POLLHUP ? 3 : p.revents & POLLRDHUP ? 1 : 0;
}

int ckpt_inet_collect(const struct ckpt_sock *k, struct err *e)
{
	int r = ckpt_sock_names(k, e), out = 0;

	k->s->state = k->s->peer.len ? TCP_ESTABLISHED : TCP_CLOSE;
	k->s->shutdown = shut(k->fd);
	if (r == 0)
		r = ckpt_inet_shut(k, &k->s->shutdown, e);
	if (r == 0)
		r = ckpt_sockopts_collect(ckpt_dump_arena(k->d), k->fd, k->s, e);
	if (r == 0)
		r = collect_groups(k, e);
	if (r == 0)
		r = ckpt_datagrams_collect(k, e);
	if (r == 0 && ioctl(k->fd, SIOCOUTQ, &out) == 0 && out)
		return ckpt_corked_collect(k, e);
	return r;
}

static int join(int fd, const Ckpt__Socket *s, const Ckpt__SocketGroup *g, struct err *e)
{
	int level = s->family == AF_INET ? SOL_IP : SOL_IPV6;
	struct group_req q = { .gr_interface = g->index };
	union filter u = { .f = { .gf_interface = g->index,
				  .gf_fmode = g->mode,
				  .gf_numsrc = (uint32_t)g->n_source } };

	memcpy(&q.gr_group, g->group.data, g->group.len);
	memcpy(&u.f.gf_group, g->group.data, g->group.len);
	for (size_t i = 0; i < g->n_source; i++)
		memcpy(&u.f.gf_slist[i], g->source[i].data, g->source[i].len);
	if (setsockopt(fd, level, MCAST_JOIN_GROUP, &q, sizeof(q)) < 0)
		return err_sys(e, "join a multicast group again");
	/* Without sources it is as joined: from everywhere. */
	if ((g->n_source || g->mode != MCAST_EXCLUDE) &&
	    setsockopt(fd, level, MCAST_MSFILTER, &u, (socklen_t)GROUP_FILTER_SIZE(g->n_source)) <
		    0)
		return err_sys(e, "choose the sources of a multicast group again");
	return 0;
}

/* An address may have gone since it was bound. */
int ckpt_inet_bind(int fd, const Ckpt__Socket *s)
{
	int level = s->family == AF_INET ? SOL_IP : SOL_IPV6, name = s->family == AF_INET ? IP_FREEBIND : IPV6_FREEBIND;
	int on = 1, off = 0, r = bind(fd, (const void *)s->name.data, (socklen_t)s->name.len) < 0 ? -errno : 0;

	if (r != -EADDRNOTAVAIL || setsockopt(fd, level, name, &on, sizeof(on)) < 0)
		return r;
	r = bind(fd, (const void *)s->name.data, (socklen_t)s->name.len) < 0 ? -errno : 0;
	return setsockopt(fd, level, name, &off, sizeof(off)) < 0 ? -errno : r;
}

/* Those of one port may have been willing to share it only while they were bound. */
static int bind_beside(int fd, const Ckpt__Socket *s)
{
	int on = 1;

	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ? -errno : ckpt_inet_bind(fd, s);
}

int ckpt_inet_settle(int fd, const Ckpt__Socket *s, struct err *e)
{
	int on = ckpt_sockopt_number(s, SOL_SOCKET, SO_REUSEADDR);

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return err_sys(e, "set an option of a datagram socket");
	/* It is told that it is not connected, and shut down. */
	if (s->shutdown && shutdown(fd, (int)s->shutdown - 1) < 0 && errno != ENOTCONN)
		return err_sys(e, "shut a datagram socket down");
	return 0;
}

int ckpt_inet_make(int fd, const Ckpt__File *f, struct err *e)
{
	const Ckpt__Socket *s = f->socket;
	int r = 0;

	if (is_at(s))
		r = bind_beside(fd, s);
	if (r < 0)
		return err_code(e, r, "bind a datagram socket again");
	if (s->peer.len && connect(fd, (const void *)s->peer.data, (socklen_t)s->peer.len) < 0)
		return err_sys(e, "connect a datagram socket again");
	for (size_t i = 0; r == 0 && i < s->n_group; i++)
		r = join(fd, s, s->group[i], e);
	return r;
}

bool ckpt_inet_is_good(const Ckpt__Socket *s)
{
	size_t size = address_size(s->family);

	if ((s->type != SOCK_DGRAM && s->type != SOCK_RAW) || s->name.len != size || s->shutdown > 3 ||
	    s->n_group > 1024)
		return false;
	for (size_t i = 0; i < s->n_group; i++) {
		const Ckpt__SocketGroup *g = s->group[i];

		if (g->group.len != size || g->n_source > SOURCES_MAX)
			return false;
		for (size_t n = 0; n < g->n_source; n++)
			if (g->source[n].len != size)
				return false;
	}
	return true;
}
