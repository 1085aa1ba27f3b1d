/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Shared memory of three kinds that threads and a child cut into pieces, each in its own way, while it is sent in rounds:
 * by mprotect(2), munmap(2), mremap(2) and madvise(2). What is in each page, where it is and what may be done with it must
 * be as it was left; who writes to a page that may be written to must not die of it.
 */
#include "tests/checkpoint/guest.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

#define PAGE 4096ul
#define WORDS (PAGE / sizeof(uint64_t))
#define PAGES 3072ul /* of each kind: so much that it is watched */
#define THREADS 3
#define PIECES 600   /* so many of a kind are ever touched: each may be an area of its own */

enum kind { ANONYMOUS, SYSV, MEMFD, KINDS };

/* A page of this process's. */
struct page {
	uint64_t *at; /* NULL: it is not mapped */
	int prot;
};

static uint64_t (*count)[PIECES]; /* what is in it, of all processes */
static struct page pages[KINDS][PIECES];
static uint64_t *memories[KINDS];
static volatile int *stop;
static unsigned who; /* of the processes */

static __thread sigjmp_buf back;
static __thread volatile int expected;

static void on_fault(int sig)
{
	if (expected)
		siglongjmp(back, 1);
	dprintf(1, "failed: signal %d at a page that may be used\nbad\n", sig);
	_exit(1);
}

static int may(uint64_t *at, int write)
{
	volatile uint64_t *p = at;

	expected = 1;
	if (sigsetjmp(back, 1)) {
		expected = 0;
		return 0;
	}
	if (write)
		p[1] = p[1];
	else
		(void)p[1];
	expected = 0;
	return 1;
}

/* Of those that this process alone writes to. */
static uint64_t *place(int kind, unsigned i)
{
	return memories[kind] + (i * 4 + who) * WORDS;
}

static void check(int kind, unsigned i)
{
	const struct page *p = &pages[kind][i];
	uint64_t want = count[kind * 2 + (int)who][i];

	if (!p->at || !(p->prot & PROT_READ))
		return;
	if (p->at[0] != want || p->at[WORDS - 1] != want) {
		dprintf(1, "failed: page %u of kind %d of process %u holds %lu, not %lu\n", i, kind, who,
			(unsigned long)p->at[0], (unsigned long)want);
		guest_failed = 1;
	}
}

static void write_page(int kind, unsigned i)
{
	struct page *p = &pages[kind][i];

	if (!p->at || !(p->prot & PROT_WRITE))
		return;
	p->at[0] = p->at[WORDS - 1] = ++count[kind * 2 + (int)who][i];
}

static void protect(struct page *p, unsigned *seed)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE };

	if (!p->at)
		return;
	p->prot = prots[rand_r(seed) % 4];
	CHECK(mprotect(p->at, PAGE, p->prot) == 0);
}

/* Elsewhere, and nothing where it was. */
static void move(struct page *p)
{
	void *to = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!p->at)
		return;
	CHECK(mremap(p->at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	p->at = to;
}

/* A hole; it stays one until it is mapped by a copy of its neighbour's mapping, for memfds alone. */
static void unmap(int kind, unsigned i, int memfd)
{
	struct page *p = &pages[kind][i];

	if (kind != MEMFD)
		return;
	if (p->at) {
		CHECK(munmap(p->at, PAGE) == 0);
		p->at = NULL;
		return;
	}
	p->at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, (off_t)((i * 4 + who) * PAGE));
	p->prot = PROT_READ | PROT_WRITE;
	CHECK(p->at != MAP_FAILED);
}

static int memfd;

static void turn(int kind, unsigned i, unsigned *seed)
{
	struct page *p = &pages[kind][i];

	switch (rand_r(seed) % 12) {
	case 0:
	case 1:
		protect(p, seed);
		break;
	case 2:
		if (rand_r(seed) % 4 == 0)
			move(p);
		break;
	case 3:
		unmap(kind, i, memfd);
		break;
	case 4:
		CHECK(!p->at || madvise(p->at, PAGE, MADV_DONTNEED) == 0);
		break;
	case 5:
		if (!p->at || !(p->prot & PROT_WRITE))
			break;
		CHECK(madvise(p->at, PAGE, MADV_REMOVE) == 0);
		count[kind * 2 + (int)who][i] = 0;
		break;
	case 6:
		CHECK(!p->at || madvise(p->at, PAGE, rand_r(seed) % 2 ? MADV_DONTFORK : MADV_DOFORK) == 0);
		break;
	case 7:
		check(kind, i);
		break;
	default:
		write_page(kind, i);
	}
}

static void *cut(void *arg)
{
	unsigned own = (unsigned)(uintptr_t)arg, seed = own + 10 * who + 1;

	while (!*stop) {
		for (int k = 0; k < 40; k++) {
			unsigned i = (unsigned)rand_r(&seed) % (PIECES / THREADS) * THREADS + own;

			turn((int)(rand_r(&seed) % KINDS), i, &seed);
		}
		usleep(500);
	}
	return NULL;
}

static void verify(void)
{
	for (int kind = 0; kind < KINDS; kind++)
		for (unsigned i = 0; i < PIECES; i++) {
			struct page *p = &pages[kind][i];

			CHECK(!p->at || may(p->at, 0) == !!(p->prot & PROT_READ));
			CHECK(!p->at || may(p->at, 1) == !!(p->prot & PROT_WRITE));
			check(kind, i);
		}
}

static pthread_t threads[THREADS];

static void begin(void)
{
	struct sigaction sa = { .sa_handler = on_fault };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	for (int kind = 0; kind < KINDS; kind++)
		for (unsigned i = 0; i < PIECES; i++)
			pages[kind][i] = (struct page){ place(kind, i), PROT_READ | PROT_WRITE };
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, cut, (void *)i);
}

static void end(void)
{
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	verify();
}

static void set_up(void)
{
	int id = shmget(IPC_PRIVATE, PAGES * PAGE, IPC_CREAT | 0600);

	memfd = memfd_create("cut", MFD_CLOEXEC);
	CHECK(ftruncate(memfd, PAGES * PAGE) == 0);
	memories[ANONYMOUS] = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memories[SYSV] = shmat(id, NULL, 0);
	memories[MEMFD] = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	count = mmap(NULL, 2 * KINDS * sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	stop = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int kind = 0; kind < KINDS; kind++)
		for (unsigned long n = 0; n < PAGES; n++)
			if (n % 4 > 1)
				memories[kind][n * WORDS] = n;
}

int main(void)
{
	int status;
	pid_t pid;

	set_up();
	pid = fork();
	who = pid == 0;
	begin();
	if (pid == 0) {
		end();
		_exit(guest_failed);
	}
	wait_for_restore();
	*stop = 1;
	end();
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	for (int kind = 0; kind < KINDS; kind++)
		for (unsigned long n = 0; n < PAGES; n++)
			if (n % 4 > 1 && memories[kind][n * WORDS] != n)
				guest_failed = 1;
	return done();
}
