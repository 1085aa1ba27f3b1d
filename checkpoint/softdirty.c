/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/softdirty.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

static bool is_marked(int pagemap, uint64_t page)
{
	struct ckpt_ranges l = { 0 };
	int r = ckpt_scan_own(pagemap, page, page + PAGE, CKPT_SCAN_WRITTEN | CKPT_SCAN_SOFT, &l, NULL);
	bool marked = r == 0 && l.count > 0;

	ckpt_ranges_done(&l);
	return marked;
}

/* Memory that was mapped just now is marked where there are marks. */
bool ckpt_soft_known(void)
{
	cleanup_close int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	volatile char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool known;

	if (p == MAP_FAILED)
		return false;
	*p = 1;
	known = pagemap >= 0 && is_marked(pagemap, (uint64_t)(uintptr_t)p);
	munmap((void *)(uintptr_t)p, PAGE);
	return known;
}

uint64_t ckpt_soft_choose(int pagemap, uint64_t start, uint64_t end)
{
	struct ckpt_ranges l = { 0 };
	uint64_t page = ckpt_scan_own(pagemap, start, end, 0, &l, NULL) == 0 && l.count ? l.r[0].start : 0;

	ckpt_ranges_done(&l);
	return page;
}

int ckpt_soft_clear(pid_t pid, uint64_t canary)
{
	cleanup_close int mem = -EBADF;
	char path[64], byte;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int)pid);
	r = fd_write_file_at(AT_FDCWD, path, "4");
	if (r < 0 || !canary)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	return mem >= 0 && pread(mem, &byte, 1, (off_t)canary) == 1 && pwrite(mem, &byte, 1, (off_t)canary) == 1 ?
		       0 :
		       -errno;
}

bool ckpt_soft_holds(int pagemap, uint64_t canary)
{
	return canary && is_marked(pagemap, canary);
}
