/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What requests of io_uring that wait have asked for, as the kernel keeps it (io_uring/ in its source). */
#include "checkpoint/uring_waiting.h"

#include "base/macro.h"
#include "checkpoint/kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define LISTS_MAX 4096u /* of a ring, that requests hang in */
#define SECOND 1000000000ull
/* Bits of io_kiocb.flags, the lowest of which are those of the request. */
#define FLAGS_AGAIN (IOSQE_ASYNC | IOSQE_CQE_SKIP_SUCCESS)
#define FLAGS_NEVER (IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_BUFFER_SELECT)
#define TIMEOUT_AGAIN                                                                                                  \
	(IORING_TIMEOUT_ABS | IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME | IORING_TIMEOUT_ETIME_SUCCESS)
/* Newer than some headers: Linux 6.0, 6.1, 6.8. */
#define POLL_ADD_LEVEL (1u << 3)
#define RECV_POLL_FIRST (1u << 0)
#define ACCEPT_MULTISHOT (1u << 0)
#define COMPAT_MESSAGE 0x80000000u /* MSG_CMSG_COMPAT, which the kernel adds in rings of 32-bit programs */

struct reader {
	struct ckpt_kernel *k;
	struct ckpt_uring_request *q;
	uint64_t cmd; /* what is its kind's own */
	struct err *e;
};

static int get(const struct reader *r, uint64_t at, const char *type, const char *member, unsigned size, uint64_t *ret)
{
	return ckpt_kernel_member(r->k, at, type, member, size, ret, r->e);
}

/* 1: it is described; 0: it cannot be made again. */
static int read_poll(struct reader *r)
{
	uint64_t events = 0;
	int n = get(r, r->cmd, "io_poll", "events", 4, &events);
	bool once = events & EPOLLONESHOT;

	r->q->sqe.poll32_events = (uint32_t)events & ~(uint32_t)(EPOLLONESHOT | EPOLLET);
	r->q->sqe.len = (once ? 0 : IORING_POLL_ADD_MULTI) | (events & EPOLLET ? 0 : POLL_ADD_LEVEL);
	return n < 0 ? n : once || !(r->q->sqe.flags & IOSQE_CQE_SKIP_SUCCESS);
}

static int read_receive(struct reader *r)
{
	uint64_t len = 0, done = 0, how = 0, flags = 0, buf = 0;
	int n = get(r, r->cmd, "io_sr_msg", "buf", 8, &buf);

	if (n == 0)
		n = get(r, r->cmd, "io_sr_msg", "len", 4, &len);
	if (n == 0)
		n = get(r, r->cmd, "io_sr_msg", "done_io", 4, &done);
	if (n == 0)
		n = get(r, r->cmd, "io_sr_msg", "msg_flags", 4, &how);
	if (n == 0)
		n = get(r, r->cmd, "io_sr_msg", "flags", 2, &flags);
	r->q->sqe.addr = buf;
	r->q->sqe.len = (uint32_t)len;
	r->q->sqe.msg_flags = (uint32_t)how & ~COMPAT_MESSAGE;
	r->q->sqe.ioprio = (uint16_t)flags;
	return n < 0 ? n : !done && !(flags & ~(uint64_t)RECV_POLL_FIRST);
}

static int read_accept(struct reader *r)
{
	uint64_t addr = 0, len = 0, flags = 0, how = 0, slot = 0;
	int n = get(r, r->cmd, "io_accept", "addr", 8, &addr);

	if (n == 0)
		n = get(r, r->cmd, "io_accept", "addr_len", 8, &len);
	if (n == 0)
		n = get(r, r->cmd, "io_accept", "flags", 4, &flags);
	if (n == 0)
		n = get(r, r->cmd, "io_accept", "iou_flags", 4, &how);
	if (n == 0)
		n = get(r, r->cmd, "io_accept", "file_slot", 4, &slot);
	r->q->sqe.addr = addr;
	r->q->sqe.addr2 = len;
	r->q->sqe.accept_flags = (uint32_t)flags;
	r->q->sqe.ioprio = (uint16_t)how;
	return n < 0 ? n : !slot && !((how & ACCEPT_MULTISHOT) && (r->q->sqe.flags & IOSQE_CQE_SKIP_SUCCESS));
}

static int read_read(struct reader *r)
{
	uint64_t addr = 0, len = 0, flags = 0, pos = 0;
	int n = get(r, r->cmd, "io_rw", "addr", 8, &addr);

	if (n == 0)
		n = get(r, r->cmd, "io_rw", "len", 4, &len);
	if (n == 0)
		n = get(r, r->cmd, "io_rw", "flags", 4, &flags);
	if (n == 0)
		n = get(r, r->cmd, "io_rw", "kiocb.ki_pos", 8, &pos);
	r->q->sqe.addr = addr;
	r->q->sqe.len = (uint32_t)len;
	r->q->sqe.rw_flags = (__kernel_rwf_t)flags;
	r->q->sqe.off = pos;
	return n < 0 ? n : 1;
}

/* By clocks of the host, whose monotonic ones are others where it is restored. */
static void set_time(struct ckpt_uring_request *q, uint64_t flags, uint64_t end)
{
	clockid_t clock = flags & IORING_TIMEOUT_REALTIME   ? CLOCK_REALTIME
			  : flags & IORING_TIMEOUT_BOOTTIME ? CLOCK_BOOTTIME
							    : CLOCK_MONOTONIC;
	struct timespec ts = { 0, 0 };
	uint64_t now;

	if (clock == CLOCK_REALTIME && (flags & IORING_TIMEOUT_ABS)) {
		q->time_ns = end;
		return;
	}
	clock_gettime(clock, &ts);
	now = (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
	q->time_ns = end > now ? end - now : 1;
	q->sqe.timeout_flags &= ~(uint32_t)IORING_TIMEOUT_ABS;
}

static int read_timeout(struct reader *r)
{
	uint64_t off = 0, prev = 0, data = 0, flags = 0, end = 0;
	int n = get(r, r->cmd, "io_timeout", "off", 4, &off);

	if (n == 0)
		n = get(r, r->cmd, "io_timeout", "prev", 8, &prev);
	if (n == 0)
		n = get(r, r->q->at, "io_kiocb", "async_data", 8, &data);
	if (n == 0 && data)
		n = get(r, data, "io_timeout_data", "flags", 4, &flags);
	if (n == 0 && data)
		n = get(r, data, "io_timeout_data", "timer.node.expires", 8, &end);
	r->q->sqe.len = 1;
	r->q->sqe.timeout_flags = (uint32_t)flags;
	if (n < 0 || off || prev || !data || flags & ~(uint64_t)TIMEOUT_AGAIN)
		return n;
	set_time(r->q, flags, end);
	return 1;
}

static const struct {
	uint8_t opcode;
	int (*read)(struct reader *r);
} kinds[] = {
	{ IORING_OP_POLL_ADD, read_poll }, { IORING_OP_RECV, read_receive }, { IORING_OP_ACCEPT, read_accept },
	{ IORING_OP_READ, read_read },     { IORING_OP_TIMEOUT, read_timeout },
};

static int read_own(struct reader *r)
{
	int n = ckpt_kernel_place(r->k, r->q->at, "io_kiocb", "cmd", &r->cmd, r->e);

	for (size_t i = 0; n == 0 && i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].opcode == r->q->sqe.opcode)
			return kinds[i].read(r);
	return n;
}

static int describe(struct ckpt_kernel *k, struct ckpt_uring_request *q, struct err *e)
{
	struct reader r = { k, q, 0, e };
	uint64_t opcode = 0, flags = 0, data = 0, link = 0, creds = 0;
	int n = get(&r, q->at, "io_kiocb", "opcode", 1, &opcode);

	if (n == 0)
		n = get(&r, q->at, "io_kiocb", "flags", 8, &flags);
	if (n == 0)
		n = get(&r, q->at, "io_kiocb", "cqe.user_data", 8, &data);
	if (n == 0)
		n = get(&r, q->at, "io_kiocb", "tctx", 8, &q->tctx);
	if (n == 0)
		n = get(&r, q->at, "io_kiocb", "link", 8, &link);
	if (n == 0)
		n = get(&r, q->at, "io_kiocb", "creds", 8, &creds);
	if (n == 0 && opcode != IORING_OP_TIMEOUT)
		n = get(&r, q->at, "io_kiocb", "file", 8, &q->file);
	q->sqe = (struct io_uring_sqe){ .opcode = (uint8_t)opcode, .flags = (uint8_t)(flags & FLAGS_AGAIN), .user_data = data };
	return n < 0 || flags & FLAGS_NEVER || link || creds ? n : read_own(&r);
}

/* Through the lists of a ring. */
struct walk {
	struct ckpt_kernel *k;
	struct ckpt_uring_asked *found;
	struct err *e;
};

static int add(struct walk *w, uint64_t at)
{
	struct ckpt_uring_asked *a = w->found;
	struct ckpt_uring_request *bigger = reallocarray(a->list, a->count + 1, sizeof(*bigger));
	int n;

	if (!bigger)
		return err_code(w->e, -ENOMEM, "look for requests of an io_uring");
	a->list = bigger;
	a->list[a->count] = (struct ckpt_uring_request){ .at = at };
	ckpt_kernel_look(w->k, at);
	n = describe(w->k, &a->list[a->count], w->e);
	ckpt_kernel_look(w->k, 0);
	if (n > 0)
		a->count++; /* others are waited for, as whoever counts them finds */
	return n < 0 ? n : 0;
}

/* From a request's node on to the list's end. Timers go on while all stands still: what they take out of the list points
 * at itself from then on. */
static int follow(struct walk *w, uint64_t node, uint64_t in_request, uint64_t end)
{
	int n = 0;

	while (n == 0 && node != end) {
		uint64_t was = node;

		if (w->found->seen++ == CKPT_URING_ASKED_MAX) {
			err_set(w->e, ERR_UNSUPPORTED, "an io_uring has more requests that wait than can be saved");
			return -E2BIG;
		}
		n = add(w, node - in_request);
		if (n == 0)
			n = ckpt_kernel_read(w->k, node, &node, w->e);
		if (n == 0 && node == was) {
			err_set(w->e, ERR_UNSUPPORTED, "time-outs of an io_uring change");
			n = -EAGAIN;
		}
	}
	return n;
}

/* What waits for a file. */
static int read_table(struct walk *w, uint64_t ctx)
{
	uint64_t lists = 0, bits = 0, in_request = 0, first = 0;
	uint32_t size = 0;
	int n = ckpt_kernel_member(w->k, ctx, "io_ring_ctx", "cancel_table.hbs", 8, &lists, w->e);

	if (n == 0)
		n = ckpt_kernel_member(w->k, ctx, "io_ring_ctx", "cancel_table.hash_bits", 4, &bits, w->e);
	if (n == 0)
		n = ckpt_kernel_size(w->k, "io_hash_bucket", &size, w->e);
	if (n == 0)
		n = ckpt_kernel_place(w->k, 0, "io_kiocb", "hash_node", &in_request, w->e);
	for (uint64_t i = 0; n == 0 && i < LISTS_MAX && i >> bits == 0; i++) {
		n = ckpt_kernel_member(w->k, lists + i * size, "io_hash_bucket", "list.first", 8, &first, w->e);
		if (n == 0)
			n = follow(w, first, in_request, 0);
	}
	return n;
}

static int read_timeouts(struct walk *w, uint64_t ctx)
{
	uint64_t head = 0, first = 0, in_request = 0, in_cmd = 0;
	int n = ckpt_kernel_place(w->k, ctx, "io_ring_ctx", "timeout_list", &head, w->e);

	if (n == 0)
		n = ckpt_kernel_place(w->k, 0, "io_kiocb", "cmd", &in_request, w->e);
	if (n == 0)
		n = ckpt_kernel_place(w->k, 0, "io_timeout", "list", &in_cmd, w->e);
	if (n == 0)
		n = ckpt_kernel_read(w->k, head, &first, w->e);
	return n == 0 ? follow(w, first, in_cmd + in_request, head) : n;
}

static bool tells_enough(struct ckpt_kernel *k)
{
	return ckpt_kernel_has(k, "io_kiocb", "tctx") && ckpt_kernel_has(k, "io_ring_ctx", "cancel_table.hbs") &&
	       ckpt_kernel_has(k, "io_accept", "iou_flags");
}

int ckpt_uring_asked_find(struct ckpt_kernel *k, uint64_t ctx, struct ckpt_uring_asked *ret, struct err *e)
{
	struct walk w = { k, ret, e };
	uint64_t tail = 0;
	int n;

	*ret = (struct ckpt_uring_asked){ 0 };
	n = ckpt_kernel_member(k, ctx, "io_ring_ctx", "cached_cq_tail", 4, &tail, e);
	if (n == 0 && tells_enough(k))
		n = read_table(&w, ctx);
	if (n == 0 && tells_enough(k))
		n = read_timeouts(&w, ctx);
	ret->cq_tail = (uint32_t)tail;
	if (n < 0)
		ckpt_uring_asked_done(ret);
	return n;
}

void ckpt_uring_asked_done(struct ckpt_uring_asked *a)
{
	free(a->list);
	*a = (struct ckpt_uring_asked){ 0 };
}

bool ckpt_uring_asked_same(const struct ckpt_uring_asked *a, const struct ckpt_uring_asked *b)
{
	bool same = a->count == b->count && a->cq_tail == b->cq_tail;

	for (size_t i = 0; same && i < a->count; i++)
		same = a->list[i].at == b->list[i].at;
	return same;
}
