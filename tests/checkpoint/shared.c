/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Memory that processes share: anonymous, by memfd (with seals, mapped twice, written by write(2)), a
 * robust mutex between processes. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct shared {
	volatile int go, ready;
	pthread_mutex_t lock;
	uint64_t table[100000];
};

int main(void)
{
	struct shared *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("some name", MFD_CLOEXEC | MFD_ALLOW_SEALING), status;
	char *a, *b, text[16];
	struct stat st;
	pthread_mutexattr_t attr;
	pid_t pid;

	CHECK(ftruncate(fd, 40000) == 0);
	a = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8192);
	b = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 8192);
	strcpy(a + 100, "mapped");
	CHECK(pwrite(fd, "written", 7, 39000) == 7);
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	lseek(fd, 39000, SEEK_SET);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&sh->lock, &attr);
	for (size_t i = 0; i < 100000; i += 3)
		sh->table[i] = i * i;
	pid = fork();
	if (pid == 0) {
		pthread_mutex_lock(&sh->lock);
		sh->ready = 1;
		while (!sh->go)
			usleep(1000);
		sh->table[1] = 17;
		a[101] = 'A';
		_exit(3); /* with the lock */
	}
	while (!sh->ready)
		usleep(1000);
	wait_for_restore();
	CHECK(read(fd, text, 7) == 7 && memcmp(text, "written", 7) == 0);
	CHECK(strcmp(b + 100, "mapped") == 0);
	CHECK(fcntl(fd, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW) && ftruncate(fd, 10) < 0);
	CHECK(fstat(fd, &st) == 0 && st.st_size == 40000);
	for (size_t i = 0; i < 100000; i++)
		if (sh->table[i] != (i % 3 == 0 ? i * i : 0)) {
			CHECK(!"the table is the same");
			break;
		}
	CHECK(pthread_mutex_trylock(&sh->lock) == EBUSY);
	sh->go = 1;
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 3);
	CHECK(pthread_mutex_lock(&sh->lock) == EOWNERDEAD);
	CHECK(sh->table[1] == 17 && strcmp(b + 100, "mApped") == 0);
	return done();
}
