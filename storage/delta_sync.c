/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/delta_sync.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define QUEUE 64 /* open files */

struct delta_sync {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t given, done;
	int fd[QUEUE]; /* the first one is being written */
	size_t count;
	int error;
	bool over;
};

/* Under the lock, which others may have meanwhile. What could not be written once is not there, whatever comes later. */
static void write_first(struct delta_sync *s)
{
	int fd = s->fd[0], error;

	pthread_mutex_unlock(&s->lock);
	error = fsync(fd) < 0 ? errno : 0;
	close(fd);
	pthread_mutex_lock(&s->lock);
	if (!s->error)
		s->error = error;
	s->count--;
	for (size_t i = 0; i < s->count; i++)
		s->fd[i] = s->fd[i + 1];
	pthread_cond_broadcast(&s->done);
}

static void *run(void *arg)
{
	struct delta_sync *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->over) {
		if (s->count)
			write_first(s);
		else
			pthread_cond_wait(&s->given, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int delta_sync_new(struct delta_sync **ret)
{
	struct delta_sync *s = calloc(1, sizeof(*s));
	sigset_t all, old;
	int r;

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->given, NULL);
	pthread_cond_init(&s->done, NULL);
	/* Signals are for those who know what they mean. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0) {
		free(s);
		return -r;
	}
	*ret = s;
	return 0;
}

void delta_sync_free(struct delta_sync *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->over = true;
	pthread_cond_signal(&s->given);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	for (size_t i = 0; i < s->count; i++)
		close(s->fd[i]);
	pthread_cond_destroy(&s->given);
	pthread_cond_destroy(&s->done);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int delta_sync_add(struct delta_sync *s, int fd)
{
	int mine = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (mine < 0)
		return -errno;
	pthread_mutex_lock(&s->lock);
	while (s->count == QUEUE)
		pthread_cond_wait(&s->done, &s->lock);
	s->fd[s->count++] = mine;
	pthread_cond_signal(&s->given);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int delta_sync_wait(struct delta_sync *s, unsigned ms)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&s->lock);
	while (s->count && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&s->done, &s->lock, &until);
	r = s->error ? -s->error : s->count ? 1 : 0;
	pthread_mutex_unlock(&s->lock);
	return r;
}
