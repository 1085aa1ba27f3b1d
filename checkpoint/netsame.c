/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A new namespace has most of its 550 switches as the image has them, and to see that takes longer than all else that
 * is done for a small VPS. A thread of ours looks while the runtime mounts; the first process, in which they are set,
 * is told by memory that both have. It takes its share of what is left when it has come so far itself; or, where all has
 * been the same till then and nothing else that it does depends on it, goes on, and the engine has the last look.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/step.h"
#include "checkpoint/enter.h"
#include "checkpoint/netstate_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define SHARE 16 /* switches that one of them takes at a time */

enum { IDLE, LOOKING, SEEN };

struct ckpt_netsame {
	struct net_walk walk;
	pthread_t thread;
	bool running;
	int netns;
	size_t size;
	struct shared {
		uint32_t state;
		uint32_t differs; /* what has been looked at, in part */
		bool put_off;   /* the first process has not waited */
		size_t taken;   /* all before that, by one or the other */
		uint8_t same[]; /* as the walk */
	} *shared;
};

struct ckpt_netsame *ckpt_netsame_new(Ckpt__NetState *const *states, size_t count, uint32_t ns)
{
	struct ckpt_netsame *s = calloc(1, sizeof(*s));
	struct net_walk w;
	size_t n = 0;

	if (!s)
		return NULL;
	s->walk = (struct net_walk){ .states = states, .count = count, .ns = ns, .part = CKPT_NET_SWITCH };
	s->netns = -EBADF;
	for (w = s->walk; net_next(&w);)
		n++;
	s->size = sizeof(*s->shared) + n;
	s->shared = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s->shared != MAP_FAILED)
		return s;
	free(s);
	return NULL;
}

/* The directory of the switch before: most lie where that lay, and are found an eighth faster from there. */
struct nearby {
	const char *path; /* its first `len` bytes */
	size_t len;
	int fd;
};

/* An fd of *n's, or `root` when the path is to be looked up from there. */
static int directory_of(struct nearby *n, int root, const char *path, size_t len)
{
	char text[PATH_MAX];

	if (n->fd >= 0 && n->len == len && memcmp(n->path, path, len) == 0)
		return n->fd;
	fd_close(&n->fd);
	if (len < sizeof(text)) {
		memcpy(text, path, len);
		text[len] = '\0';
		n->fd = openat(root, text, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	}
	n->path = path;
	n->len = len;
	return n->fd < 0 ? root : n->fd;
}

static bool is_same(struct nearby *n, int root, const ProtobufCBinaryData *d)
{
	const char *path = (const char *)d->data, *slash = strrchr(path, '/');
	size_t at = strlen(path) + 1;
	int dir = slash ? directory_of(n, root, path, (size_t)(slash - path)) : root;
	cleanup_close int fd = openat(dir, dir == root ? path : slash + 1, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char now[4096];
	ssize_t got = fd < 0 ? -1 : read(fd, now, sizeof(now));

	return got >= 0 && (size_t)got == strnlen(path + at, d->len - at) && memcmp(now, path + at, (size_t)got) == 0;
}

static void look_at_shares(const struct ckpt_netsame *s, int root)
{
	struct nearby near = { NULL, 0, -EBADF };
	struct net_walk w = s->walk;
	size_t end = 0, begin = 0;

	for (size_t i = 0; net_next(&w); i++) {
		if (i == end) {
			begin = __atomic_fetch_add(&s->shared->taken, SHARE, __ATOMIC_RELAXED);
			end = begin + SHARE;
		}
		if (i < begin)
			continue;
		s->shared->same[i] = is_same(&near, root, &w.states[w.i]->message[w.k - 1]);
		if (!s->shared->same[i])
			__atomic_store_n(&s->shared->differs, 1, __ATOMIC_RELAXED);
	}
	fd_close(&near.fd);
}

static int look(void *arg, struct err *e)
{
	cleanup_close int root = net_switches_root(e);

	if (root >= 0)
		look_at_shares(arg, root);
	return root < 0 ? root : 0;
}

static void *run(void *arg)
{
	struct ckpt_netsame *s = arg;
	struct err ignored;

	ckpt_visit(CKPT_SPACE_NET, s->netns, look, s, &ignored);
	step_mark("switches");
	__atomic_store_n(&s->shared->state, SEEN, __ATOMIC_RELEASE);
	syscall(SYS_futex, &s->shared->state, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return NULL;
}

void ckpt_netsame_start(struct ckpt_netsame *s, int netns_fd)
{
	if (s)
		s->netns = fcntl(netns_fd, F_DUPFD_CLOEXEC, 3);
	if (!s || s->netns < 0)
		return;
	s->shared->state = LOOKING;
	s->running = pthread_create(&s->thread, NULL, run, s) == 0;
	if (!s->running)
		s->shared->state = IDLE;
}

static uint32_t state_of(const struct ckpt_netsame *s)
{
	return s ? __atomic_load_n(&s->shared->state, __ATOMIC_ACQUIRE) : IDLE;
}

static void await(const struct ckpt_netsame *s)
{
	while (state_of(s) == LOOKING)
		syscall(SYS_futex, &s->shared->state, FUTEX_WAIT, LOOKING, NULL, NULL, 0);
}

void net_same_help(const struct ckpt_netsame *s, int root)
{
	if (state_of(s) == IDLE)
		return;
	s->shared->put_off = false;
	look_at_shares(s, root);
	await(s);
}

bool net_same_put_off(const struct ckpt_netsame *s)
{
	if (state_of(s) != LOOKING || __atomic_load_n(&s->shared->differs, __ATOMIC_RELAXED))
		return false;
	s->shared->put_off = true;
	return true;
}

bool ckpt_netsame_is_put_off(const struct ckpt_netsame *s)
{
	return state_of(s) != IDLE && s->shared->put_off;
}

bool ckpt_netsame_all(const struct ckpt_netsame *s)
{
	await(s);
	return memchr(s->shared->same, false, s->size - sizeof(*s->shared)) == NULL;
}

bool net_same(const struct ckpt_netsame *s, size_t i)
{
	return s && s->shared->same[i];
}

void ckpt_netsame_free(struct ckpt_netsame *s)
{
	if (!s)
		return;
	if (s->running)
		pthread_join(s->thread, NULL);
	fd_close(&s->netns);
	munmap(s->shared, s->size);
	free(s);
}
