/* SPDX-License-Identifier: GPL-2.0-or-later */

/* How many huge pages a VPS takes, so that another host can say beforehand whether it has them. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define ENTRY_EXCLUSIVE (1ull << 56)

/* Has this process the memory from its parent? Then the reservation is the parent's. */
static bool is_inherited(const struct ckpt_tree *t, const struct ckpt_task *k, const Ckpt__Area *a)
{
	for (size_t i = 0; i < t->task_count; i++) {
		const Ckpt__Mm *mm = t->tasks[i].mm;

		if (t->tasks[i].process->pid != k->process->ppid || &t->tasks[i] == k)
			continue;
		for (size_t n = 0; n < mm->n_area; n++)
			if (mm->area[n]->huge == a->huge && mm->area[n]->start == a->start)
				return true;
	}
	return false;
}

/* Pages that no other process has too. */
static uint64_t own_bytes(int pagemap, const Ckpt__Area *a)
{
	uint64_t bytes = 0, size = 1ull << a->huge, entry;
	struct ckpt_ranges l = { 0 };
	int r = ckpt_scan_own(pagemap, a->start, a->end, 0, &l, NULL);

	for (size_t i = 0; r == 0 && i < l.count; i++)
		for (uint64_t at = l.r[i].start; at < l.r[i].end; at += size)
			if (pread(pagemap, &entry, sizeof(entry), (off_t)(at / CKPT_PAGE * sizeof(entry))) ==
				    sizeof(entry) &&
			    (entry & ENTRY_EXCLUSIVE))
				bytes += size;
	ckpt_ranges_done(&l);
	return bytes;
}

static void count_task(const struct ckpt_tree *t, const struct ckpt_task *k, uint64_t *need)
{
	cleanup_close int pagemap = -EBADF;

	for (size_t i = 0; i < k->mm->n_area; i++) {
		const Ckpt__Area *a = k->mm->area[i];

		if (!a->huge || a->huge >= CKPT_HUGE_SIZES || (a->flags & MAP_SHARED))
			continue;
		if (pagemap < 0)
			pagemap = ckpt_proc_open(k->pid, "pagemap");
		need[a->huge] += a->no_reserve || is_inherited(t, k, a) ? own_bytes(pagemap, a) : a->end - a->start;
	}
}

static bool is_reserved(const struct ckpt_tree *t, size_t shmem)
{
	for (size_t i = 0; i < t->task_count; i++)
		for (size_t n = 0; n < t->tasks[i].mm->n_area; n++) {
			const Ckpt__Area *a = t->tasks[i].mm->area[n];

			if (a->shmem == shmem + 1 && (a->flags & MAP_SHARED) && !a->no_reserve)
				return true;
		}
	return t->shmems[shmem]->sysv;
}

void ckpt_huge_need(const struct ckpt_dump *d, uint64_t need[CKPT_HUGE_SIZES])
{
	const struct ckpt_tree *t = &d->tree;
	struct stat st;

	for (size_t i = 0; i < t->task_count; i++)
		if (t->tasks[i].process && t->tasks[i].mm)
			count_task(t, &t->tasks[i], need);
	for (size_t i = 0; i < t->shmem_count; i++)
		if (t->shmems[i]->huge && t->shmems[i]->huge < CKPT_HUGE_SIZES && fstat(d->shmem_fd[i], &st) == 0)
			need[t->shmems[i]->huge] +=
				is_reserved(t, i) ? t->shmems[i]->size : (uint64_t)st.st_blocks * 512;
}

static uint64_t read_count(int dir, const char *name)
{
	cleanup_free char *text = NULL;

	return fd_read_file_at(dir, name, 64, &text, NULL) < 0 ? 0 : strtoull(text, NULL, 10);
}

int ckpt_huge_tell(struct ckpt_dump *d, struct err *e)
{
	uint64_t need[CKPT_HUGE_SIZES] = { 0 };
	Ckpt__Header *h = d->tree.header;

	ckpt_huge_need(d, need);
	h->huge = ckpt_alloc(&d->tree.arena, sizeof(need) * 2);
	if (!h->huge)
		return err_code(e, -ENOMEM, "collect");
	for (uint64_t i = 0; i < CKPT_HUGE_SIZES; i++)
		if (need[i]) {
			h->huge[h->n_huge++] = i;
			h->huge[h->n_huge++] = need[i];
		}
	return 0;
}

static uint64_t room_of(uint32_t huge)
{
	cleanup_close int dir = -EBADF;
	uint64_t unused, reserved, more, surplus;
	char path[96];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB", huge > 10 ? 1ull << (huge - 10) : 0);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return 0;
	unused = read_count(dir, "free_hugepages");
	reserved = read_count(dir, "resv_hugepages");
	more = read_count(dir, "nr_overcommit_hugepages");
	surplus = read_count(dir, "surplus_hugepages");
	unused = unused > reserved ? unused - reserved : 0;
	return (unused + (more > surplus ? more - surplus : 0)) << huge;
}

int ckpt_huge_room(uint64_t huge, uint64_t bytes, struct err *e)
{
	uint64_t room = huge < CKPT_HUGE_SIZES ? room_of((uint32_t)huge) : 0;
	char a[32], b[32], c[32];

	if (huge >= CKPT_HUGE_SIZES)
		return err_set(e, ERR_STATE, "huge pages are needed of a size that is none");
	if (bytes <= room)
		return 0;
	return err_set(e, ERR_STATE, "there are not enough huge pages of %s: %s are needed, %s are free",
		       format_size(1ull << huge, a, sizeof(a)), format_size(bytes, b, sizeof(b)),
		       format_size(room, c, sizeof(c)));
}
