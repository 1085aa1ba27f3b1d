/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

/* PAGEMAP_SCAN (Linux 6.7), not in the headers of 6.1; see the kernel's admin-guide/mm/pagemap.rst. */
struct page_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN _IOWR('f', 16, struct scan_arg)
#define IS_FILE (1u << 2)
#define IS_PRESENT (1u << 3)
#define IS_SWAPPED (1u << 4)
#define IS_PFNZERO (1u << 5)

#define PIECE KIB(256)
#define REGIONS 512
#define TELL_EVERY MIB(1)

struct copy {
	struct ckpt_dump *d;
	struct ckpt_writer *w;
	const struct ckpt_task *k;
	int pagemap, mem;
	uint8_t *buf;
};

int ckpt_progress(const struct ckpt_progress *p, uint64_t *done, uint64_t len, uint64_t total,
		  struct err *e)
{
	uint64_t before = *done / TELL_EVERY;

	*done += len;
	if (!p || *done / TELL_EVERY == before || p->tell(p->arg, *done, total) == 0)
		return 0;
	return err_set(e, ERR_CANCELLED, "it was cancelled");
}

/* What the processes hold, shared pages as often as they are mapped. */
static void estimate(struct ckpt_dump *d)
{
	static const char *const keys[] = { "RssAnon", "RssShmem", "VmSwap" };
	struct ckpt_status s;
	uint64_t kib;

	for (size_t i = 0; d->progress && i < d->tree.task_count; i++)
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			if (ckpt_status_read(d->tree.tasks[i].pid, &s) == 0 &&
			    ckpt_status_numbers(&s, keys[k], 10, &kib, 1))
				d->total += kib * 1024;
}

static int copy_range(struct copy *c, uint64_t start, uint64_t end, struct err *e)
{
	for (uint64_t at = start; at < end;) {
		size_t len = end - at < PIECE ? end - at : PIECE;
		int r = ckpt_mem_read(c->k->pid, at, c->buf, len);

		/* What may not be read by the process itself (PROT_NONE) is read as a debugger would. */
		if (r < 0 && pread(c->mem, c->buf, len, (off_t)at) != (ssize_t)len)
			return err_code(e, r, "read the memory of process %d at %#llx", (int)c->k->pid,
					(unsigned long long)at);
		r = ckpt_write_pages(c->w, c->k->process->mm, at / CKPT_PAGE, c->buf, len / CKPT_PAGE, e);
		if (r == 0)
			r = ckpt_progress(c->d->progress, &c->d->done, len, c->d->total, e);
		if (r < 0)
			return r;
		at += len;
	}
	return 0;
}

/* The pages that the process made its own: not those of the file, not holes. */
static int copy_area(struct copy *c, const Ckpt__Area *a, struct err *e)
{
	struct page_region regions[REGIONS];
	uint64_t at = a->start;

	while (at < a->end) {
		struct scan_arg s = {
			.size = sizeof(s), .start = at, .end = a->end,
			.vec = (uint64_t)(uintptr_t)regions, .vec_len = REGIONS,
			.category_inverted = IS_FILE | IS_PFNZERO, .category_mask = IS_FILE | IS_PFNZERO,
			.category_anyof_mask = IS_PRESENT | IS_SWAPPED, .return_mask = IS_PRESENT,
		};
		int n = ioctl(c->pagemap, SCAN, &s);

		if (n < 0 && errno == ENOTTY)
			return err_set(e, ERR_UNSUPPORTED, "this kernel has no PAGEMAP_SCAN (Linux 6.7)");
		if (n < 0)
			return err_sys(e, "scan the memory of process %d", (int)c->k->pid);
		for (int i = 0; i < n; i++) {
			int r = copy_range(c, regions[i].start, regions[i].end, e);

			if (r < 0)
				return r;
		}
		if (s.walk_end <= at)
			break;
		at = s.walk_end;
	}
	return 0;
}

static int copy_task(struct copy *c, struct err *e)
{
	char path[64];
	cleanup_close int pagemap = -EBADF, mem = -EBADF;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)c->k->pid);
	c->pagemap = pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return err_sys(e, "open %s", path);
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)c->k->pid);
	c->mem = mem = open(path, O_RDONLY | O_CLOEXEC);
	if (mem < 0)
		return err_sys(e, "open %s", path);
	for (size_t i = 0; i < c->k->mm->n_area; i++) {
		const Ckpt__Area *a = c->k->mm->area[i];
		int r = a->flags & MAP_SHARED ? 0 : copy_area(c, a, e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_shmem(struct copy *c, size_t n, struct err *e)
{
	int fd = c->d->shmem_fd[n];
	off_t size = (off_t)c->d->tree.shmems[n]->size, at = 0;

	while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && at < size) {
		off_t hole = lseek(fd, at, SEEK_HOLE);

		at -= at % CKPT_PAGE;
		for (; at < hole; at += (off_t)PIECE) {
			size_t len = (size_t)(hole - at) < PIECE ? (size_t)(hole - at) : PIECE;
			size_t whole = (len + CKPT_PAGE - 1) / CKPT_PAGE * CKPT_PAGE;
			int r;

			memset(c->buf, 0, whole);
			if (pread(fd, c->buf, len, at) != (ssize_t)len)
				return err_sys(e, "read shared memory");
			r = ckpt_write_pages(c->w, CKPT_SHMEM_MM + n, (uint64_t)at / CKPT_PAGE, c->buf,
					     whole / CKPT_PAGE, e);
			if (r == 0)
				r = ckpt_progress(c->d->progress, &c->d->done, len, c->d->total, e);
			if (r < 0)
				return r;
		}
		at = hole;
	}
	return 0;
}

int ckpt_pages_dump(struct ckpt_dump *d, struct ckpt_writer *w, struct err *e)
{
	cleanup_free uint8_t *buf = aligned_alloc(CKPT_PAGE, PIECE);
	struct copy c = { .d = d, .w = w, .buf = buf };
	int r = buf ? 0 : err_code(e, -ENOMEM, "copy memory");

	estimate(d);
	for (size_t i = 0; r == 0 && i < d->tree.shmem_count; i++)
		r = copy_shmem(&c, i, e);
	for (size_t i = 0; r == 0 && i < d->tree.task_count; i++) {
		c.k = &d->tree.tasks[i];
		r = copy_task(&c, e);
	}
	return r;
}
