/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_RING_H
#define TESTS_CHECKPOINT_RING_H

/* io_uring, by its bare calls, for test programs. */
#include "tests/checkpoint/guest.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#define NO_SQARRAY (1u << 16)

struct ring {
	int fd;
	struct io_uring_params p;
	uint8_t *ring, *sqes;
	unsigned tail; /* of requests, as a library keeps it */
};

static unsigned *word(const struct ring *r, unsigned off)
{
	return (unsigned *)(void *)(r->ring + off);
}

static void set_up(struct ring *r, unsigned entries, unsigned flags, unsigned completions)
{
	size_t cqe = flags & IORING_SETUP_CQE32 ? 32 : 16, sqe = flags & IORING_SETUP_SQE128 ? 128 : 64;

	r->p = (struct io_uring_params){ .flags = flags, .cq_entries = completions };
	r->fd = (int)syscall(SYS_io_uring_setup, entries, &r->p);
	CHECK(r->fd >= 0);
	r->ring = mmap(NULL, r->p.cq_off.cqes + r->p.cq_entries * cqe + r->p.sq_entries * 4, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->p.sq_entries * sqe, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd,
		       IORING_OFF_SQES);
	CHECK(r->ring != MAP_FAILED && r->sqes != MAP_FAILED);
	for (unsigned i = 0; !(flags & NO_SQARRAY) && i < r->p.sq_entries; i++)
		word(r, r->p.sq_off.array)[i] = i;
}

/* The next request, in a slot that must be free. */
static struct io_uring_sqe *next(struct ring *r, unsigned opcode, uint64_t data)
{
	size_t size = r->p.flags & IORING_SETUP_SQE128 ? 128 : 64;
	struct io_uring_sqe *s = (void *)(r->sqes + (r->tail & (r->p.sq_entries - 1)) * size);

	CHECK(r->tail - *word(r, r->p.sq_off.head) < r->p.sq_entries);
	memset(s, 0, size);
	s->opcode = (uint8_t)opcode;
	s->user_data = data;
	r->tail++;
	return s;
}

static void submit(struct ring *r, unsigned wait)
{
	unsigned n = r->tail - *word(r, r->p.sq_off.head);
	long took;

	__atomic_store_n(word(r, r->p.sq_off.tail), r->tail, __ATOMIC_RELEASE);
	took = syscall(SYS_io_uring_enter, r->fd, n, wait, IORING_ENTER_GETEVENTS, NULL, 0);
	CHECK(took == n);
}

static unsigned waiting(const struct ring *r)
{
	return __atomic_load_n(word(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) - *word(r, r->p.cq_off.head);
}

static struct io_uring_cqe take(struct ring *r)
{
	unsigned *head = word(r, r->p.cq_off.head);
	size_t size = r->p.flags & IORING_SETUP_CQE32 ? 32 : 16;
	struct io_uring_cqe c = { .user_data = UINT64_MAX };

	while (!waiting(r))
		if (syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR)
			break;
	CHECK(waiting(r));
	memcpy(&c, r->ring + r->p.cq_off.cqes + (*head & (r->p.cq_entries - 1)) * size, sizeof(c));
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return c;
}

/* Whether the kernel tells what rings have registered, and what waits (Linux 6.13). */
__attribute__((unused)) static bool tells_all(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	CHECK(uname(&u) == 0 && sscanf(u.release, "%d.%d", &major, &minor) == 2);
	return major > 6 || (major == 6 && minor >= 13);
}

#endif
