/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Much shared memory that processes have in common, sent in rounds while they write to it: a database's. What might
 * escape who looks at their page tables alone is done now and then: children that are gone at once, mappings that are
 * made, attached, moved and taken away, other programs, holes, pages that are dropped. Each page must be what was written
 * last, in anonymous memory and in System V memory, which somebody has for reading alone, too.
 */
#include "tests/checkpoint/guest.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

#define PAGES 4096ul
#define PAGE 4096ul
#define WORDS (PAGE / sizeof(uint64_t))
#define ODD (PAGES / 4 * 3) /* from here on nothing is written but oddly, so that nothing heals */
#define WRITERS 3
#define BATCH 20
#define KIND_MS 600         /* so long in one way, or what one does not show another would */

enum kind { ANONYMOUS, SYSV, KINDS };

/* Small enough to be read whole. */
struct table {
	pthread_mutex_t lock;
	uint64_t count[KINDS][PAGES]; /* what each page holds; 0: zeros */
	uint64_t serial;
	volatile int stop, failed;
};

static struct table *table;
static uint64_t *memories[KINDS], *memory; /* of this process; that which is looked at */
static uint64_t *counts;                   /* of that */
static int segment;
static unsigned seed;

static void write_page(uint64_t *at, unsigned long n, uint64_t count)
{
	uint64_t *p = at + n * WORDS;

	p[0] = n;
	p[n % (WORDS - 2) + 1] = count;
	p[WORDS - 1] = n ^ count;
	counts[n] = count;
}

static bool is_page(unsigned long n)
{
	const uint64_t *p = memory + n * WORDS;
	uint64_t count = counts[n];

	return p[0] == (count ? n : 0) && p[n % (WORDS - 2) + 1] == count && p[WORDS - 1] == (count ? n ^ count : 0);
}

static void in_child(unsigned long n, uint64_t count, int execute)
{
	pid_t pid = fork();

	if (pid == 0) {
		write_page(memory, n, count);
		if (execute)
			execl("/test", "/test", "short", (char *)NULL);
		_exit(execute);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
}

/* Another mapping of it, for a moment. */
static void in_copy(unsigned long n, uint64_t count)
{
	uint64_t *copy = mremap(memory, 0, PAGES * PAGE, MREMAP_MAYMOVE);

	CHECK(copy != MAP_FAILED);
	write_page(copy, n, count);
	CHECK(munmap(copy, PAGES * PAGE) == 0);
}

/* By somebody who attaches it for a moment; who only reads at first finds the page writable then. */
static void attached(unsigned long n, uint64_t count)
{
	uint64_t *at = shmat(segment, NULL, 0);

	CHECK(at != MAP_FAILED && (at[n * WORDS] == 0 || at[n * WORDS] == n));
	write_page(at, n, count);
	CHECK(shmdt(at) == 0);
}

/* It is there, elsewhere, and what was written is in no page table any more. */
static void move(unsigned long n, uint64_t count)
{
	uint64_t *to = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	write_page(memory, n, count);
	if (mremap(memory, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to)
		memory = memories[ANONYMOUS] = to;
	else /* a part that was mapped anew is not watched until the next round, and so another area (in_place_of()) */
		CHECK(errno == EFAULT && munmap(to, PAGES * PAGE) == 0);
}

/* The page where another one is, and back. */
static void in_place_of(unsigned long n, uint64_t count)
{
	unsigned long other = (n + 7) % PAGES;

	if (remap_file_pages(memory + other * WORDS, PAGE, 0, n, 0) < 0)
		return;
	write_page(memory + (other * WORDS - n * WORDS), n, count);
	CHECK(remap_file_pages(memory + other * WORDS, PAGE, 0, other, 0) == 0);
}

static void choose(enum kind kind)
{
	memory = memories[kind];
	counts = table->count[kind];
}

static void write_once(unsigned long n, uint64_t count)
{
	/* Parts of System V memory are never joined again. */
	switch (memory == memories[SYSV] ? 0 : rand_r(&seed) % 64) {
	case 1:
		CHECK(mprotect(memory + n * WORDS, PAGE, PROT_READ) == 0);
		CHECK(mprotect(memory + n * WORDS, PAGE, PROT_READ | PROT_WRITE) == 0);
		break;
	case 2:
	case 3:
		CHECK(is_page(n));
		break;
	default:
		write_page(memory, n, count);
	}
}

/* What shows nowhere but by its traces. */
static void do_oddly(unsigned long n, uint64_t count)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	switch ((now.tv_sec * 1000 + now.tv_nsec / 1000000) / KIND_MS % 6) {
	case 0:
		in_child(n, count, rand_r(&seed) % 2);
		break;
	case 1:
		(memory == memories[SYSV] ? attached : in_copy)(n, count);
		break;
	case 2:
		(memory == memories[SYSV] ? attached : move)(n, count);
		break;
	case 3:
		(memory == memories[SYSV] ? attached : in_place_of)(n, count);
		break;
	case 4:
		write_page(memory, n, count);
		CHECK(madvise(memory + n * WORDS, PAGE, MADV_DONTNEED) == 0);
		break;
	default:
		CHECK(madvise(memory + n * WORDS, PAGE, MADV_REMOVE) == 0);
		counts[n] = 0;
		CHECK(is_page(n)); /* and is filled with zeros */
	}
}

static void write_on(unsigned own)
{
	seed = own;
	while (!table->stop) {
		pthread_mutex_lock(&table->lock);
		choose((enum kind)(rand_r(&seed) % KINDS));
		for (int i = 0; i < BATCH; i++)
			write_once((unsigned)rand_r(&seed) % ODD, ++table->serial);
		if (rand_r(&seed) % 50 == 0)
			do_oddly(ODD + (unsigned)rand_r(&seed) % (PAGES - ODD), ++table->serial);
		pthread_mutex_unlock(&table->lock);
		usleep(300);
	}
	if (guest_failed)
		table->failed = 1;
}

static void set_up(void)
{
	pthread_mutexattr_t attr;

	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memories[ANONYMOUS] = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	segment = shmget(IPC_PRIVATE, PAGES * PAGE, IPC_CREAT | 0600);
	memories[SYSV] = shmat(segment, NULL, 0);
	CHECK(table != MAP_FAILED && memories[ANONYMOUS] != MAP_FAILED && memories[SYSV] != MAP_FAILED);
	CHECK(shmat(segment, NULL, SHM_RDONLY) != MAP_FAILED);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&table->lock, &attr);
	for (int kind = 0; kind < KINDS; kind++) {
		choose((enum kind)kind);
		for (unsigned long n = 0; n < PAGES - PAGES / 16; n++)
			write_page(memory, n, ++table->serial);
	}
}

static void check_pages(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		choose((enum kind)kind);
		for (unsigned long n = 0; n < PAGES; n++)
			if (!is_page(n)) {
				dprintf(1, "failed: page %lu of kind %d is not as it was written\n", n, kind);
				guest_failed = 1;
				break;
			}
	}
}

int main(int argc, char **argv)
{
	pid_t pids[WRITERS];
	int status;

	if (argc > 1 && strcmp(argv[1], "short") == 0)
		return 0;
	set_up();
	for (unsigned i = 0; i < WRITERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			write_on(i + 1);
			_exit(0);
		}
	}
	wait_for_restore();
	table->stop = 1;
	for (unsigned i = 0; i < WRITERS; i++) {
		CHECK(waitpid(pids[i], &status, 0) == pids[i]);
		if (status)
			dprintf(1, "failed: writer %u ended with %#x\n", i, status);
		CHECK(status == 0);
	}
	CHECK(!table->failed);
	check_pages();
	return done();
}
