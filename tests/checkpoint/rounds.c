/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Memory that changes all the time: it is sent in rounds while this goes on. A writer and a child fill pages
 * with their number and a count, drop, move, map and unmap them, fork and execute; what each page must
 * hold is kept apart. Whatever moment the end comes at, all pages must be as they say.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

#define PAGES 2048
#define WORDS 512
#define FILE_PAGES 64

struct memory {
	uint64_t *page[PAGES];  /* each may be anywhere */
	uint64_t count[PAGES];  /* 0: it was dropped, and reads as zeros */
	uint64_t *file;         /* private, of a file */
	uint64_t file_count[FILE_PAGES];
	uint64_t original[FILE_PAGES];
	uint64_t *shared;
	uint64_t shared_count[64];
	int memfd;
	int shm;                /* System V memory, which is attached, too */
	uint64_t *seg;
	uint64_t seg_count[64];
	uint64_t turns;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct memory own;
static volatile int stop;

static void write_page(uint64_t *p, uint64_t n, uint64_t count)
{
	p[0] = n;
	p[n % (WORDS - 2) + 1] = count;
	p[WORDS - 1] = n ^ count;
}

static int is_page(const uint64_t *p, uint64_t n, uint64_t count)
{
	if (!count)
		return p[0] == 0 && p[n % (WORDS - 2) + 1] == 0 && p[WORDS - 1] == 0;
	return p[0] == n && p[n % (WORDS - 2) + 1] == count && p[WORDS - 1] == (n ^ count);
}

/* Somewhere else, with what is in it. */
static void move(struct memory *m, unsigned n)
{
	uint64_t *to = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(mremap(m->page[n], 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	m->page[n] = to;
}

/* Another page at the same place. */
static void replace(struct memory *m, unsigned n)
{
	CHECK(mmap(m->page[n], 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	      m->page[n]);
	m->count[n] = 0;
}

static void touch_shared(struct memory *m, unsigned n, uint64_t count)
{
	uint64_t page[WORDS] = { 0 };

	if (n % 2) {
		write_page(m->shared + n * WORDS, n, count);
	} else {
		write_page(page, n, count);
		CHECK(pwrite(m->memfd, page, 4096, n * 4096) == 4096);
	}
	m->shared_count[n] = count;
}

/* Through a mapping that is gone when anybody looks; of it, or of a child's. */
static void touch_briefly(struct memory *m, unsigned n, uint64_t count)
{
	uint64_t *p;

	if (count % 64 == 0) {
		pid_t pid = fork();

		if (pid == 0) {
			write_page(m->shared + n * WORDS, n, count);
			_exit(0);
		}
		CHECK(waitpid(pid, NULL, 0) == pid);
		m->shared_count[n] = count;
		return;
	}
	p = shmat(m->shm, NULL, 0);
	CHECK(p != (void *)-1);
	write_page(p + n * WORDS, n, count);
	m->seg_count[n] = count;
	CHECK(shmdt(p) == 0);
}

/* Memory that is met in a round, perhaps, and gone at the end. */
static void have_briefly(void)
{
	int id = shmget(IPC_PRIVATE, 16 * 4096, 0600);
	char *p = shmat(id, NULL, 0);

	CHECK(p != (void *)-1);
	memset(p, 5, 16 * 4096);
	usleep(1000);
	CHECK(shmctl(id, IPC_RMID, NULL) == 0 && shmdt(p) == 0);
}

static void turn(struct memory *m, unsigned *seed)
{
	unsigned n = (unsigned)rand_r(seed) % PAGES, f = n % FILE_PAGES;
	uint64_t count = ++m->turns;

	switch (rand_r(seed) % 16) {
	case 0:
		CHECK(madvise(m->page[n], 4096, MADV_DONTNEED) == 0);
		m->count[n] = 0;
		break;
	case 1:
		move(m, n);
		break;
	case 2:
		replace(m, n);
		break;
	case 3:
		CHECK(madvise(m->file + f * WORDS, 4096, MADV_DONTNEED) == 0);
		m->file_count[f] = 0;
		break;
	case 4:
	case 5:
		write_page(m->file + f * WORDS, f, count);
		m->file_count[f] = count;
		break;
	case 6:
		touch_shared(m, f, count);
		break;
	case 8:
		touch_briefly(m, f, count);
		break;
	case 7:
		CHECK(mprotect(m->page[n], 4096, count % 2 ? PROT_NONE : PROT_READ) == 0);
		CHECK(mprotect(m->page[n], 4096, PROT_READ | PROT_WRITE) == 0);
		break;
	default:
		write_page(m->page[n], n, count);
		m->count[n] = count;
	}
}

static void verify(const struct memory *m)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (!is_page(m->page[i], i, m->count[i])) {
			dprintf(1, "failed: page %u of process %d\n", i, (int)getpid());
			guest_failed = 1;
			return;
		}
	for (unsigned i = 0; i < FILE_PAGES; i++)
		CHECK(m->file_count[i] ? is_page(m->file + i * WORDS, i, m->file_count[i])
				       : m->file[i * WORDS] == m->original[i]);
	for (unsigned i = 0; i < 64; i++)
		CHECK((!m->shared_count[i] || is_page(m->shared + i * WORDS, i, m->shared_count[i])) &&
		      (!m->seg_count[i] || is_page(m->seg + i * WORDS, i, m->seg_count[i])));
}

static void set_up(struct memory *m)
{
	int fd = open("/test", O_RDONLY | O_CLOEXEC);
	uint64_t *all = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	m->file = mmap(NULL, FILE_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	for (unsigned i = 0; i < FILE_PAGES; i++)
		m->original[i] = m->file[i * WORDS];
	for (unsigned i = 0; i < PAGES; i++)
		m->page[i] = all + i * WORDS;
	m->memfd = memfd_create("rounds", MFD_CLOEXEC);
	CHECK(ftruncate(m->memfd, 64 * 4096) == 0);
	m->shared = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, m->memfd, 0);
	m->shm = shmget(IPC_PRIVATE, 64 * 4096, 0600);
	m->seg = shmat(m->shm, NULL, 0);
	CHECK(m->seg != (void *)-1);
	close(fd);
}

static void *write_on(void *arg)
{
	unsigned seed = 1;

	while (!stop) {
		pthread_mutex_lock(&lock);
		for (int i = 0; i < 50; i++)
			turn(&own, &seed);
		pthread_mutex_unlock(&lock);
		if (own.turns % 10000 == 0)
			have_briefly();
		usleep(100);
	}
	return arg;
}

/* As a garbage collector does that looks for what was written since. */
static void take_marks_off(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && write(fd, "4", 1) == 1);
	close(fd);
}

/* A process of its own that goes on with what it inherited, and children that execute and end. */
static pid_t start_child(int ready, int go)
{
	pid_t pid = fork();
	unsigned seed = 2;
	char c;

	if (pid)
		return pid;
	set_up(&own); /* what was shared with the parent stays the parent's */
	memset(own.count, 0, sizeof(own.count));
	memset(own.file_count, 0, sizeof(own.file_count));
	memset(own.shared_count, 0, sizeof(own.shared_count));
	memset(own.seg_count, 0, sizeof(own.seg_count));
	fcntl(go, F_SETFL, O_NONBLOCK);
	CHECK(write(ready, "r", 1) == 1);
	while (read(go, &c, 1) != 1) {
		for (int i = 0; i < 50; i++)
			turn(&own, &seed);
		if (own.turns % 1000 == 0)
			take_marks_off();
		if (own.turns % 5000 == 0) {
			pid_t last = fork();

			if (last == 0) {
				execl("/test", "/test", "short", (char *)NULL);
				_exit(1);
			}
			waitpid(last, NULL, 0);
		}
		usleep(200);
	}
	verify(&own);
	_exit(guest_failed);
}

int main(int argc, char **argv)
{
	int ready[2], go[2], status;
	pthread_t t;
	pid_t pid;
	char c;

	if (argc > 1 && strcmp(argv[1], "short") == 0)
		return 0;
	set_up(&own);
	CHECK(pipe(ready) == 0 && pipe(go) == 0);
	pid = start_child(ready[1], go[0]);
	CHECK(read(ready[0], &c, 1) == 1);
	pthread_create(&t, NULL, write_on, NULL);
	wait_for_restore();
	stop = 1;
	pthread_join(t, NULL);
	verify(&own);
	CHECK(write(go[1], "g", 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return done();
}
