/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Memory of huge pages: private, shared, without a reservation, of memfds and of System V; with holes, pages of zeros,
 * parts that were given up or may not be read, seals, a child that shares pages copy-on-write; and a thread
 * that writes all the time. The pool must be as it was: no page more, no reservation less. Run by huge-pages.
 *
 * KEPT_APART: soft-dirty marks of huge pages cannot be taken off (6.12), so rounds send them all again, and what
 * parent and child share is each one's own afterwards.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

#ifndef KEPT_APART
#define KEPT_APART 0
#endif

#define HUGE ((size_t)2 << 20)
#define ANON (MAP_ANONYMOUS | MAP_HUGETLB)

static char *map(size_t pages, int flags, int fd)
{
	char *p = mmap(NULL, pages * HUGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p == MAP_FAILED ? NULL : p;
}

static int is_present(const char *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	CHECK(pread(fd, &entry, 8, (off_t)((uintptr_t)page / 4096 * 8)) == 8);
	close(fd);
	return entry >> 63;
}

static int exclusive(const char *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	CHECK(pread(fd, &entry, 8, (off_t)((uintptr_t)page / 4096 * 8)) == 8);
	close(fd);
	return entry >> 56 & 1;
}

static long pool(const char *what)
{
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");
	long n = -1;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, what, strlen(what)) == 0)
			n = strtol(line + strlen(what), NULL, 10);
	fclose(f);
	return n;
}

static volatile uint64_t *moving[3], counts[3];
static volatile int stop;

static void *write_on(void *arg)
{
	for (uint64_t n = 1; !stop; n++)
		for (int i = 0; i < 3; i++) {
			moving[i][n % 200000] = n;
			moving[i][262143] = counts[i] = n;
			if (n % 64 == 0)
				usleep(50);
		}
	return arg;
}

/* Shares all but one page with its parent, and has one of its own. */
static pid_t start_child(char *own, char *shared, int ready, int go)
{
	pid_t pid = fork();
	char c;

	if (pid)
		return pid;
	own[HUGE] = 'c';
	CHECK(write(ready, "r", 1) == 1 && read(go, &c, 1) == 1);
	CHECK(own[0] == 'p' && own[HUGE] == 'c' && shared[5] == 's' && exclusive(own) == KEPT_APART);
	shared[6] = 't';
	_exit(guest_failed);
}

static int has_sysv(int *id)
{
	*id = shmget(IPC_PRIVATE, 3 * HUGE - 5000, IPC_CREAT | 0600 | SHM_HUGETLB);
	if (*id < 0)
		CHECK(errno == EPERM);
	return *id >= 0;
}

int main(void)
{
	char *own = map(3, MAP_PRIVATE | ANON, -1), *lazy = map(4, MAP_PRIVATE | ANON | MAP_NORESERVE, -1);
	char *shared = map(2, MAP_SHARED | ANON, -1), *cut = map(4, MAP_PRIVATE | ANON, -1), *busy = map(1, MAP_PRIVATE | ANON, -1);
	int file = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_ALLOW_SEALING), id, ready[2], go[2], status;
	int alone = memfd_create("alone", MFD_HUGETLB), sysv = has_sysv(&id);
	char *whole, *mine, *seg = NULL, c, byte;
	struct shmid_ds ds;
	long unused, reserved;
	struct stat st;
	pthread_t t;
	pid_t pid;

	CHECK(file >= 0 && ftruncate(file, 4 * HUGE) == 0 && alone >= 0 && ftruncate(alone, 2 * HUGE) == 0);
	CHECK(fallocate(alone, 0, HUGE, HUGE) == 0);
	whole = map(4, MAP_SHARED, file);
	mine = map(4, MAP_PRIVATE | MAP_NORESERVE, file);
	if (!own || !lazy || !shared || !cut || !busy || !whole || !mine)
		return done();
	own[0] = own[HUGE] = 'p';
	lazy[3 * HUGE - 1] = 'l';
	memset(lazy, 0, 1); /* there, and nothing in it */
	shared[5] = 's';
	cut[0] = cut[2 * HUGE] = cut[3 * HUGE] = 'k';
	CHECK(munmap(cut + HUGE, HUGE) == 0 && mprotect(cut + 2 * HUGE, HUGE, PROT_NONE) == 0);
	CHECK(mlock(cut, HUGE) == 0 && madvise(lazy, 4 * HUGE, MADV_DONTDUMP) == 0);
	whole[HUGE] = 'w';
	mine[0] = 'm';
	CHECK(madvise(mine, 4 * HUGE, MADV_DONTFORK) == 0);
	byte = mine[HUGE];
	CHECK(fcntl(file, F_ADD_SEALS, F_SEAL_GROW) == 0);
	if (sysv) {
		seg = shmat(id, NULL, 0);
		CHECK(seg != (void *)-1);
		seg[HUGE + 3] = 'v';
		CHECK(munmap(seg, HUGE) == 0);
		seg += HUGE;
		CHECK(shmctl(id, IPC_RMID, NULL) == 0);
	}
	moving[0] = (void *)busy;
	moving[1] = (void *)(shared + HUGE);
	moving[2] = (void *)(whole + 2 * HUGE);
	CHECK(pipe(ready) == 0 && pipe(go) == 0);
	pid = start_child(own, shared, ready[1], go[0]);
	CHECK(read(ready[0], &c, 1) == 1);
	for (int i = 0; i < 3; i++)
		moving[i][0] = 1;
	pthread_create(&t, NULL, write_on, NULL);
	unused = pool("HugePages_Free:");
	reserved = pool("HugePages_Rsvd:");
	wait_for_restore();
	CHECK(KEPT_APART || (pool("HugePages_Free:") == unused && pool("HugePages_Rsvd:") == reserved));
	stop = 1;
	pthread_join(t, NULL);
	for (int i = 0; i < 3; i++)
		CHECK(moving[i][262143] == counts[i]);
	CHECK(own[0] == 'p' && own[HUGE] == 'p' && exclusive(own) == KEPT_APART && exclusive(own + HUGE) && !is_present(own + 2 * HUGE));
	CHECK(is_present(lazy) && lazy[0] == 0 && !is_present(lazy + HUGE) && lazy[3 * HUGE - 1] == 'l');
	CHECK(cut[0] == 'k' && cut[3 * HUGE] == 'k' && mmap(cut + HUGE, HUGE, PROT_READ, MAP_PRIVATE | ANON | MAP_FIXED_NOREPLACE, -1, 0) == cut + HUGE);
	CHECK(mprotect(cut + 2 * HUGE, HUGE, PROT_READ) == 0 && cut[2 * HUGE] == 'k');
	CHECK(whole[HUGE] == 'w' && byte == 'w' && mine[HUGE] == 'w' && mine[0] == 'm' && whole[0] == 0 && fstat(file, &st) == 0);
	CHECK(st.st_size == 4 * (off_t)HUGE && fcntl(file, F_GET_SEALS) == F_SEAL_GROW && ftruncate(file, 5 * HUGE) < 0);
	CHECK(fstat(alone, &st) == 0 && st.st_size == 2 * (off_t)HUGE && st.st_blocks == HUGE / 512);
	if (sysv)
		CHECK(seg[3] == 'v' && shmctl(id, IPC_STAT, &ds) == 0 && ds.shm_segsz == 3 * HUGE - 5000 && ds.shm_nattch == 2);
	CHECK(write(go[1], "g", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0 && shared[6] == 't');
	return done();
}
