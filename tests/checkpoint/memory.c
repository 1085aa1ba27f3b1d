/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Private memory of all sorts: written, read only, without access, holes, zeros, the heap, the
 * program's own data, growing stack, a private file mapping that was written to. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sys/mman.h>

#define SIZE (4 << 20)

static uint64_t data[1000] = { 1, 2, 3 };
static uint64_t bss[1000];

static uint64_t value(size_t i)
{
	return i * 0x9e3779b97f4a7c15ull ^ i >> 7;
}

static uint64_t deep(int n)
{
	volatile uint64_t here[512];

	here[0] = (uint64_t)n;
	here[511] = n ? deep(n - 1) : 0;
	return here[0] + here[511];
}

int main(void)
{
	uint64_t *mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *heap = malloc(SIZE);
	char *none = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/test", O_RDONLY | O_CLOEXEC);
	char *file = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	void *brk = sbrk(0);
	char first[8192];

	memcpy(first, file, sizeof(first));
	close(fd);
	for (size_t i = 0; i < SIZE / 8; i++) {
		if (i / 512 % 7 != 3)
			mem[i] = value(i);
		heap[i] = value(i + 1);
	}
	data[5] = 55;
	bss[999] = 999;
	strcpy(none, "hidden");
	strcpy(none + 4096, "fixed");
	mprotect(none, 4096, PROT_NONE);
	mprotect(none + 4096, 4096, PROT_READ);
	memset(file + 4096, 0, 4096);
	wait_for_restore();
	for (size_t i = 0; i < SIZE / 8; i++) {
		if (mem[i] != (i / 512 % 7 != 3 ? value(i) : 0) || heap[i] != value(i + 1)) {
			CHECK(!"memory is the same");
			break;
		}
	}
	CHECK(data[2] == 3 && data[5] == 55 && bss[999] == 999 && bss[0] == 0);
	CHECK(strcmp(none + 4096, "fixed") == 0);
	CHECK(mprotect(none, 4096, PROT_READ) == 0 && strcmp(none, "hidden") == 0);
	CHECK(memcmp(file, first, 4096) == 0);
	CHECK(file[4096] == 0 && file[8191] == 0);
	CHECK(sbrk(0) == brk && sbrk(65536) == brk);
	memset(brk, 7, 65536);
	CHECK(deep(200) == 200 * 201 / 2);
	return done();
}
