/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/flags.h"

#include "base/array.h"
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* Of "VmFlags:" (proc_pid_smaps(5)). */
static const struct {
	char name[4];
	uint32_t advice, locked;
	const char *refused;
} known[] = {
	{ " dc", CKPT_ADVICE_DONTFORK, 0, NULL },   { " wf", CKPT_ADVICE_WIPEONFORK, 0, NULL },
	{ " mg", CKPT_ADVICE_MERGEABLE, 0, NULL },  { " hg", CKPT_ADVICE_HUGEPAGE, 0, NULL },
	{ " nh", CKPT_ADVICE_NOHUGEPAGE, 0, NULL }, { " dd", CKPT_ADVICE_DONTDUMP, 0, NULL },
	{ " rr", CKPT_ADVICE_RANDOM, 0, NULL },     { " sr", CKPT_ADVICE_SEQUENTIAL, 0, NULL },
	{ " lo", 0, CKPT_LOCKED, NULL },
	{ " um", 0, 0, "memory whose faults it handles itself (userfaultfd)" },
	{ " ss", 0, 0, "a shadow stack" },
	{ " io", 0, 0, "memory of a device" },
	{ " pf", 0, 0, "memory of a device" },
	{ " sf", 0, 0, "memory of a file without a page cache (MAP_SYNC)" },
};

static void parse(const char *line, uint64_t rss, uint64_t page, struct ckpt_flag *f)
{
	f->stack = strstr(line, " gd");
	f->droppable = strstr(line, " dp");
	f->no_reserve = strstr(line, " nr");
	f->sealed = strstr(line, " sl");
	f->may_write = strstr(line, " mw");
	f->huge = strstr(line, " ht") && page ? (uint32_t)__builtin_ctzll(page) : 0;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!strstr(line, known[i].name))
			continue;
		f->advice |= known[i].advice;
		f->locked |= known[i].locked;
		if (!f->refused)
			f->refused = known[i].refused;
	}
	/* mlock2(MLOCK_ONFAULT) has no name there (seen on Linux 6.18); other locks have all pages in memory. */
	if (f->locked && !f->huge && rss < f->end - f->start) /* huge pages are counted elsewhere */
		f->locked |= CKPT_LOCKED_ONFAULT;
	if (f->droppable) /* which these come with */
		f->advice &= ~(uint32_t)(CKPT_ADVICE_WIPEONFORK | CKPT_ADVICE_DONTDUMP);
}

static struct ckpt_flag *add(struct ckpt_flags *f)
{
	if (array_grow(&f->flags, f->count, &f->room, 256) < 0)
		return NULL;
	return memset(&f->flags[f->count++], 0, sizeof(struct ckpt_flag));
}

static void forget(struct ckpt_flags *f, pid_t pid)
{
	size_t n = 0;

	for (size_t i = 0; i < f->count; i++)
		if (f->flags[i].pid != pid)
			f->flags[n++] = f->flags[i];
	f->count = n;
}

static int in_order(const void *a, const void *b)
{
	const struct ckpt_flag *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

int ckpt_flags_parse(struct ckpt_flags *f, pid_t pid, FILE *in)
{
	struct ckpt_flag *now = NULL;
	char line[4600], perms[8];
	unsigned long start, end, kib = 0, page = 0;
	unsigned key;

	f->sorted = false;
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) == 3) {
			now = add(f);
			if (!now)
				return -ENOMEM;
			now->pid = pid;
			now->start = start;
			now->end = end;
			now->shared = perms[3] == 's';
		} else if (now && strncmp(line, "VmFlags:", 8) == 0) {
			parse(line, (uint64_t)kib * 1024, (uint64_t)page * 1024, now);
		} else if (now && strncmp(line, "KernelPageSize:", 15) == 0) {
			page = strtoul(line + 15, NULL, 10);
		} else if (now && strncmp(line, "Rss:", 4) == 0) {
			kib = strtoul(line + 4, NULL, 10);
		} else if (now && sscanf(line, "ProtectionKey: %u", &key) == 1 && key) {
			now->key = key;
		}
	}
	return 0;
}

/* Large shared memory in which there are guards. What cannot be looked at (kernels without PAGEMAP_SCAN) has none. */
static void look_for_guards(struct ckpt_flag *f, size_t count, int pagemap)
{
	for (size_t i = 0; i < count; i++) {
		struct ckpt_ranges guards = { 0 };

		if (!f[i].shared || f[i].huge || f[i].end - f[i].start <= CKPT_GUARDS_LOOKED_FOR)
			continue;
		f[i].guarded = ckpt_scan_guards(pagemap, f[i].start, f[i].end, &guards) == 0 && guards.count;
		ckpt_ranges_done(&guards);
	}
}

int ckpt_flags_read(struct ckpt_flags *f, pid_t pid)
{
	cleanup_close int pagemap = -EBADF;
	cleanup_fclose FILE *in = NULL;
	char path[64];
	size_t had;
	int r;

	forget(f, pid);
	had = f->count;
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	in = fopen(path, "re");
	r = in ? ckpt_flags_parse(f, pid, in) : 0;
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (pagemap >= 0)
		look_for_guards(f->flags + had, f->count - had, pagemap);
	return 0;
}

const struct ckpt_flag *ckpt_flags_find(struct ckpt_flags *f, pid_t pid, const struct ckpt_map *m)
{
	struct ckpt_flag key = { .pid = pid, .start = m->start };
	size_t lo = 0, hi = f->count;

	if (!f->sorted && f->count)
		qsort(f->flags, f->count, sizeof(*f->flags), in_order);
	f->sorted = true;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (in_order(&f->flags[mid], &key) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0 || f->flags[lo - 1].pid != pid || f->flags[lo - 1].start > m->start ||
	    f->flags[lo - 1].end < m->end)
		return NULL;
	return &f->flags[lo - 1];
}

void ckpt_flags_done(struct ckpt_flags *f)
{
	free(f->flags);
	*f = (struct ckpt_flags){ 0 };
}
