/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/oracle.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <xxhash.h>

/* Open addressing; a key of 0 is a free slot. */
struct page {
	uint64_t mm, number, hash;
};

struct ckpt_oracle {
	pthread_mutex_t lock;
	struct page *pages;
	size_t count, room; /* a power of two */
};

struct ckpt_oracle *ckpt_oracle_new(void)
{
	const char *asked = getenv("VPS_ORACLE");
	struct ckpt_oracle *o = asked && STREQ(asked, "1") ? calloc(1, sizeof(*o)) : NULL;

	if (o)
		pthread_mutex_init(&o->lock, NULL);
	return o;
}

void ckpt_oracle_free(struct ckpt_oracle *o)
{
	if (!o)
		return;
	pthread_mutex_destroy(&o->lock);
	free(o->pages);
	free(o);
}

static struct page *find(const struct ckpt_oracle *o, uint64_t mm, uint64_t number)
{
	uint64_t key[2] = { mm, number };
	size_t at = XXH3_64bits(key, sizeof(key)) & (o->room - 1);

	while (o->pages[at].mm && (o->pages[at].mm != mm || o->pages[at].number != number))
		at = (at + 1) & (o->room - 1);
	return &o->pages[at];
}

static int grow(struct ckpt_oracle *o)
{
	struct ckpt_oracle bigger = { .room = o->room ? 2 * o->room : 4096 };

	if (2 * (o->count + 1) <= o->room)
		return 0;
	bigger.pages = calloc(bigger.room, sizeof(*bigger.pages));
	if (!bigger.pages)
		return -ENOMEM;
	for (size_t i = 0; i < o->room; i++)
		if (o->pages[i].mm)
			*find(&bigger, o->pages[i].mm, o->pages[i].number) = o->pages[i];
	free(o->pages);
	o->pages = bigger.pages;
	o->room = bigger.room;
	return 0;
}

int ckpt_oracle_note(struct ckpt_oracle *o, uint64_t mm, uint64_t start, const uint8_t *data, size_t len)
{
	int r = 0;

	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; r == 0 && i < len; i += CKPT_PAGE) {
		struct page *p;

		r = grow(o);
		if (r < 0)
			break;
		p = find(o, mm, (start + i) / CKPT_PAGE);
		o->count += !p->mm;
		*p = (struct page){ mm, (start + i) / CKPT_PAGE, XXH3_64bits(data + i, CKPT_PAGE) };
	}
	pthread_mutex_unlock(&o->lock);
	return r;
}

int ckpt_oracle_inherit(struct ckpt_oracle *o, uint64_t parent, uint64_t child, const struct ckpt_ranges *pages)
{
	int r = grow(o);

	for (size_t i = 0; r == 0 && i < pages->count; i++)
		for (uint64_t n = pages->r[i].start / CKPT_PAGE; r == 0 && n < pages->r[i].end / CKPT_PAGE; n++) {
			uint64_t hash = find(o, parent, n)->mm ? find(o, parent, n)->hash : 0;
			struct page *p = find(o, child, n);

			o->count += !p->mm;
			*p = (struct page){ child, n, hash };
			r = grow(o);
		}
	return r;
}

/* A page that was never sent is a hole, or zeros. */
static int compare(const struct ckpt_oracle *o, uint64_t mm, uint64_t at, const uint8_t *data, const char *of,
		   uint32_t who, struct err *e)
{
	static const uint8_t zeros[CKPT_PAGE];
	const struct page *p = o->room ? find(o, mm, at / CKPT_PAGE) : NULL;

	if (p && p->mm ? p->hash == XXH3_64bits(data, CKPT_PAGE) : memcmp(data, zeros, CKPT_PAGE) == 0)
		return 0;
	return err_set(e, ERR_FAIL, "the page at %#llx of %s %u was written to, which was not seen",
		       (unsigned long long)at, of, who);
}

/* Where a page comes from that was sent, or inherited, perhaps more than once. */
static uint64_t source(const struct ckpt_oracle *o, const struct ckpt_tree *t, const struct ckpt_task *k,
		       uint64_t at)
{
	uint64_t mm = k->process->mm;

	while (o->room && !find(o, k->process->mm, at / CKPT_PAGE)->mm && k->mm->n_inherited) {
		const struct ckpt_task *parent = NULL;

		for (size_t i = 0; i < t->task_count; i++)
			if (t->tasks[i].process->pid == k->process->ppid)
				parent = &t->tasks[i];
		if (!parent)
			break;
		k = parent;
		mm = k->process->mm;
	}
	return mm;
}

static int check_area(const struct ckpt_oracle *o, const struct ckpt_tree *t, const struct ckpt_task *k,
		      int pagemap, int mem, const Ckpt__Area *a, struct err *e)
{
	struct ckpt_ranges ranges = { 0 };
	uint8_t page[CKPT_PAGE];
	int r = ckpt_scan_own(pagemap, a->start, a->end, a->huge ? CKPT_SCAN_HUGE : 0, &ranges, NULL);

	if (r < 0)
		err_code(e, r, "scan the memory of process %d", (int)k->pid);
	for (size_t i = 0; r == 0 && i < ranges.count; i++)
		for (uint64_t at = ranges.r[i].start; r == 0 && at < ranges.r[i].end; at += CKPT_PAGE)
			if (pread(mem, page, CKPT_PAGE, (off_t)at) != CKPT_PAGE)
				r = err_sys(e, "read the memory of process %d", (int)k->pid);
			else
				r = compare(o, source(o, t, k, at), at, page, "process", k->process->pid, e);
	ckpt_ranges_done(&ranges);
	return r;
}

static int check_task(const struct ckpt_oracle *o, const struct ckpt_tree *t, const struct ckpt_task *k,
		      struct err *e)
{
	cleanup_close int pagemap = ckpt_proc_open(k->pid, "pagemap"), mem = ckpt_proc_open(k->pid, "mem");
	int r = 0;

	if (pagemap < 0 || mem < 0)
		return err_code(e, pagemap < 0 ? pagemap : mem, "open the memory of process %d", (int)k->pid);
	for (size_t i = 0; r == 0 && i < k->mm->n_area; i++)
		if (!(k->mm->area[i]->flags & MAP_SHARED))
			r = check_area(o, t, k, pagemap, mem, k->mm->area[i], e);
	return r;
}

static int check_shmem(const struct ckpt_oracle *o, size_t n, int fd, uint64_t size, struct err *e)
{
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < size; at += CKPT_PAGE) {
		uint8_t page[CKPT_PAGE] = { 0 };

		if (pread(fd, page, CKPT_PAGE, (off_t)at) < 0)
			return err_sys(e, "read shared memory");
		r = compare(o, CKPT_SHMEM_MM + n, at, page, "shared memory", (uint32_t)n + 1, e);
	}
	return r;
}

int ckpt_oracle_check(struct ckpt_oracle *o, const struct ckpt_tree *t, const int *shmem_fd, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->task_count; i++)
		r = check_task(o, t, &t->tasks[i], e);
	for (size_t i = 0; r == 0 && i < t->shmem_count; i++)
		r = check_shmem(o, i, shmem_fd[i], t->shmems[i]->size, e);
	return r;
}
