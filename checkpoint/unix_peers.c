/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Who is at the other end of unix sockets (SO_PEERCRED): those of whom a socket was connected to when it was, or of
 * who listens. The kernel tells their numbers as the asker's pid namespace has them, those of processes that have ended
 * too. So a process in the VPS's asks, for many sockets at once: making it takes longer than all that it asks.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/unix.h"

#include <errno.h>
#include <sys/socket.h>

#define GROUPS_MAX 65536

static int ask_all(void *arg, struct err *e)
{
	struct ckpt_peers *p = arg;

	for (size_t i = 0; i < p->count; i++) {
		socklen_t len = sizeof(p->cred[i]);

		if (getsockopt(p->fd[i], SOL_SOCKET, SO_PEERCRED, &p->cred[i], &len) < 0)
			return err_sys(e, "ask who is at the other end of a unix socket");
	}
	return 0;
}

static int collect_groups(struct ckpt_dump *d, int fd, Ckpt__Credentials *c)
{
	cleanup_free gid_t *g = NULL;
	socklen_t len = 0;

	/* It says how many there are (SO_PEERGROUPS, Linux 4.13). */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE)
		return 0;
	g = malloc(len);
	c->groups = ckpt_alloc(ckpt_dump_arena(d), len);
	if (!g || !c->groups || len / sizeof(gid_t) > GROUPS_MAX)
		return -ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, g, &len) < 0)
		return -errno;
	c->n_groups = len / sizeof(gid_t);
	for (size_t i = 0; i < c->n_groups; i++)
		c->groups[i] = ckpt_dump_id(d, g[i]);
	return 0;
}

static int keep(struct ckpt_dump *d, const struct ckpt_peers *p, size_t i, struct err *e)
{
	Ckpt__UnixSocket *u = d->tree.files[p->file[i] - 1]->socket->local;
	int r;

	if (p->cred[i].pid == 0)
		return 0;
	u->credentials = ckpt_unix_credentials(d, &p->cred[i]);
	if (!u->credentials)
		return err_code(e, -ENOMEM, "collect unix sockets");
	r = collect_groups(d, p->fd[i], u->credentials);
	return r < 0 ? err_code(e, r, "read the groups at the other end of a unix socket") : 0;
}

int ckpt_peers_collect(struct ckpt_dump *d, struct ckpt_peers *p, struct err *e)
{
	cleanup_close int space = p->count ? ckpt_space_open(d->init, "pid", e) : -EBADF;
	int r = p->count && space < 0 ? space : 0;

	if (r == 0 && p->count)
		r = ckpt_within(&space, 1, ask_all, p, e);
	for (size_t i = 0; r == 0 && i < p->count; i++)
		r = keep(d, p, i, e);
	ckpt_peers_done(p);
	return r;
}

int ckpt_peers_add(struct ckpt_dump *d, struct ckpt_peers *p, uint32_t file, int fd, struct err *e)
{
	p->file[p->count] = file;
	p->fd[p->count++] = fd;
	return p->count == CKPT_PEERS_MAX ? ckpt_peers_collect(d, p, e) : 0;
}

void ckpt_peers_done(struct ckpt_peers *p)
{
	while (p->count)
		close(p->fd[--p->count]);
}
