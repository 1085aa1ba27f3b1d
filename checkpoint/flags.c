/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/flags.h"

#include "base/macro.h"

#include <errno.h>
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
	f->for_reading = !strstr(line, " mw");
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
	if (f->count == f->room) {
		size_t room = f->room ? 2 * f->room : 256;
		struct ckpt_flag *p = reallocarray(f->flags, room, sizeof(*p));

		if (!p)
			return NULL;
		f->flags = p;
		f->room = room;
	}
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
	char line[4600];
	unsigned long start, end, kib = 0, page = 0;
	unsigned key;

	f->sorted = false;
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			now = add(f);
			if (!now)
				return -ENOMEM;
			now->pid = pid;
			now->start = start;
			now->end = end;
		} else if (now && strncmp(line, "VmFlags:", 8) == 0) {
			parse(line, (uint64_t)kib * 1024, (uint64_t)page * 1024, now);
		} else if (now && strncmp(line, "KernelPageSize:", 15) == 0) {
			page = strtoul(line + 15, NULL, 10);
		} else if (now && strncmp(line, "Rss:", 4) == 0) {
			kib = strtoul(line + 4, NULL, 10);
		} else if (now && sscanf(line, "ProtectionKey: %u", &key) == 1 && key) {
			now->refused = "memory with a protection key (pkey_mprotect)";
		}
	}
	return 0;
}

int ckpt_flags_read(struct ckpt_flags *f, pid_t pid)
{
	cleanup_fclose FILE *in = NULL;
	char path[64];

	forget(f, pid);
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	in = fopen(path, "re");
	return in ? ckpt_flags_parse(f, pid, in) : 0;
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
