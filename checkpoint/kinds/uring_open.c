/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Rings as they were. The kernel's own counts are brought to where they were by requests that do nothing: libraries
 * compare the count of requests taken with one of their own, so that it must be the same, not only the place in the
 * ring. For completions that nobody's request was (polls with many) a second ring sends messages.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kinds.h"
#include "checkpoint/uring.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES_MAX 32768u /* IORING_MAX_ENTRIES; twice as many completions */
#define MESSAGES 64u
#define REGISTER_NAPI 27u  /* IORING_REGISTER_NAPI, Linux 6.9 */
#define REGISTER_CLOCK 29u /* IORING_REGISTER_CLOCK, Linux 6.12 */

bool ckpt_uring_is(const struct ckpt_tree *t, const Ckpt__Area *a)
{
	return a->memfd_file && t->files[a->memfd_file - 1]->kind == CKPT_FILE_URING;
}

bool ckpt_uring_fits(const struct ckpt_tree *t, const Ckpt__Area *a)
{
	return ckpt_uring_is(t, a) && (a->flags & MAP_SHARED) && !a->path[0] && !a->shmem && !a->ghost &&
	       (a->offset == IORING_OFF_SQ_RING || a->offset == IORING_OFF_CQ_RING ||
		a->offset == IORING_OFF_SQES);
}

static bool is_power(uint32_t n)
{
	return n && !(n & (n - 1));
}

int ckpt_uring_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e)
{
	const Ckpt__Uring *u = f->uring;
	bool good = u && is_power(u->sq_entries) && is_power(u->cq_entries) && u->sq_entries <= ENTRIES_MAX &&
		    u->cq_entries <= 2 * ENTRIES_MAX && !(u->flags & ~(uint32_t)CKPT_URING_SAVED) &&
		    u->sq_head <= CKPT_URING_AGE_MAX && u->cq_tail <= CKPT_URING_AGE_MAX &&
		    (u->n_workers == 0 || u->n_workers == 2) &&
		    (!(u->flags & IORING_SETUP_R_DISABLED) || (!u->sq_head && !u->cq_tail)) &&
		    ckpt_uring_files_fit(t, u) && ckpt_uring_owner_fits(t, f);

	if ((f->kind == CKPT_FILE_URING) == (u != NULL) && (!u || good))
		return 0;
	return err_set(e, ERR_FAIL, "the image is damaged: an io_uring");
}

bool ckpt_uring_afford(struct ckpt_uring_cost *c, const Ckpt__Uring *u)
{
	c->requests += u->sq_head > u->cq_tail ? u->sq_head : u->cq_tail;
	if ((u->flags & IORING_SETUP_SINGLE_ISSUER) && !(u->flags & IORING_SETUP_R_DISABLED))
		c->calls += u->sq_head / ckpt_uring_step(u);
	return c->requests <= CKPT_URING_AGE_MAX && c->calls <= CKPT_URING_CALLS_MAX;
}

int ckpt_uring_allow(const struct ckpt_tree *t, bool given, struct err *e)
{
	struct ckpt_uring_cost cost = { 0 };

	for (size_t i = 0; i < t->file_count; i++) {
		if (t->files[i]->kind != CKPT_FILE_URING)
			continue;
		if (!given)
			return err_set(e, ERR_UNSUPPORTED,
				       "the image has an io_uring, and the VPS is not given the feature io_uring");
		if (!ckpt_uring_afford(&cost, t->files[i]->uring))
			return err_set(e, ERR_UNSUPPORTED, "the io_urings of the image have served so many requests that it "
				       "takes too long to make up for them");
	}
	return 0;
}

int ckpt_uring_setup(struct ckpt_uring *u, const Ckpt__Uring *as, struct err *e)
{
	*u = (struct ckpt_uring){ .params = { .flags = as->flags | IORING_SETUP_CQSIZE,
					      .cq_entries = as->cq_entries } };
	u->fd = (int)syscall(SYS_io_uring_setup, as->sq_entries, &u->params);
	if (u->fd < 0)
		return err_sys(e, "make an io_uring");
	if (u->params.sq_entries == as->sq_entries && u->params.cq_entries == as->cq_entries)
		return 0;
	fd_close(&u->fd);
	return err_set(e, ERR_UNSUPPORTED, "make an io_uring of %u entries", as->sq_entries);
}

static size_t max(size_t a, size_t b)
{
	return a > b ? a : b;
}

static bool has_array(const struct ckpt_uring *u)
{
	return !(u->params.flags & CKPT_URING_NO_SQARRAY);
}

static size_t sqe_size(const struct ckpt_uring *u)
{
	return u->params.flags & IORING_SETUP_SQE128 ? 128 : 64;
}

int ckpt_uring_map(struct ckpt_uring *u, struct err *e)
{
	const struct io_uring_params *p = &u->params;
	size_t cqe = p->flags & IORING_SETUP_CQE32 ? 32 : 16;

	u->ring_size = max(p->cq_off.cqes + p->cq_entries * cqe,
			   has_array(u) ? p->sq_off.array + p->sq_entries * sizeof(uint32_t) : 0);
	u->sqes_size = p->sq_entries * sqe_size(u);
	u->ring = mmap(NULL, u->ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_SQ_RING);
	u->sqes = mmap(NULL, u->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_SQES);
	if (u->ring == MAP_FAILED)
		u->ring = NULL;
	if (u->sqes == MAP_FAILED)
		u->sqes = NULL;
	return u->ring && u->sqes ? 0 : err_sys(e, "map an io_uring");
}

void ckpt_uring_unmap(struct ckpt_uring *u)
{
	if (u->ring)
		munmap(u->ring, u->ring_size);
	if (u->sqes)
		munmap(u->sqes, u->sqes_size);
	u->ring = u->sqes = NULL;
}

/* Another of ours tells how it is laid out. */
int ckpt_uring_take(struct ckpt_uring *u, const Ckpt__Uring *as, pid_t tid, int fd, struct err *e)
{
	cleanup_close int pidfd = pidfd_open_task(tid);
	int r = ckpt_uring_setup(u, as, e);

	fd_close(&u->fd);
	if (r < 0)
		return r;
	u->fd = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	return u->fd < 0 ? err_sys(e, "take an io_uring") : ckpt_uring_map(u, e);
}

void ckpt_uring_give_up(struct ckpt_uring *u)
{
	ckpt_uring_unmap(u);
	fd_close(&u->fd);
}

Ckpt__Uring ckpt_uring_before(const Ckpt__Uring *as)
{
	Ckpt__Uring u = *as;

	u.sq_head -= (uint32_t)as->n_request;
	return u;
}

static uint32_t *word(const struct ckpt_uring *u, uint32_t offset)
{
	return (uint32_t *)(void *)((uint8_t *)u->ring + offset);
}

void ckpt_uring_put(const struct ckpt_uring *u, const struct io_uring_sqe *sqe, uint32_t behind,
		    struct ckpt_uring_place *ret)
{
	uint32_t head = *word(u, u->params.sq_off.head) + behind;
	uint8_t *at;

	ret->slot = head & (u->params.sq_entries - 1);
	ret->tail = *word(u, u->params.sq_off.tail);
	at = (uint8_t *)u->sqes + ret->slot * sqe_size(u);
	memcpy(&ret->sqe, at, sizeof(ret->sqe));
	memcpy(at, sqe, sizeof(*sqe));
	if (has_array(u)) {
		ret->index = word(u, u->params.sq_off.array)[ret->slot];
		word(u, u->params.sq_off.array)[ret->slot] = ret->slot;
	}
	*word(u, u->params.sq_off.tail) = head + 1;
}

void ckpt_uring_put_back(const struct ckpt_uring *u, const struct ckpt_uring_place *was)
{
	memcpy((uint8_t *)u->sqes + was->slot * sqe_size(u), &was->sqe, sizeof(was->sqe));
	if (has_array(u))
		word(u, u->params.sq_off.array)[was->slot] = was->index;
	*word(u, u->params.sq_off.tail) = was->tail;
}

/* Each slot the same request. */
static void fill_requests(struct ckpt_uring *u, const struct io_uring_sqe *request)
{
	for (uint32_t i = 0; i < u->params.sq_entries; i++) {
		memcpy((uint8_t *)u->sqes + i * sqe_size(u), request, sizeof(*request));
		if (has_array(u))
			word(u, u->params.sq_off.array)[i] = i;
	}
}

uint32_t ckpt_uring_step(const Ckpt__Uring *as)
{
	return as->sq_entries < as->cq_entries ? as->sq_entries : as->cq_entries;
}

void ckpt_uring_ready(struct ckpt_uring *u, bool silent, uint32_t times)
{
	const struct io_uring_sqe request = { .opcode = IORING_OP_NOP, .flags = silent ? IOSQE_CQE_SKIP_SUCCESS : 0 };

	fill_requests(u, &request);
	*word(u, u->params.cq_off.flags) = IORING_CQ_EVENTFD_DISABLED;
	*word(u, u->params.sq_off.tail) += times;
}

/* As many times. What `into` gets of completions is taken out of it. */
static int repeat(struct ckpt_uring *u, const struct io_uring_sqe *request, uint32_t times, struct ckpt_uring *into,
		  struct err *e)
{
	uint32_t *head = word(into, into->params.cq_off.head), *tail = word(into, into->params.cq_off.tail);
	uint32_t step = u->params.sq_entries < into->params.cq_entries ? u->params.sq_entries
								       : into->params.cq_entries;

	fill_requests(u, request);
	*word(u, u->params.sq_off.tail) += times;
	while (times) {
		long n = syscall(SYS_io_uring_enter, u->fd, times < step ? times : step, 0, 0, NULL, 0);

		if (n <= 0)
			return n < 0 ? err_sys(e, "make requests of an io_uring")
				     : err_set(e, ERR_FAIL, "an io_uring takes no requests");
		times -= (uint32_t)n;
		__atomic_store_n(head, __atomic_load_n(tail, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
	}
	return 0;
}

static int send_messages(struct ckpt_uring *u, uint32_t times, struct err *e)
{
	struct io_uring_sqe request = { .opcode = IORING_OP_MSG_RING, .flags = IOSQE_CQE_SKIP_SUCCESS, .fd = u->fd };
	const Ckpt__Uring as = { .sq_entries = MESSAGES, .cq_entries = MESSAGES };
	struct ckpt_uring sender;
	int r = ckpt_uring_setup(&sender, &as, e);

	if (r == 0)
		r = ckpt_uring_map(&sender, e);
	if (r == 0)
		r = repeat(&sender, &request, times, u, e);
	ckpt_uring_unmap(&sender);
	fd_close(&sender.fd);
	return r;
}

static int advance(struct ckpt_uring *u, const Ckpt__Uring *as, struct err *e)
{
	struct io_uring_sqe request = { .opcode = IORING_OP_NOP };
	uint32_t both = as->sq_head < as->cq_tail ? as->sq_head : as->cq_tail;
	int r = both ? repeat(u, &request, both, u, e) : 0;

	request.flags = IOSQE_CQE_SKIP_SUCCESS;
	if (r == 0 && as->sq_head > both)
		r = repeat(u, &request, as->sq_head - both, u, e);
	return r == 0 && as->cq_tail > both ? send_messages(u, as->cq_tail - both, e) : r;
}

static void put_back(void *at, size_t size, const ProtobufCBinaryData *data)
{
	memcpy(at, data->data, data->len);
	memset((uint8_t *)at + data->len, 0, size - data->len);
}

/* Settings that need nothing but the ring. */
static int set(const struct ckpt_uring *u, const Ckpt__Uring *as, struct err *e)
{
	/* struct io_uring_clock_register and io_uring_napi, which are newer than some headers */
	const uint32_t clock[4] = { as->clock };
	const struct {
		uint32_t us;
		uint8_t prefer, opcode, pad[2];
		uint32_t tracking, reserved;
	} napi = { .us = as->napi_us, .prefer = as->napi_prefer != 0 };

	if (as->n_workers && syscall(SYS_io_uring_register, u->fd, IORING_REGISTER_IOWQ_MAX_WORKERS,
				     (uint32_t[]){ as->workers[0], as->workers[1] }, 2) < 0)
		return err_sys(e, "limit the workers of an io_uring");
	if (as->clock && syscall(SYS_io_uring_register, u->fd, REGISTER_CLOCK, clock, 0) < 0)
		return err_sys(e, "set the clock of an io_uring");
	if (as->napi && syscall(SYS_io_uring_register, u->fd, REGISTER_NAPI, &napi, 1) < 0)
		return err_sys(e, "have an io_uring look for what comes by the network");
	return 0;
}

int ckpt_uring_finish(struct ckpt_uring *u, const Ckpt__Uring *as, struct err *e)
{
	if (*word(u, u->params.sq_off.head) != as->sq_head || *word(u, u->params.cq_off.tail) != as->cq_tail)
		return err_set(e, ERR_FAIL, "an io_uring is not where it was");
	put_back(u->ring, u->ring_size, &as->ring);
	put_back(u->sqes, u->sqes_size, &as->sqes);
	*word(u, u->params.sq_off.head) = as->sq_head; /* until what waits has been asked for again */
	return 0;
}

static int make(struct ckpt_uring *u, const Ckpt__Uring *as, struct err *e)
{
	int r = ckpt_uring_map(u, e);

	if (r < 0)
		return r;
	if (as->ring.len > u->ring_size || as->sqes.len > u->sqes_size || as->array != u->params.sq_off.array ||
	    as->cqes != u->params.cq_off.cqes)
		return err_set(e, ERR_UNSUPPORTED, "an io_uring lies differently in memory on this host's kernel");
	r = set(u, as, e);
	if (r < 0 || as->owner)
		return r;
	r = advance(u, as, e);
	return r == 0 ? ckpt_uring_finish(u, as, e) : r;
}

/* Requests of a ring that was made by a 32-bit call have what they point to as 32-bit programs do. */
static int setup_compat(struct ckpt_uring *u, const Ckpt__Uring *as, struct err *e)
{
	struct io_uring_params *low = mmap(NULL, CKPT_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
					   -1, 0);
	long r;

	if (low == MAP_FAILED)
		return err_sys(e, "make an io_uring");
	*low = (struct io_uring_params){ .flags = as->flags | IORING_SETUP_CQSIZE, .cq_entries = as->cq_entries };
	__asm__ volatile("int $0x80" : "=a"(r) : "0"(SYS_io_uring_setup), "b"(as->sq_entries), "c"(low)
			 : "memory", "r8", "r9", "r10", "r11");
	*u = (struct ckpt_uring){ .fd = (int)r, .params = *low };
	munmap(low, CKPT_PAGE);
	return u->fd < 0 ? err_code(e, u->fd, "make an io_uring of a 32-bit program") : 0;
}

int ckpt_uring_open(const Ckpt__Uring *as, bool compat, struct err *e)
{
	struct ckpt_uring u;
	Ckpt__Uring first = ckpt_uring_before(as), made = first;
	int r;

	if (as->owner)
		first.flags |= IORING_SETUP_R_DISABLED;
	r = compat ? setup_compat(&u, &first, e) : ckpt_uring_setup(&u, &first, e);
	if (r < 0)
		return r;
	r = make(&u, &made, e);
	ckpt_uring_unmap(&u);
	if (r < 0)
		fd_close(&u.fd);
	return r < 0 ? r : u.fd;
}
