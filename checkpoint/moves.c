/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/moves.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/beside.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 16
#define MESSAGES 16 /* of an fd at a time: who makes them without end is not to keep all others waiting */

struct ear {
	int uffd;             /* -EBADF: it was closed, after it was waited for perhaps */
	atomic_uint *moved;
	struct ear *next;
};

struct ckpt_moves {
	pthread_t thread;
	pthread_mutex_t lock; /* held from before an event is read, which lets its process go, until it is told */
	pthread_cond_t passed;
	atomic_uint wanted;   /* so many want the lock: it is not taken again before they had it */
	int epoll, end;
	struct ear *ears;     /* until the end */
};

static void hear(const struct ear *ear)
{
	struct uffd_msg msg;

	for (int i = 0; i < MESSAGES && read(ear->uffd, &msg, sizeof(msg)) == sizeof(msg); i++)
		atomic_fetch_add(ear->moved, 1);
}

static void *listen_on(void *arg)
{
	struct ckpt_moves *m = arg;

	for (bool over = false; !over;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(m->epoll, events, EVENTS, -1);

		pthread_mutex_lock(&m->lock);
		while (m->wanted)
			pthread_cond_wait(&m->passed, &m->lock);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				hear(events[i].data.ptr);
			else
				over = true;
		}
		pthread_mutex_unlock(&m->lock);
	}
	return NULL;
}

/* A mutex alone lets whoever has just let go of it have it again. */
static void take(struct ckpt_moves *m)
{
	m->wanted++;
	pthread_mutex_lock(&m->lock);
}

static void pass(struct ckpt_moves *m)
{
	m->wanted--;
	pthread_cond_signal(&m->passed);
	pthread_mutex_unlock(&m->lock);
}

static void release(struct ckpt_moves *m)
{
	while (m->ears) {
		struct ear *next = m->ears->next;

		free(m->ears);
		m->ears = next;
	}
	fd_close(&m->epoll);
	fd_close(&m->end);
	free(m);
}

struct ckpt_moves *ckpt_moves_new(void)
{
	struct ckpt_moves *m = calloc(1, sizeof(*m));
	struct epoll_event ending = { .events = EPOLLIN };

	if (!m)
		return NULL;
	*m = (struct ckpt_moves){ .lock = PTHREAD_MUTEX_INITIALIZER, .passed = PTHREAD_COND_INITIALIZER,
				  .epoll = epoll_create1(EPOLL_CLOEXEC), .end = eventfd(0, EFD_CLOEXEC) };
	if (m->epoll < 0 || epoll_ctl(m->epoll, EPOLL_CTL_ADD, m->end, &ending) < 0 ||
	    !ckpt_beside(&m->thread, listen_on, m)) {
		release(m);
		return NULL;
	}
	return m;
}

void ckpt_moves_free(struct ckpt_moves *m)
{
	if (!m)
		return;
	eventfd_write(m->end, 1);
	pthread_join(m->thread, NULL);
	release(m);
}

int ckpt_moves_add(struct ckpt_moves *m, int uffd, atomic_uint *moved)
{
	struct ear *ear = calloc(1, sizeof(*ear));
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = ear };

	if (!ear)
		return -ENOMEM;
	*ear = (struct ear){ .uffd = uffd, .moved = moved, .next = m->ears };
	if (epoll_ctl(m->epoll, EPOLL_CTL_ADD, uffd, &event) < 0) {
		free(ear);
		return -errno;
	}
	m->ears = ear;
	return 0;
}

void ckpt_moves_close(struct ckpt_moves *m, int *uffd)
{
	if (m)
		take(m);
	for (struct ear *ear = m && *uffd >= 0 ? m->ears : NULL; ear; ear = ear->next)
		if (ear->uffd == *uffd)
			ear->uffd = -EBADF;
	fd_close(uffd);
	if (m)
		pass(m);
}

void ckpt_moves_settle(struct ckpt_moves *m)
{
	take(m);
	pass(m);
}
