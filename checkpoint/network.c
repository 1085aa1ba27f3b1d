/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/beside.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/netstate.h"
#include "checkpoint/sockets.h"

#include "netns/net.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#define KEPT_MAX 16 /* nested namespaces whose hundreds of files are opened ahead */

/* One namespace. */
struct seen {
	struct ckpt_netview view;
	ino_t ino;
	Ckpt__NetState **states;
	size_t count;
	int result;
	bool done;
	struct err e;
};

struct ckpt_network {
	pthread_t thread;
	bool running;
	struct seen *seen; /* that of process 1 first, when it has one of its own */
	size_t seen_count;
	struct ckpt_arena arena;
	struct {
		struct ckpt_dump *d;
		int netns; /* of process 1; -EBADF: it has been looked at, or is the host's */
		int result;
		struct err e;
	} ahead;
};

static bool has_own(const struct ckpt_network *n)
{
	return n->seen_count && n->seen[0].view.ns == 0;
}

static void look_at(struct ckpt_network *n, struct seen *s)
{
	s->result = ckpt_netstate_collect(&s->view, &n->arena, &s->states, &s->count, &s->e);
	s->done = true;
}

static void *run(void *arg)
{
	struct ckpt_network *n = arg;

	for (size_t i = 0; i < n->seen_count; i++)
		look_at(n, &n->seen[i]);
	return NULL;
}

/* Takes the fd. `ns` is any number but 0 for a nested one, until it is known. */
static struct seen *add(struct ckpt_dump *d, int netns_take, uint32_t ns, bool ahead, struct err *e)
{
	cleanup_close int netns = netns_take;
	struct ckpt_network *n = d->network;
	struct seen *s = reallocarray(n->seen, n->seen_count + 1, sizeof(*s));
	struct stat st;

	if (!s || fstat(netns, &st) < 0) {
		err_code(e, s ? -errno : -ENOMEM, "collect the network");
		return NULL;
	}
	n->seen = s;
	s += n->seen_count;
	*s = (struct seen){ .ino = st.st_ino };
	s->view = (struct ckpt_netview){ netns, NULL, ns, d->spec->root.id_base, d->spec->root.id_count };
	s->view.ways = ckpt_netways_open(netns, ahead, e);
	if (!s->view.ways)
		return NULL;
	n->seen_count++;
	netns = -EBADF;
	return s;
}

static int begin(struct ckpt_dump *d, struct err *e)
{
	int netns = ckpt_dump_netns(d, e);

	if (netns < 0 && netns != -EXDEV)
		return netns;
	d->network = calloc(1, sizeof(*d->network));
	if (!d->network) {
		fd_close(&netns);
		return err_code(e, -ENOMEM, "collect the network");
	}
	d->network->ahead.d = d;
	d->network->ahead.netns = netns < 0 ? -EBADF : netns;
	return 0;
}

static int look_at_first(struct ckpt_dump *d, bool ahead, struct err *e)
{
	int netns = TAKE_FD(d->network->ahead.netns);

	return netns < 0 || add(d, netns, 0, ahead, e) ? 0 : -EIO;
}

static void *run_ahead(void *arg)
{
	struct ckpt_network *n = arg;

	n->ahead.result = look_at_first(n->ahead.d, true, &n->ahead.e);
	return NULL;
}

int ckpt_network_look_ahead(struct ckpt_dump *d, struct err *e)
{
	int r = begin(d, e);

	if (r < 0 || d->network->ahead.netns < 0)
		return r;
	ckpt_netways_reserve();
	d->network->running = ckpt_beside(&d->network->thread, run_ahead, d->network);
	if (!d->network->running)
		run_ahead(d->network);
	return 0;
}

static struct seen *find(const struct ckpt_network *n, ino_t ino)
{
	for (size_t i = 0; i < n->seen_count; i++)
		if (n->seen[i].ino == ino)
			return &n->seen[i];
	return NULL;
}

static void wait_for(struct ckpt_network *n)
{
	if (n->running)
		pthread_join(n->thread, NULL);
	n->running = false;
}

/* That of a process, unless it is known. The host's own is not the VPS's to have. */
static void look_ahead(struct ckpt_dump *d, pid_t pid)
{
	struct err ignored;
	int fd = ckpt_space_open((int)pid, "net", &ignored);
	struct stat st, host;

	if (fd < 0 || fstat(fd, &st) < 0 || stat("/proc/self/ns/net", &host) < 0 ||
	    st.st_ino == host.st_ino || find(d->network, st.st_ino)) {
		fd_close(&fd);
		return;
	}
	add(d, fd, UINT32_MAX, d->network->seen_count < KEPT_MAX, &ignored);
}

int ckpt_network_prepare(struct ckpt_dump *d, const pid_t *pids, size_t n, struct err *e)
{
	int r;

	wait_for(d->network);
	r = d->network->ahead.result;
	if (r < 0)
		*e = d->network->ahead.e;
	for (size_t i = 0; r == 0 && i < n; i++)
		look_ahead(d, pids[i]);
	return r;
}

/* Process 1 may have gone into another. */
static bool is_current(const struct ckpt_dump *d)
{
	struct err ignored;
	cleanup_close int now = ckpt_dump_netns(d, &ignored);
	struct stat st;

	if (now < 0)
		return !has_own(d->network);
	return has_own(d->network) && fstat(now, &st) == 0 && st.st_ino == d->network->seen[0].ino;
}

int ckpt_network_start(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	if (d->network && !is_current(d))
		ckpt_network_done(d);
	if (!d->network) {
		r = begin(d, e);
		r = r < 0 ? r : look_at_first(d, false, e);
	}
	if (r < 0 || !d->network->seen_count)
		return r;
	/* A process whose children go into another pid namespace can have no threads (clone(2), EINVAL). */
	d->network->running = ckpt_beside(&d->network->thread, run, d->network);
	if (!d->network->running)
		run(d->network);
	return 0;
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

static int refuse(struct ckpt_dump *d, const struct seen *s, struct err *e)
{
	char names[NETNS_IF_MAX][16];
	const char *list[NETNS_IF_MAX];
	size_t count = s->view.ns ? 0 : configured(d->spec, names);
	int r;

	for (size_t i = 0; i < count; i++)
		list[i] = names[i];
	r = ckpt_netstate_refuse(s->states, s->count, list, count, e);
	if (r == 0)
		r = ckpt_netpeers_find(d, s->view.ways, s->states, s->count, list, count, e);
	if (r == 0)
		r = ckpt_netnumbers_collect(d, s->view.ways, s->view.ns, e);
	return r == 0 ? ckpt_wireguards_find(d, s->states, s->count, e) : r;
}

static int keep(struct ckpt_dump *d, struct seen *s, struct err *e)
{
	int r = 0;

	if (s->result < 0) {
		*e = s->e;
		return s->result;
	}
	for (size_t i = 0; r == 0 && i < s->count; i++) {
		s->states[i]->ns = s->view.ns;
		r = ckpt_push(&d->tree.arena, &d->tree.nets, &d->tree.net_count, s->states[i]);
	}
	if (r < 0)
		return err_code(e, r, "collect the network");
	ckpt_netstate_localize(s->states, s->count, d->uid_base);
	return refuse(d, s, e);
}

/* One that has come since, or has no process in it, is looked at now. */
static int collect_nested(struct ckpt_dump *d, uint32_t id, struct err *e)
{
	const struct ckpt_seen_space *space = &d->spaces.space[id - 1];
	struct seen *s = find(d->network, space->ino);
	int fd;

	if (!s) {
		fd = fcntl(space->fd, F_DUPFD_CLOEXEC, 3);
		s = fd < 0 ? NULL : add(d, fd, id, false, e);
	}
	if (!s)
		return -EIO;
	s->view.ns = id;
	if (!s->done)
		look_at(d->network, s);
	return keep(d, s, e);
}

int ckpt_network_collect(struct ckpt_dump *d, struct err *e)
{
	int r = d->network ? 0 : ckpt_network_start(d, e); /* a check has not */
	struct ckpt_network *n = d->network;

	if (r < 0)
		return r;
	wait_for(n);
	if (has_own(n))
		r = ckpt_note(d, keep(d, &n->seen[0], e), 0, -1, e);
	for (uint32_t id = 1; r == 0 && id <= d->tree.space_count; id++)
		if (d->tree.spaces[id - 1]->kind == CKPT_SPACE_NET && id != d->spaces.main[CKPT_SPACE_NET])
			r = ckpt_note(d, collect_nested(d, id, e), 0, -1, e);
	return r;
}

void ckpt_network_done(struct ckpt_dump *d)
{
	struct ckpt_network *n = d->network;

	if (!n)
		return;
	wait_for(n);
	fd_close(&n->ahead.netns);
	for (size_t i = 0; i < n->seen_count; i++) {
		ckpt_netways_close(n->seen[i].view.ways);
		fd_close(&n->seen[i].view.netns_fd);
	}
	free(n->seen);
	ckpt_arena_done(&n->arena);
	free(n);
	d->network = NULL;
}
