/* SPDX-License-Identifier: GPL-2.0-or-later */

/* io_uring, by its bare calls: rings of all layouts that have served many requests, with requests that were not yet
 * made, completions that nobody has taken, shared with a child, watched by an epoll, registered with threads, with registered files and eventfds; work under way. */
#include "tests/checkpoint/ring.h"

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#define BLOCK 4096
#define DIRECT 64

static void serve(struct ring *r, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		next(r, IORING_OP_NOP, i);
		submit(r, 1);
		CHECK(take(r).user_data == i);
	}
}

/* So many completions are left, and so many requests are there: submitted to the ring, or only prepared. */
static void leave(struct ring *r, unsigned served, unsigned completions, unsigned requests, unsigned prepared)
{
	serve(r, served);
	for (unsigned i = 0; i < completions; i++) {
		next(r, IORING_OP_NOP, 1000 + i);
		submit(r, 0);
	}
	for (unsigned i = 0; i < requests + prepared; i++) {
		next(r, IORING_OP_NOP, 2000 + i);
		if (i < requests)
			*word(r, r->p.sq_off.tail) = r->tail;
	}
}

/* More completions than requests: another ring sends it messages; and requests without a completion. */
static void skew(struct ring *r, unsigned messages, unsigned silent)
{
	struct ring sender = { 0 };

	set_up(&sender, 1, 0, 0);
	for (unsigned i = 0; i < messages; i++) {
		struct io_uring_sqe *s = next(&sender, IORING_OP_MSG_RING, 0);

		s->fd = r->fd;
		s->off = 1000 + i;
		submit(&sender, 1);
		take(&sender);
	}
	for (unsigned i = 0; i < silent; i++) {
		next(r, IORING_OP_NOP, 0)->flags = IOSQE_CQE_SKIP_SUCCESS;
		submit(r, 0);
	}
	serve(&sender, 3);
	CHECK(close(sender.fd) == 0 && munmap(sender.ring, BLOCK) == 0 && munmap(sender.sqes, BLOCK) == 0);
}

static void check_left(struct ring *r, unsigned completions, unsigned requests)
{
	CHECK(waiting(r) == completions);
	for (unsigned i = 0; i < completions; i++)
		CHECK(take(r).user_data == 1000 + i);
	CHECK(waiting(r) == 0);
	submit(r, 0);
	for (unsigned i = 0; i < requests; i++)
		CHECK(take(r).user_data == 2000 + i);
	serve(r, 3 * r->p.cq_entries + 1); /* and on, around the end */
}

static uint8_t *buffer;
static int file, told; /* an eventfd */

/* Writes past the page cache, which take their time; what is read comes into memory that nobody writes to. */
static void start_direct(struct ring *r, int fd)
{
	for (unsigned i = 0; i < DIRECT; i++) {
		struct io_uring_sqe *s = next(r, IORING_OP_WRITE, i);

		memset(buffer + i * BLOCK, (int)i + 1, BLOCK);
		s->fd = fd;
		s->addr = (uint64_t)(uintptr_t)(buffer + i * BLOCK);
		s->len = BLOCK;
		s->off = i * BLOCK;
		s->flags = i % 2 ? IOSQE_ASYNC : 0;
	}
	submit(r, 0);
}

static void check_direct(struct ring *r)
{
	uint64_t seen = 0;
	uint8_t block[BLOCK];

	for (unsigned i = 0; i < DIRECT; i++) {
		struct completion c = take(r);

		CHECK(c.res == BLOCK && c.user_data < DIRECT);
		seen |= 1ull << c.user_data;
	}
	CHECK(seen == ~0ull);
	for (unsigned i = 0; i < DIRECT; i++)
		CHECK(pread(file, block, BLOCK, i * BLOCK) == BLOCK && block[0] == i + 1 && block[BLOCK - 1] == i + 1);
}

static struct ring waited;
static int waits;

/* Waits without end; a stop may end that with EINTR, as any signal does. */
static void *wait_completion(void *arg)
{
	(void)arg;
	__atomic_store_n(&waits, 1, __ATOMIC_RELEASE);
	CHECK(take(&waited).user_data == 77);
	return NULL;
}

/* At this place of the calling thread. */
static void put_in_place(const struct ring *r, unsigned place)
{
	struct io_uring_rsrc_update at = { .offset = place, .data = (unsigned)r->fd };

	CHECK(syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_RING_FDS, &at, 1) == 1);
}

/* By its place, which is the only one of the calling thread that it may be called by. */
static void check_in_place(struct ring *r, unsigned place)
{
	next(r, IORING_OP_NOP, 31 + place);
	__atomic_store_n(word(r, r->p.sq_off.tail), r->tail, __ATOMIC_RELEASE);
	CHECK(syscall(SYS_io_uring_enter, place, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING, NULL,
		      0) == 1);
	CHECK(waiting(r) == 1 && take(r).user_data == 31 + place);
	CHECK(syscall(SYS_io_uring_enter, place ? 0 : 1, 0, 0, IORING_ENTER_REGISTERED_RING, NULL, 0) < 0 &&
	      errno == EBADF);
}

/* For the calling thread alone, with a file and an eventfd: neither hears of what a restore does. */
static void own(struct ring *r, unsigned flags)
{
	set_up(r, 8, IORING_SETUP_SINGLE_ISSUER | flags, 0);
	if (tells_all())
		CHECK(syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_FILES, &file, 1) == 0);
	leave(r, 2500, 5, 0, 0);
	for (unsigned i = 0; i < 21; i++) {
		next(r, IORING_OP_NOP, 0)->flags = IOSQE_CQE_SKIP_SUCCESS;
		submit(r, 0);
	}
	leave(r, 0, 0, 2, 3);
	CHECK(syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_EVENTFD, &told, 1) == 0);
}

static struct ring placed, theirs;
static pthread_barrier_t in_place, restored;

static void *hold_in_place(void *arg)
{
	(void)arg;
	put_in_place(&placed, 15);
	own(&theirs, 0);
	pthread_barrier_wait(&in_place);
	pthread_barrier_wait(&restored);
	check_in_place(&placed, 15);
	check_left(&theirs, 5, 5);
	return NULL;
}

enum { SLOTS = 40, DISK = 3, PROC = 7, FAR = 8, TAGGED = 30, FIRST_FREE = 20, FREE = 2 };
static struct ring holding, telling;
static int proc;
static char napi[256];

static void put_in_slot(struct ring *r, unsigned slot, int fd, uint64_t tag)
{
	struct io_uring_rsrc_update2 u = { .offset = slot, .data = (uintptr_t)&fd, .tags = (uintptr_t)&tag, .nr = 1 };

	CHECK(syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_FILES_UPDATE2, &u, sizeof(u)) == 1);
}

/* struct io_uring_napi and io_uring_clock_register are newer than some headers and kernels. */
static void settle(struct ring *r)
{
	uint32_t poll[4] = { 77, 1 }, boottime[4] = { CLOCK_BOOTTIME };

	if (syscall(SYS_io_uring_register, r->fd, 27, poll, 1) < 0 ||
	    syscall(SYS_io_uring_register, r->fd, 29, boottime, 0) < 0)
		CHECK(errno == EINVAL || errno == EOPNOTSUPP);
}

/* The end of fdinfo. */
static void read_napi(const struct ring *r, char *ret, size_t size)
{
	char path[64], text[4096] = { 0 };
	const char *at;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", r->fd);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && close(fd) == 0);
	at = strstr(text, "\nNAPI");
	snprintf(ret, size, "%s", at ? at : "");
}

/* Files in a table with holes: one is open in another process alone (`far`), one is opened late, one has a tag. An
 * eventfd hears of what takes its time, and of nothing yet. */
static void hold_files(int far)
{
	struct io_uring_rsrc_register all = { .nr = SLOTS, .flags = IORING_RSRC_REGISTER_SPARSE };
	struct io_uring_file_index_range range = { .off = FIRST_FREE, .len = FREE };

	set_up(&holding, 8, 0, 0);
	set_up(&telling, 8, 0, 0);
	settle(&telling);
	read_napi(&telling, napi, sizeof(napi));
	proc = open("/proc/self/status", O_RDONLY);
	CHECK(syscall(SYS_io_uring_register, holding.fd, IORING_REGISTER_FILES2, &all, sizeof(all)) == 0);
	CHECK(syscall(SYS_io_uring_register, holding.fd, IORING_REGISTER_FILE_ALLOC_RANGE, &range, 0) == 0);
	put_in_slot(&holding, DISK, file, 0);
	put_in_slot(&holding, PROC, proc, 0);
	put_in_slot(&holding, FAR, far, 0);
	put_in_slot(&holding, TAGGED, file, 4242);
	CHECK(syscall(SYS_io_uring_register, holding.fd, IORING_REGISTER_EVENTFD_ASYNC, &told, 1) == 0);
	CHECK(syscall(SYS_io_uring_register, telling.fd, IORING_REGISTER_EVENTFD, &told, 1) == 0);
}

static int read_slot(unsigned slot, char *buf, unsigned len)
{
	struct io_uring_sqe *s = next(&holding, IORING_OP_READ, 0);

	s->fd = (int)slot;
	s->flags = IOSQE_FIXED_FILE;
	s->addr = (uintptr_t)buf;
	s->len = len;
	submit(&holding, 1);
	return take(&holding).res;
}

static int open_in_slot(void)
{
	struct io_uring_sqe *s = next(&holding, IORING_OP_OPENAT, 0);

	s->fd = AT_FDCWD;
	s->addr = (uintptr_t)"/dev/null";
	s->file_index = ~0u; /* IORING_FILE_INDEX_ALLOC */
	submit(&holding, 1);
	return take(&holding).res;
}

static void check_files(int far_writer)
{
	char buf[8] = { 0 }, now[sizeof(napi)];
	uint64_t n;

	read_napi(&telling, now, sizeof(now));
	CHECK(strcmp(now, napi) == 0 && read(told, &n, 8) < 0 && errno == EAGAIN);
	CHECK(pwrite(file, "disk", 4, 0) == 4 && read_slot(DISK, buf, 4) == 4 && memcmp(buf, "disk", 4) == 0);
	CHECK(read_slot(PROC, buf, 5) == 5 && memcmp(buf, "Name:", 5) == 0 && lseek(proc, 0, SEEK_CUR) == 0);
	CHECK(write(far_writer, "far", 3) == 3 && read_slot(FAR, buf, 3) == 3 && memcmp(buf, "far", 3) == 0);
	for (unsigned i = 0; i < SLOTS; i++)
		if (i != DISK && i != PROC && i != FAR && i != TAGGED)
			CHECK(read_slot(i, buf, 1) == -EBADF);
	for (int i = 0; i < FREE; i++)
		CHECK(open_in_slot() == FIRST_FREE + i);
	CHECK(open_in_slot() == -ENFILE);
	put_in_slot(&holding, TAGGED, -1, 0);
	CHECK(take(&holding).user_data == 4242);
	while (read(told, &n, 8) == 8)
		;
	/* This is done at once, which one of the rings tells of. */
	serve(&holding, 1);
	CHECK(read(told, &n, 8) < 0 && errno == EAGAIN);
	serve(&telling, 1);
	CHECK(read(told, &n, 8) == 8 && n == 1);
}

static int child(struct ring *shared, const int *go)
{
	char c;

	CHECK(read(go[0], &c, 1) == 1);
	shared->tail = *word(shared, shared->p.sq_off.tail);
	next(shared, IORING_OP_NOP, 4711);
	submit(shared, 0); /* its completion is the parent's: who waits for one may find it taken */
	return guest_failed;
}

int main(void)
{
	static struct ring plain, tiny, big, wide, bare, skewed, shared, slow, owned, later;
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = 5 };
	int go[2], far[2], watch = epoll_create1(0), copy, direct, status = 0;
	pthread_t waiter, holder;
	unsigned flags;
	pid_t pid;

	told = eventfd(0, EFD_NONBLOCK);
	file = open("/root/uring", O_RDWR | O_CREAT, 0600);
	direct = open("/root/uring", O_RDWR | O_DIRECT);
	buffer = mmap(NULL, DIRECT * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	set_up(&plain, 8, 0, 0);
	set_up(&tiny, 1, IORING_SETUP_CQSIZE, 1);
	set_up(&big, 4096, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL, 0);
	set_up(&wide, 16, IORING_SETUP_SQE128 | IORING_SETUP_CQE32, 0);
	set_up(&bare, 32, NO_SQARRAY | IORING_SETUP_CQSIZE, 256);
	set_up(&skewed, 4, IORING_SETUP_CQSIZE, 64);
	set_up(&shared, 4, 0, 0);
	set_up(&slow, DIRECT, 0, 0);
	set_up(&waited, 4, 0, 0);
	leave(&plain, 13, 5, 2, 3);
	leave(&tiny, 7, 1, 0, 1);
	leave(&big, 9000, 100, 1000, 3);
	leave(&wide, 21, 9, 1, 0);
	leave(&bare, 1000, 250, 30, 2);
	skew(&skewed, 40, 21);
	copy = dup(plain.fd);
	CHECK(pipe(go) == 0 && pipe(far) == 0);
	pid = fork();
	if (pid == 0)
		_exit(child(&shared, go));
	if (tells_all())
		hold_files(far[0]);
	close(far[0]);
	CHECK(epoll_ctl(watch, EPOLL_CTL_ADD, shared.fd, &ev) == 0 && epoll_wait(watch, &ev, 1, 0) == 0);
	CHECK(pthread_create(&waiter, NULL, wait_completion, NULL) == 0);
	while (!__atomic_load_n(&waits, __ATOMIC_ACQUIRE))
		sched_yield();
	own(&owned, IORING_SETUP_DEFER_TASKRUN);
	set_up(&later, 4, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_R_DISABLED, 0);
	set_up(&placed, 2, 0, 0);
	put_in_place(&placed, 0);
	CHECK(pthread_barrier_init(&in_place, NULL, 2) == 0 && pthread_barrier_init(&restored, NULL, 2) == 0);
	CHECK(pthread_create(&holder, NULL, hold_in_place, NULL) == 0);
	pthread_barrier_wait(&in_place);
	start_direct(&slow, direct);
	flags = *word(&big, big.p.sq_off.flags);
	wait_for_restore();
	CHECK(*word(&big, big.p.sq_off.flags) == flags && fcntl(copy, F_GETFD) == 0);
	check_in_place(&placed, 0);
	check_direct(&slow);
	if (tells_all())
		check_files(far[1]);
	pthread_barrier_wait(&restored);
	CHECK(pthread_join(holder, NULL) == 0);
	check_left(&owned, 5, 5);
	CHECK(syscall(SYS_io_uring_register, later.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0);
	serve(&later, 5);
	check_left(&plain, 5, 5);
	check_left(&tiny, 1, 1);
	check_left(&big, 100, 1003);
	check_left(&wide, 9, 1);
	check_left(&bare, 250, 32);
	check_left(&skewed, 40, 0);
	CHECK(epoll_wait(watch, &ev, 1, 0) == 0 && write(go[1], "g", 1) == 1);
	CHECK(epoll_wait(watch, &ev, 1, 20000) == 1 && ev.data.u32 == 5 && take(&shared).user_data == 4711);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	next(&waited, IORING_OP_NOP, 77);
	submit(&waited, 0);
	CHECK(pthread_join(waiter, NULL) == 0);
	return done();
}
