/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * usage: disk KIND FILE
 *
 * For each line on standard input does one piece of work with FILE and answers with the nanoseconds that
 * it took. It stays between two pieces, so that nothing but the work is measured, and a piece is short,
 * so that another process can do the same right before and after. KIND:
 *
 *   write      16 MiB from the beginning, in pieces of 1 MiB, through the page cache, and fdatasync(2)
 *   read       16 MiB likewise, which are not in the page cache
 *   randwrite  64 blocks of 4 KiB anywhere in 64 MiB, O_DIRECT
 *   randread   likewise
 */
#define _GNU_SOURCE /* O_DIRECT */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (1 << 20)
#define CHUNKS 16
#define FILE_CHUNKS 64
#define BLOCK 4096
#define BLOCKS 64

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void must(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static void piece(int fd, char *buf, size_t size, off_t at, bool write_it)
{
	ssize_t n = write_it ? pwrite(fd, buf, size, at) : pread(fd, buf, size, at);

	must(n == (ssize_t)size, write_it ? "write" : "read");
}

static void work(int fd, char *buf, bool random, bool write_it)
{
	for (int i = 0; random && i < BLOCKS; i++)
		piece(fd, buf, BLOCK, lrand48() % (FILE_CHUNKS * (CHUNK / BLOCK)) * (off_t)BLOCK, write_it);
	for (int i = 0; !random && i < CHUNKS; i++)
		piece(fd, buf, CHUNK, (off_t)i * CHUNK, write_it);
	if (!random && write_it)
		must(fdatasync(fd) == 0, "fdatasync");
}

int main(int argc, char **argv)
{
	bool random, write_it;
	char line[16], *buf;
	int fd;

	if (argc != 3)
		return 2;
	random = strncmp(argv[1], "rand", 4) == 0;
	write_it = strcmp(argv[1] + (random ? 4 : 0), "write") == 0;
	buf = aligned_alloc(BLOCK, CHUNK);
	fd = open(argv[2], O_RDWR | O_CREAT, 0600);
	must(buf && fd >= 0, argv[2]);
	for (size_t i = 0; i < CHUNK; i++)
		buf[i] = (char)lrand48(); /* what compresses itself is no measure */
	for (int i = 0; i < FILE_CHUNKS; i++)
		piece(fd, buf, CHUNK, (off_t)i * CHUNK, true);
	must(fsync(fd) == 0, "fsync");
	must(!random || fcntl(fd, F_SETFL, O_DIRECT) == 0, "O_DIRECT");
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		long long start;

		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		start = now();
		work(fd, buf, random, write_it);
		printf("%lld\n", now() - start);
		fflush(stdout);
	}
	return 0;
}
