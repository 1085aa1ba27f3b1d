/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bounds of memory, which depend on each other and on what is in use. */
#include "cgroup/write.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#define MEMORY_MAX UINT64_C(0x7ffffffffffff000) /* what v1 shows for no limit, on any page size */

/* limit_in_bytes may not be above memsw.limit_in_bytes at any moment, so a rise starts with the
 * latter. */
static int write_memory_v1(struct cgroup_job *j, uint64_t limit, uint64_t both, struct err *e)
{
	static const char *const files[] = { "memory.limit_in_bytes",
					     "memory.memsw.limit_in_bytes" };
	const uint64_t values[] = { limit, both };
	uint64_t now = CGROUP_UNLIMITED;
	bool memsw = cgroup_job_number(j, CGROUP_MEMORY, files[1], &now) == 0;
	bool rise = memsw && both > now;

	for (size_t i = 0; i < 2; i++) {
		size_t which = rise ? 1 - i : i;
		struct cgroup_setting s = { .number = values[which] };
		char text[CGROUP_TEXT_MAX];
		int r;

		if (which == 1 && !memsw)
			continue;
		/* A limit that could not be lowered all the way bounds the sum from below. */
		if (which == 1 && cgroup_job_number(j, CGROUP_MEMORY, files[0], &now) == 0 &&
		    s.number < now && !rise)
			s.number = now;
		cgroup_text_bytes_v1(&s, j, text);
		r = cgroup_job_write(j, CGROUP_MEMORY, files[which], text);
		if (r == -EBUSY)
			r = cgroup_job_squeeze(j, files[which], s.number);
		if (r < 0)
			return err_code(e, r, "write %s", files[which]);
	}
	return 0;
}

/* Both settings at once, whichever of them is there: the other is what the kernel has now. */
int cgroup_memory_v1(struct cgroup_job *j, const struct cgroup_setting *s, int hierarchy,
		     struct err *e)
{
	const struct cgroup_setting *max = cgroup_job_find(j, "memory.max");
	const struct cgroup_setting *swap = cgroup_job_find(j, "memory.swap");
	uint64_t limit = CGROUP_UNLIMITED, both = CGROUP_UNLIMITED, spare = CGROUP_UNLIMITED;

	if (max && swap && s == swap)
		return 0; /* done with the other */
	if (cgroup_job_number(j, hierarchy, "memory.limit_in_bytes", &limit) < 0 ||
	    limit >= MEMORY_MAX - 65536)
		limit = CGROUP_UNLIMITED;
	if (cgroup_job_number(j, hierarchy, "memory.memsw.limit_in_bytes", &both) < 0) {
		if (swap && swap->number != CGROUP_UNLIMITED) {
			err_set(e, ERR_UNSUPPORTED, "this kernel does not account swap to groups");
			return err_hint(e, "boot it with swapaccount=1");
		}
	} else if (both < MEMORY_MAX - 65536 && limit != CGROUP_UNLIMITED) {
		spare = both - limit;
	}
	if (max)
		limit = max->number;
	if (swap)
		spare = swap->number;
	if (limit == CGROUP_UNLIMITED || spare > MEMORY_MAX - limit)
		both = CGROUP_UNLIMITED;
	else
		both = limit + spare;
	if (swap && spare != CGROUP_UNLIMITED && limit == CGROUP_UNLIMITED)
		cgroup_job_note(j, "memory.swap holds once memory.max is set");
	return write_memory_v1(j, limit, both, e);
}

/* The kernel kills when it cannot reclaim below a new maximum, so what can be reclaimed is asked
 * back first (memory.reclaim, Linux 5.19); who dies then is said. */
int cgroup_memory_max_v2(struct cgroup_job *j, const struct cgroup_setting *s, int hierarchy,
			 struct err *e)
{
	uint64_t current = 0, before = 0, after = 0;
	char text[CGROUP_TEXT_MAX];
	int r;

	cgroup_job_number(j, hierarchy, "memory.current", &current);
	cgroup_job_keyed(j, hierarchy, "memory.events", "oom_kill", &before);
	if (s->number < current) {
		snprintf(text, sizeof(text), "%" PRIu64, current - s->number);
		fd_write_file_at(j->dir[CGROUP_SLOT_V2], "memory.reclaim", text);
	}
	cgroup_text_number(s, j, text);
	r = cgroup_job_write(j, hierarchy, "memory.max", text);
	if (r < 0)
		return err_code(e, r, "write memory.max");
	cgroup_job_keyed(j, hierarchy, "memory.events", "oom_kill", &after);
	if (after > before)
		cgroup_job_note(j, "memory.max: more was in use, %" PRIu64 " process%s killed",
				after - before, after - before == 1 ? " was" : "es were");
	return 0;
}
