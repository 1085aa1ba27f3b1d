/* SPDX-License-Identifier: GPL-2.0-or-later */

/* holder PAGES FILE [HUGE]: has so many huge pages, looks at them ten times a second, and counts that in FILE; it
 * ends when they are not what they were. HUGE is a file of a hugetlbfs that they are to be of; one more is private
 * then, and in place of the file's. For tests/migrate/huge.bats. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE ((size_t)2 << 20)

int main(int argc, char **argv)
{
	size_t pages = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
	int fd = argc > 2 ? open(argv[2], O_WRONLY | O_CREAT, 0644) : -1,
	    huge = argc > 3 ? open(argv[3], O_RDWR | O_CREAT, 0600) : -1;
	uint64_t *p = mmap(NULL, pages * HUGE, PROT_READ | PROT_WRITE,
			   huge < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB : MAP_SHARED, huge, 0);
	volatile uint64_t *own = huge < 0 ? p : mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, huge, 0);

	if (p == MAP_FAILED || own == MAP_FAILED || fd < 0)
		return 1;
	for (size_t i = 0; i < pages * HUGE / 8; i += 509)
		p[i] = i;
	own[0] = huge < 0 ? 0 : 1;
	for (unsigned n = 1;; n++) {
		if (own[0] != (huge < 0 ? 0 : 1))
			return 2;
		for (size_t i = 0; i < pages * HUGE / 8; i += 509)
			if (p[i] != i)
				return 2;
		if (dprintf(fd, "%u\n", n) < 0 || lseek(fd, 0, SEEK_SET) < 0)
			return 3;
		usleep(100000);
	}
}
