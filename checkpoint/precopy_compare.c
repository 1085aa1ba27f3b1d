/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Which pages of shared memory are not what was sent, when all is stopped: by their hashes, where they lie, by
 * several threads. Who writes to it cannot be watched: a process may map it, write and be gone between two looks, and
 * write(2) leaves no mark in any page table. While the VPS runs it is read instead (precopy_shared.c), as memory that
 * a tenant cuts off while we look would be a signal for us; mapped ahead it may be, and its pages with it.
 */
#include "base/macro.h"
#include "checkpoint/beside.h"
#include "checkpoint/precopy_internal.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <xxhash.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; before, the pages come when they are read */
#endif

#define PIECE MIB(1)
#define WORKERS 4
#define ALONE MIB(8) /* less than this is not worth a thread */

void ckpt_shared_unmap(struct shared *s)
{
	if (s->map)
		munmap(s->map, s->map_size);
	s->map = NULL;
	s->map_size = 0;
}

void ckpt_shared_map(struct shared *s, uint64_t size, const struct ckpt_ranges *data)
{
	if (s->map_size != size) {
		ckpt_shared_unmap(s);
		s->map = size ? mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, s->fd, 0) : MAP_FAILED;
		if (s->map == MAP_FAILED) {
			s->map = NULL;
			return;
		}
		s->map_size = size;
	}
	/* Where there is data alone: looking at a hole would fill it. Failures do no harm. */
	for (size_t i = 0; i < data->count; i++)
		if (data->r[i].end <= size)
			madvise(s->map + data->r[i].start, data->r[i].end - data->r[i].start, MADV_POPULATE_READ);
}

struct comparison {
	const struct shared *s;
	struct ckpt_range *pieces;
	size_t count;
	_Atomic size_t next;
	uint8_t *changed; /* of each page */
};

static void *compare(void *arg)
{
	struct comparison *c = arg;

	for (size_t i = c->next++; i < c->count; i = c->next++)
		for (uint64_t at = c->pieces[i].start; at < c->pieces[i].end; at += CKPT_PAGE)
			c->changed[at / CKPT_PAGE] =
				c->s->hash[at / CKPT_PAGE] != ckpt_shared_hash(c->s->map + at);
	return NULL;
}

static size_t worker_count(size_t pieces)
{
	cpu_set_t set;
	size_t n = sched_getaffinity(0, sizeof(set), &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;

	return pieces * PIECE < ALONE ? 1 : n < WORKERS ? n : WORKERS;
}

static void compare_all(struct comparison *c)
{
	pthread_t threads[WORKERS];
	size_t n = worker_count(c->count), started = 1;

	while (started < n && ckpt_beside(&threads[started], compare, c))
		started++;
	compare(c);
	for (size_t i = 1; i < started; i++)
		pthread_join(threads[i], NULL);
}

static int cut(struct comparison *c, const struct ckpt_ranges *data)
{
	size_t room = 0;

	for (size_t i = 0; i < data->count; i++)
		room += (data->r[i].end - data->r[i].start) / PIECE + 1;
	c->pieces = calloc(room + 1, sizeof(*c->pieces));
	for (size_t i = 0; c->pieces && i < data->count; i++)
		for (uint64_t at = data->r[i].start; at < data->r[i].end; at += PIECE)
			c->pieces[c->count++] = (struct ckpt_range){
				.start = at, .end = data->r[i].end - at < PIECE ? data->r[i].end : at + PIECE,
			};
	return c->pieces ? 0 : -ENOMEM;
}

bool ckpt_shared_can_compare(const struct shared *s, uint64_t size, const struct ckpt_ranges *data)
{
	/* A file that ends within a page is read, as beyond it there may be anything. */
	return s->map && s->map_size == size && size % CKPT_PAGE == 0 && s->pages &&
	       (!data->count || data->r[data->count - 1].end <= size);
}

int ckpt_shared_compare(const struct shared *s, const struct ckpt_ranges *data, struct ckpt_ranges *ret)
{
	struct comparison c = { .s = s, .changed = calloc(s->pages + 1, 1) };
	int r = c.changed ? cut(&c, data) : -ENOMEM;

	if (r == 0)
		compare_all(&c);
	for (size_t i = 0; r == 0 && i < s->pages; i++)
		if (c.changed[i])
			r = ckpt_ranges_add(ret, i * CKPT_PAGE, (i + 1) * CKPT_PAGE, true);
	free(c.pieces);
	free(c.changed);
	return r;
}
