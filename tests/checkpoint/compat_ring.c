/* SPDX-License-Identifier: GPL-2.0-or-later */

/* io_uring in a 32-bit program, whose memory lies in the lowest 4 GiB: where its ring was, and what its requests point to
 * is as such programs have it. See compat.h. */
#include "compat.h"

/* The kernel's headers for such programs need not be there. (linux/io_uring.h) */
struct io_uring_params {
	uint32_t sq_entries, cq_entries, flags, thread[2], features, workers, reserved[3];
	struct {
		uint32_t head, tail, mask, entries, flags, dropped, array, reserved[3];
	} sq_off;
	struct {
		uint32_t head, tail, mask, entries, overflow, cqes, flags, reserved[3];
	} cq_off;
};
struct io_uring_sqe {
	uint8_t opcode, flags;
	uint16_t priority;
	int32_t fd;
	uint64_t off, addr;
	uint32_t len, how;
	uint64_t user_data, rest[3];
};
struct io_uring_cqe {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};
#define IORING_OFF_SQ_RING 0ull
#define IORING_OFF_SQES 0x10000000ull

enum { OPEN = 5, READV_REQUEST = 1, MMAP = 192, IO_URING_SETUP = 425, IO_URING_ENTER = 426 };
#define LEFT 3 /* completions that are taken afterwards */

static struct io_uring_params params;
static uint32_t ring, requests;

static volatile uint32_t *word(uint32_t off)
{
	return (volatile uint32_t *)(ring + off);
}

static uint32_t map(int fd, uint32_t size, uint64_t off)
{
	static uint32_t page; /* not on the stack, which moves */
	uint32_t at;

	page = (uint32_t)(off >> 12);
	/* The sixth argument is in %ebp. */
	__asm__ volatile("push %%ebp; mov %7, %%ebp; int $0x80; pop %%ebp"
			 : "=a"(at) : "0"(MMAP), "b"(0), "c"(size), "d"(3), "S"(1 /* MAP_SHARED */), "D"(fd), "m"(page)
			 : "memory");
	return at;
}

static void ask(int fd, uint8_t opcode, int file, uint32_t data)
{
	uint32_t tail = *word(params.sq_off.tail), slot = tail & (params.sq_entries - 1);
	struct io_uring_sqe *s = (struct io_uring_sqe *)requests + slot;

	s->opcode = opcode;
	s->fd = file;
	s->user_data = data;
	*word(params.sq_off.array + 4 * slot) = slot;
	*word(params.sq_off.tail) = tail + 1;
	CHECK(sys(IO_URING_ENTER, (uint32_t)fd, 1, 0, 0, 0) == 1);
}

/* Two pieces of what is nothing but zeros. */
static void read_pieces(int fd, int file)
{
	static uint8_t a[8], b[8];
	static uint32_t pieces[4];
	uint32_t slot = *word(params.sq_off.tail) & (params.sq_entries - 1);
	struct io_uring_sqe *s = (struct io_uring_sqe *)requests + slot;

	pieces[0] = P(a);
	pieces[2] = P(b);
	pieces[1] = pieces[3] = 8;
	a[7] = b[7] = 1;
	s->addr = P(pieces);
	s->len = 2;
	ask(fd, READV_REQUEST, file, 7);
	CHECK(!a[7]);
	CHECK(!b[7]);
	s->addr = s->len = 0;
}

static uint32_t take(void)
{
	uint32_t head = *word(params.cq_off.head);
	const struct io_uring_cqe *c = (const struct io_uring_cqe *)(ring + params.cq_off.cqes);

	if (head == *word(params.cq_off.tail))
		return 0;
	*word(params.cq_off.head) = head + 1;
	return (uint32_t)c[head & (params.cq_entries - 1)].user_data;
}

static void wait_for_line(void)
{
	char c = 0;

	say("ready\n");
	while (c != '\n')
		CHECK(sys(READ, 0, P(&c), 1, 0, 0) == 1);
}

__attribute__((used)) static void run(const uint32_t *args)
{
	int fd, file;

	if (args[0] > 1) /* asked whether such programs run at all */
		sys(EXIT, 0, 0, 0, 0, 0);
	fd = sys(IO_URING_SETUP, 8, P(&params), 0, 0, 0);
	file = sys(OPEN, P("/dev/zero"), 0, 0, 0, 0);
	CHECK(fd >= 0);
	ring = map(fd, params.cq_off.cqes + params.cq_entries * 16, IORING_OFF_SQ_RING);
	requests = map(fd, params.sq_entries * 64, IORING_OFF_SQES);
	CHECK(ring < 0xfffff000u);
	CHECK(requests < 0xfffff000u);
	for (uint32_t i = 1; i <= LEFT; i++)
		ask(fd, 0 /* IORING_OP_NOP */, -1, i);
	wait_for_line();
	for (uint32_t i = 1; i <= LEFT; i++)
		CHECK(take() == i);
	CHECK(take() == 0);
	read_pieces(fd, file);
	CHECK(take() == 7);
	for (uint32_t i = 1; i < 100; i++) {
		ask(fd, 0 /* IORING_OP_NOP */, -1, i);
		CHECK(take() == i);
	}
	say(failed ? "bad\n" : "good\n");
	sys(EXIT, (uint32_t)failed, 0, 0, 0, 0);
}
