/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What an image may say of huge pages; and shared memory that is filled. */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/hugetlb.h"
#include "tests/unit/tap.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <sys/mman.h>

#define HUGE (2ull << 20)
#define P(n) ((n) * HUGE / 4096)

static struct err e;

static bool area_fits(uint64_t start, uint64_t pages, uint32_t huge, size_t n, ...)
{
	Ckpt__Area a;
	uint64_t run[8];
	va_list ap;

	ckpt__area__init(&a);
	a.start = start;
	a.end = start + pages * HUGE;
	a.huge = huge;
	va_start(ap, n);
	for (size_t i = 0; i < n; i++)
		run[i] = va_arg(ap, uint64_t);
	va_end(ap);
	a.present = run;
	a.n_present = n;
	return ckpt_huge_area_fits(&a);
}

TEST(areas)
{
	ok(area_fits(4096, 1, 0, 0), "ordinary memory");
	ok(!area_fits(HUGE, 1, 0, 2, P(1), P(1)), "which has no huge pages");
	ok(area_fits(4 * HUGE, 4, 21, 0) && area_fits(4 * HUGE, 4, 21, 2, P(4), P(4)), "none of them, all");
	ok(area_fits(4 * HUGE, 4, 21, 4, P(5), P(1), P(1), P(1)), "some");
	ok(!area_fits(4 * HUGE, 4, 21, 2, P(3), P(1)) && !area_fits(4 * HUGE, 4, 21, 2, P(7), P(2)), "not beside it");
	ok(!area_fits(4 * HUGE, 4, 21, 2, P(4) + 1, P(1)) && !area_fits(4 * HUGE, 4, 21, 2, P(4), P(1) - 1),
	   "no parts of pages");
	ok(!area_fits(4 * HUGE, 4, 21, 1, P(4)), "no odd list");
	ok(!area_fits(4 * HUGE, 4, 21, 2, UINT64_MAX, P(1)) && !area_fits(4 * HUGE, 4, 21, 2, P(4), UINT64_MAX),
	   "no overflow");
	ok(!area_fits(4 * HUGE + 4096, 4, 21, 0) && !area_fits(4 * HUGE, 4, 22 + 10, 0) &&
		   !area_fits(4 * HUGE, 4, 12, 0) && !area_fits(4 * HUGE, 4, 255, 0),
	   "sizes that are none, places that are not theirs");
	ok(!area_fits(HUGE, 1, 30, 0), "nor those of larger ones");
}

TEST(shared)
{
	uint64_t run[] = { P(1), P(1) };
	Ckpt__Shmem s;

	ckpt__shmem__init(&s);
	s.size = 4 * HUGE;
	s.huge = 21;
	s.present = run;
	s.n_present = 2;
	ok(ckpt_huge_shmem_fits(&s), "a file of huge pages");
	s.size = HUGE;
	ok(!ckpt_huge_shmem_fits(&s), "that has none beyond its end");
	s.size = 4 * HUGE - 4096;
	ok(!ckpt_huge_shmem_fits(&s), "nor ends in one");
	s.huge = 0;
	ok(!ckpt_huge_shmem_fits(&s), "nor is an ordinary one");
}

TEST(put)
{
	cleanup_close int fd = memfd_create("put", MFD_CLOEXEC);
	uint8_t data[8192], back[8192];

	memset(data, 7, sizeof(data));
	ok(fd >= 0 && ftruncate(fd, 16384) == 0 && ckpt_huge_of(fd) == 0, "ordinary shared memory");
	ok(ckpt_shared_put(fd, 0, NULL, 4096, data, 8192, &e) == 0 && pread(fd, back, 8192, 4096) == 8192 &&
	   memcmp(back, data, 8192) == 0, "is filled");
	ok(ckpt_shared_put(fd, 0, NULL, 4096, NULL, 8192, &e) == 0 && lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO,
	   "and cleared: nothing is left of it");
}
