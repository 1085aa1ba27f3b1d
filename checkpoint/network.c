/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/internal.h"
#include "checkpoint/netstate.h"
#include "checkpoint/sockets.h"

#include "netns/net.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

struct ckpt_network {
	pthread_t thread;
	bool running;
	int result;
	struct ckpt_netview view;
	struct ckpt_arena arena;
	Ckpt__NetState **states;
	size_t count;
	struct err e;
};

static void *run(void *arg)
{
	struct ckpt_network *n = arg;

	n->result = ckpt_netstate_collect(&n->view, &n->arena, &n->states, &n->count, &n->e);
	return NULL;
}

static int prepare(struct ckpt_dump *d, bool ahead, struct err *e)
{
	cleanup_close int netns = ckpt_dump_netns(d, e);

	if (netns < 0)
		return netns == -EXDEV ? 0 : netns;
	d->network = calloc(1, sizeof(*d->network));
	if (!d->network)
		return err_code(e, -ENOMEM, "collect the network");
	d->network->view = (struct ckpt_netview){
		TAKE_FD(netns), NULL, 0, d->spec->root.id_base, d->spec->root.id_count,
	};
	d->network->view.ways = ckpt_netways_open(d->network->view.netns_fd, ahead, e);
	return d->network->view.ways ? 0 : -EIO;
}

int ckpt_network_prepare(struct ckpt_dump *d, struct err *e)
{
	return prepare(d, true, e);
}

/* Process 1 may have gone into another. */
static bool is_current(const struct ckpt_dump *d)
{
	struct err ignored;
	cleanup_close int now = ckpt_dump_netns(d, &ignored);
	struct stat a, b;

	return now >= 0 && fstat(now, &a) == 0 && fstat(d->network->view.netns_fd, &b) == 0 && a.st_ino == b.st_ino;
}

int ckpt_network_start(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	if (d->network && !is_current(d))
		ckpt_network_done(d);
	if (!d->network)
		r = prepare(d, false, e);
	if (r < 0 || !d->network)
		return r;
	/* A process whose children go into another pid namespace can have no threads (clone(2), EINVAL). */
	d->network->running = pthread_create(&d->network->thread, NULL, run, d->network) == 0;
	if (!d->network->running)
		run(d->network);
	return 0;
}

static void wait_for(struct ckpt_network *n)
{
	if (n->running)
		pthread_join(n->thread, NULL);
	n->running = false;
}

/* Those of the interfaces that the runtime makes. */
static size_t configured(const struct rt_spec *spec, char names[NETNS_IF_MAX][16])
{
	const char *text;
	size_t n = 0;

	while (n < NETNS_IF_MAX && (text = config_get_nth(&spec->limits, "net", n))) {
		struct netns_if i;
		struct err ignored;

		if (netns_if_parse(text, &i, &ignored) < 0)
			break;
		snprintf(names[n++], 16, "%s", i.name);
	}
	return n;
}

static int refuse(const struct ckpt_dump *d, struct err *e)
{
	const struct ckpt_network *n = d->network;
	char names[NETNS_IF_MAX][16];
	const char *list[NETNS_IF_MAX];
	size_t count = configured(d->spec, names);

	for (size_t i = 0; i < count; i++)
		list[i] = names[i];
	return ckpt_netstate_refuse(n->states, n->count, n->view.netns_fd, list, count, e);
}

int ckpt_network_collect(struct ckpt_dump *d, struct err *e)
{
	struct ckpt_network *n = d->network;

	if (!n)
		return 0;
	wait_for(n);
	if (n->result < 0) {
		*e = n->e;
		return n->result;
	}
	d->tree.nets = n->states;
	d->tree.net_count = n->count;
	ckpt_netstate_localize(n->states, n->count, d->uid_base);
	return refuse(d, e);
}

void ckpt_network_done(struct ckpt_dump *d)
{
	if (!d->network)
		return;
	wait_for(d->network);
	ckpt_netways_close(d->network->view.ways);
	fd_close(&d->network->view.netns_fd);
	ckpt_arena_done(&d->network->arena);
	free(d->network);
	d->network = NULL;
}
