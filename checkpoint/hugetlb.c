/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/hugetlb.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#define HUGE_MAX 30 /* 1 GiB: the largest of x86-64 */
#define LAST_PAGE (CKPT_ADDRESS_MAX / CKPT_PAGE)
#define PROBES_MAX (1 << 20) /* pages of a file, a second's work */

uint32_t ckpt_huge_of(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0
		? (uint32_t)__builtin_ctzl((unsigned long)fs.f_bsize) : 0;
}

/* From now on a page of this memory that is not there is a fault that nobody answers. */
static int fail_faults(void *at, uint64_t len)
{
	cleanup_close int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_SIGBUS };
	struct uffdio_register reg = {
		.range = { (uint64_t)(uintptr_t)at, len }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static bool is_there(char *page)
{
	struct iovec from = { page, 1 };
	char byte;
	struct iovec to = { &byte, 1 };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

int ckpt_huge_scan(int fd, uint64_t size, uint32_t huge, struct ckpt_ranges *ret)
{
	cleanup_close int faults = -EBADF;
	struct stat st;
	uint64_t left;
	char *at;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	left = (uint64_t)st.st_blocks * 512;
	if (size == 0 || left == 0)
		return 0;
	if (size >> huge > PROBES_MAX)
		return -EFBIG;
	/* Private: a sealed file may be mapped so, too; without a reservation, and nothing is written. */
	at = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	faults = fail_faults(at, size);
	for (uint64_t n = 0; r == 0 && n < size && left; n += 1ull << huge) {
		if (faults >= 0 && !is_there(at + n))
			continue;
		r = ckpt_ranges_add(ret, n, n + (1ull << huge), true);
		left -= faults < 0 ? 0 : left < 1ull << huge ? left : 1ull << huge;
	}
	munmap(at, size);
	return r;
}

uint32_t ckpt_huge_map_flags(const Ckpt__Area *a)
{
	uint32_t flags = a->flags & MAP_GROWSDOWN;

	if (!a->huge)
		return flags | MAP_NORESERVE;
	return flags | MAP_HUGETLB | ckpt_huge_bits(a->huge) | (a->no_reserve ? MAP_NORESERVE : 0);
}

int ckpt_huge_keep(struct ckpt_dump *d, int pagemap, Ckpt__Area *a)
{
	struct ckpt_ranges own = { 0 };
	int r;

	if (!a->huge || (a->flags & MAP_SHARED))
		return 0;
	r = ckpt_scan_own(pagemap, a->start, a->end, CKPT_SCAN_HUGE, &own, NULL);
	if (r == 0)
		r = ckpt_ranges_unite(&own);
	if (r == 0) {
		pthread_mutex_lock(&d->arena_lock);
		a->present = ckpt_runs_write(&d->tree.arena, &own, &a->n_present);
		pthread_mutex_unlock(&d->arena_lock);
		r = a->present ? 0 : -ENOMEM;
	}
	ckpt_ranges_done(&own);
	return r;
}

static bool is_zero(int mem, uint64_t at, uint64_t size)
{
	static const uint8_t zeros[16 * CKPT_PAGE];
	uint8_t data[sizeof(zeros)];
	uint64_t n = CKPT_PAGE; /* most show at once that they are not */

	for (uint64_t end = at + size; at < end; at += n, n = end - at < sizeof(data) ? end - at : sizeof(data))
		if (pread(mem, data, n, (off_t)at) != (ssize_t)n || memcmp(data, zeros, n) != 0)
			return false;
	return true;
}

int ckpt_huge_mistrust(int mem, const Ckpt__Area *a, const struct ckpt_ranges *told, struct ckpt_ranges *ret)
{
	uint64_t size = 1ull << a->huge;
	int r = 0;

	for (size_t i = 0; r == 0 && i < told->count; i++)
		for (uint64_t at = told->r[i].start; r == 0 && at < told->r[i].end; at += size)
			r = ckpt_ranges_add(ret, at, at + size, told->r[i].written || is_zero(mem, at, size));
	return r;
}

static int keep_shmem(struct ckpt_dump *d, size_t n)
{
	Ckpt__Shmem *s = d->tree.shmems[n];
	struct ckpt_ranges l = { 0 };
	int r = s->huge ? ckpt_huge_scan(d->shmem_fd[n], s->size, s->huge, &l) : 0;

	if (r == 0 && l.count) {
		s->present = ckpt_runs_write(&d->tree.arena, &l, &s->n_present);
		r = s->present ? 0 : -ENOMEM;
	}
	ckpt_ranges_done(&l);
	return r;
}

int ckpt_huge_keep_shared(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.shmem_count; i++)
		r = keep_shmem(d, i);
	return r < 0 ? err_code(e, r, "look for huge pages in shared memory") : 0;
}

static bool is_size(uint32_t huge)
{
	return huge > 12 && huge <= HUGE_MAX;
}

/* Whole huge pages between two places. */
static bool runs_fit(const uint64_t *run, size_t n, uint32_t huge, uint64_t start, uint64_t end)
{
	struct ckpt_ranges l = { 0 };
	bool good = ckpt_runs_read(run, n, 0, end / CKPT_PAGE, &l) == 0;

	for (size_t i = 0; good && i < l.count; i++)
		good = l.r[i].start >= start && !((l.r[i].start | l.r[i].end) & ((1ull << huge) - 1));
	ckpt_ranges_done(&l);
	return good;
}

bool ckpt_huge_area_fits(const Ckpt__Area *a)
{
	if (!a->huge)
		return a->n_present == 0;
	return is_size(a->huge) && !((a->start | a->end | a->offset) & ((1ull << a->huge) - 1)) && !a->ghost &&
	       runs_fit(a->present, a->n_present, a->huge, a->start, a->end);
}

bool ckpt_huge_shmem_fits(const Ckpt__Shmem *s)
{
	if (!s->huge && s->place[0])
		return s->size <= CKPT_ADDRESS_MAX &&
		       runs_fit(s->present, s->n_present, 0, 0, s->size + CKPT_PAGE - 1);
	if (!s->huge)
		return s->n_present == 0;
	return is_size(s->huge) && !(s->size & ((1ull << s->huge) - 1)) && s->size <= CKPT_ADDRESS_MAX &&
	       runs_fit(s->present, s->n_present, s->huge, 0, s->size);
}

static bool is_in_runs(const uint64_t *run, size_t n, uint64_t page)
{
	uint64_t at = 0;

	for (size_t i = 0; i + 1 < n; i += 2) {
		at += run[i];
		if (page < at)
			return false;
		at += run[i + 1];
		if (page < at)
			return true;
	}
	return false;
}

bool ckpt_huge_has_page(const Ckpt__Area *a, uint64_t at)
{
	return !a->huge || is_in_runs(a->present, a->n_present, at / CKPT_PAGE);
}

int ckpt_huge_take(int fd, const Ckpt__Shmem *s, struct err *e)
{
	struct ckpt_ranges l = { 0 };
	uint64_t last = 0;
	int r = s->huge ? ckpt_runs_read(s->present, s->n_present, 0, LAST_PAGE, &l) : 0;

	for (size_t i = 0; r == 0 && i < l.count; i++) {
		if (fallocate(fd, 0, (off_t)l.r[i].start, (off_t)(l.r[i].end - l.r[i].start)) < 0 ||
		    (l.r[i].start > last && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)last,
						      (off_t)(l.r[i].start - last)) < 0))
			r = -errno;
		last = l.r[i].end;
	}
	if (r == 0 && s->huge && s->size > last &&
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)last, (off_t)(s->size - last)) < 0)
		r = -errno;
	ckpt_ranges_done(&l);
	return r < 0 ? err_code(e, r, "take huge pages for shared memory") : 0;
}

/* A huge page at a time: write(2) is not for such files. */
static int put_huge(int fd, uint32_t huge, const Ckpt__Shmem *present, uint64_t at, const uint8_t *data, uint64_t len,
		    struct err *e)
{
	uint64_t size = 1ull << huge;

	for (uint64_t n; len; at += n, len -= n, data = data ? data + n : NULL) {
		uint64_t page = at & ~(size - 1);
		char *to;

		n = page + size - at < len ? page + size - at : len;
		if (present && !is_in_runs(present->present, present->n_present, at / CKPT_PAGE)) {
			if (data)
				return err_set(e, ERR_FAIL, "the image is damaged: data where shared memory has none");
			continue;
		}
		/* That there is none must not be a signal for us. */
		if (fallocate(fd, 0, (off_t)page, (off_t)size) < 0)
			return err_sys(e, "take a huge page for shared memory");
		to = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)page);
		if (to == MAP_FAILED)
			return err_sys(e, "map shared memory");
		if (data)
			memcpy(to + (at - page), data, n);
		else
			memset(to + (at - page), 0, n);
		munmap(to, size);
	}
	return 0;
}

int ckpt_shared_put(int fd, uint32_t huge, const Ckpt__Shmem *present, uint64_t at, const uint8_t *data, uint64_t len,
		    struct err *e)
{
	if (huge)
		return put_huge(fd, huge, present, at, data, len, e);
	if (!data)
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len) < 0
			? err_sys(e, "clear shared memory") : 0;
	return pwrite(fd, data, len, (off_t)at) == (ssize_t)len ? 0 : err_sys(e, "fill shared memory");
}
