/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/stats.h"

#include "cgroup/internal.h"

#include "base/macro.h"
#include "base/path.h"

#include <errno.h>

/* A keyed file of which several values are wanted. */
struct want {
	const char *key;
	uint64_t *value;
};

static int read_keys(int dir, const char *file, const struct want *want, size_t count)
{
	cleanup_free char *text = NULL;
	int r = cgroup_read_text(dir, file, &text);

	for (size_t i = 0; r == 0 && i < count; i++)
		cgroup_keyed(text, want[i].key, want[i].value);
	return r;
}

#define READ_KEYS(dir, file, ...)                                                   \
	read_keys(dir, file, (const struct want[]){ __VA_ARGS__ },                  \
		  ARRAY_SIZE(((const struct want[]){ __VA_ARGS__ })))

/* The v2 tree has the times of every group, whatever controllers it has (Linux 4.15). */
static void read_cpu(const struct cgroup *c, int v2, struct cgroup_stats *s)
{
	cleanup_close int v1 = -EBADF;
	uint64_t ns = 0;

	if (READ_KEYS(v2, "cpu.stat", { "usage_usec", &s->cpu_usage_us },
		      { "user_usec", &s->cpu_user_us }, { "system_usec", &s->cpu_system_us },
		      { "throttled_usec", &s->cpu_throttled_us },
		      { "nr_throttled", &s->cpu_throttled_periods }) == 0)
		s->known |= CGROUP_STAT_CPU;
	if (c->host->ctl[CGROUP_CPU].version != 1)
		return;
	v1 = cgroup_open_dir(c, CGROUP_CPU);
	if (READ_KEYS(v1, "cpu.stat", { "throttled_time", &ns },
		      { "nr_throttled", &s->cpu_throttled_periods }) == 0)
		s->cpu_throttled_us = ns / 1000;
}

static void read_memory_v2(int v2, struct cgroup_stats *s)
{
	if (cgroup_read_number(v2, "memory.current", &s->memory_current) < 0)
		return;
	s->known |= CGROUP_STAT_MEMORY;
	cgroup_read_number(v2, "memory.peak", &s->memory_peak); /* Linux 5.19 */
	READ_KEYS(v2, "memory.stat", { "file", &s->memory_cache }, { "anon", &s->memory_anon });
	READ_KEYS(v2, "memory.events", { "max", &s->memory_max_hits },
		  { "oom_kill", &s->oom_kills });
	if (cgroup_read_number(v2, "memory.swap.current", &s->memory_swap) == 0)
		s->known |= CGROUP_STAT_SWAP;
}

/* Not the total_ values: below a VPS there are no groups on v1. */
static void read_memory_v1(const struct cgroup *c, struct cgroup_stats *s)
{
	cleanup_close int v1 = cgroup_open_dir(c, CGROUP_MEMORY);
	uint64_t both;

	if (cgroup_read_number(v1, "memory.usage_in_bytes", &s->memory_current) < 0)
		return;
	s->known |= CGROUP_STAT_MEMORY;
	cgroup_read_number(v1, "memory.max_usage_in_bytes", &s->memory_peak);
	cgroup_read_number(v1, "memory.failcnt", &s->memory_max_hits);
	cgroup_read_keyed(v1, "memory.oom_control", "oom_kill", &s->oom_kills); /* Linux 4.13 */
	READ_KEYS(v1, "memory.stat", { "cache", &s->memory_cache }, { "rss", &s->memory_anon },
		  { "swap", &s->memory_swap });
	if (cgroup_read_number(v1, "memory.memsw.usage_in_bytes", &both) == 0)
		s->known |= CGROUP_STAT_SWAP;
}

static void read_pids(int dir, struct cgroup_stats *s)
{
	if (cgroup_read_number(dir, "pids.current", &s->pids_current) < 0)
		return;
	s->known |= CGROUP_STAT_PIDS;
	cgroup_read_number(dir, "pids.peak", &s->pids_peak); /* Linux 6.1 */
	cgroup_read_keyed(dir, "pids.events", "max", &s->pids_refused);
}

static void read_io(int dir, int version, struct cgroup_stats *s)
{
	cleanup_free char *text = NULL, *ops = NULL;

	if (version == 2) {
		if (cgroup_read_text(dir, "io.stat", &text) < 0)
			return;
		cgroup_sum_io_stat(text, &s->io);
	} else {
		if (cgroup_read_text(dir, "blkio.throttle.io_service_bytes_recursive", &text) < 0 ||
		    cgroup_read_text(dir, "blkio.throttle.io_serviced_recursive", &ops) < 0)
			return;
		cgroup_sum_blkio(text, &s->io.read_bytes, &s->io.write_bytes);
		cgroup_sum_blkio(ops, &s->io.read_ops, &s->io.write_ops);
	}
	s->known |= CGROUP_STAT_IO;
}

static void read_pressure(int v2, const char *file, struct cgroup_pressure *ret)
{
	cleanup_free char *text = NULL;

	if (cgroup_read_text(v2, file, &text) == 0)
		cgroup_parse_pressure(text, ret);
}

/* The group's directory for a controller; *v1 is what must be closed. */
static int controller_dir(const struct cgroup *c, enum cgroup_controller ctl, int v2, int *v1)
{
	if (c->host->ctl[ctl].version == 2)
		return v2;
	return c->host->ctl[ctl].version == 1 ? (*v1 = cgroup_open_dir(c, ctl)) : -ENOENT;
}

static int open_v2(const struct cgroup *c, struct err *e)
{
	int r = cgroup_check(c, e), fd;

	if (r < 0)
		return r;
	fd = cgroup_open_dir(c, CGROUP_V2);
	if (fd == -ENOENT)
		return err_set(e, ERR_STATE, "%s has no control group: it does not run", c->name);
	return fd < 0 ? err_code(e, fd, "open the control group of %s", c->name) : fd;
}

int cgroup_stats_read(const struct cgroup *c, struct cgroup_stats *ret, struct err *e)
{
	cleanup_close int v2 = open_v2(c, e), pids = -EBADF, io = -EBADF;
	struct cgroup_stats s = { 0 };

	*ret = s;
	if (v2 < 0)
		return v2;
	read_cpu(c, v2, &s);
	if (c->host->ctl[CGROUP_MEMORY].version == 2)
		read_memory_v2(v2, &s);
	else if (c->host->ctl[CGROUP_MEMORY].version == 1)
		read_memory_v1(c, &s);
	read_pids(controller_dir(c, CGROUP_PIDS, v2, &pids), &s);
	read_io(controller_dir(c, CGROUP_IO, v2, &io), c->host->ctl[CGROUP_IO].version, &s);
	read_pressure(v2, "cpu.pressure", &s.cpu_pressure);
	read_pressure(v2, "memory.pressure", &s.memory_pressure);
	read_pressure(v2, "io.pressure", &s.io_pressure);
	*ret = s;
	return 0;
}

static void count(struct cgroup_counter *r, uint64_t held, uint64_t peak, uint64_t limit,
		  uint64_t fails)
{
	r->known = true;
	r->held = held;
	if (peak < held)
		peak = held;
	if (r->maxheld < peak)
		r->maxheld = peak;
	r->limit = limit;
	if (fails >= r->last)
		r->failcnt += fails - r->last;
	r->last = fails;
}

/* v1 shows no limit as the largest number of pages, or of huge pages. */
static uint64_t limit_v1(int dir, const char *file)
{
	uint64_t v = UINT64_MAX;

	if (cgroup_read_number(dir, file, &v) < 0 || v >= (uint64_t)INT64_MAX - UINT32_MAX)
		return UINT64_MAX;
	return v;
}

static uint64_t limit_v2(int dir, const char *file)
{
	uint64_t v = UINT64_MAX;

	return cgroup_read_number(dir, file, &v) < 0 ? UINT64_MAX : v;
}

static void count_memory(struct cgroup_counters *b, const struct cgroup *c, int v2,
			 const struct cgroup_stats *s)
{
	cleanup_close int v1 = -EBADF;
	uint64_t max, swap, fails = 0;

	if (!(s->known & CGROUP_STAT_MEMORY))
		return;
	if (c->host->ctl[CGROUP_MEMORY].version == 2) {
		max = limit_v2(v2, "memory.max");
		swap = limit_v2(v2, "memory.swap.max");
		cgroup_read_keyed(v2, "memory.swap.events", "fail", &fails);
	} else {
		v1 = cgroup_open_dir(c, CGROUP_MEMORY);
		max = limit_v1(v1, "memory.limit_in_bytes");
		swap = limit_v1(v1, "memory.memsw.limit_in_bytes");
		if (swap != UINT64_MAX)
			swap = max == UINT64_MAX || swap < max ? 0 : swap - max;
		cgroup_read_number(v1, "memory.memsw.failcnt", &fails);
	}
	count(&b->row[CGROUP_BEAN_MEMORY], s->memory_current, s->memory_peak, max, s->oom_kills);
	if (s->known & CGROUP_STAT_SWAP)
		count(&b->row[CGROUP_BEAN_SWAP], s->memory_swap, 0, swap, fails);
}

/* "hugetlb.2MB.current" and its siblings, for every size that this kernel has. */
static void count_hugetlb(struct cgroup_counters *b, int dir, bool two)
{
	const char *held_suffix = two ? ".current" : ".usage_in_bytes";
	cleanup_closedir DIR *d = dir < 0 ? NULL : path_opendir_at(dir, ".");
	uint64_t held = 0, peak = 0, limit = UINT64_MAX, fails = 0, v;
	struct dirent *de;

	if (!d)
		return;
	while ((de = readdir(d))) {
		char size[32], name[96];
		const char *dot;

		if (strncmp(de->d_name, "hugetlb.", 8) != 0 ||
		    !(dot = strchr(de->d_name + 8, '.')) || !STREQ(dot, held_suffix))
			continue;
		snprintf(size, sizeof(size), "%.*s", (int)(dot - de->d_name), de->d_name);
		if (cgroup_read_number(dir, de->d_name, &v) < 0)
			continue;
		held += v;
		snprintf(name, sizeof(name), "%s%s", size, two ? ".max" : ".limit_in_bytes");
		/* v2 too shows a limit that nobody has set as a number (seen with Linux 6.18). */
		v = limit_v1(dir, name);
		limit = v < limit ? v : limit;
		snprintf(name, sizeof(name), "%s%s", size, two ? ".events" : ".failcnt");
		if ((two ? cgroup_read_keyed(dir, name, "max", &v) :
			   cgroup_read_number(dir, name, &v)) == 0)
			fails += v;
		snprintf(name, sizeof(name), "%s.max_usage_in_bytes", size);
		if (!two && cgroup_read_number(dir, name, &v) == 0)
			peak += v;
	}
	count(&b->row[CGROUP_BEAN_HUGETLB], held, peak, limit, fails);
}

int cgroup_counters_update(struct cgroup_counters *b, const struct cgroup *c, struct err *e)
{
	cleanup_close int v2 = open_v2(c, e), pids = -EBADF, huge = -EBADF;
	struct cgroup_stats s;
	uint64_t groups;
	int r;

	if (v2 < 0)
		return v2;
	r = cgroup_stats_read(c, &s, e);
	if (r < 0)
		return r;
	for (int i = 0; i < CGROUP_BEAN_COUNT; i++)
		b->row[i].known = false;
	count_memory(b, c, v2, &s);
	if (s.known & CGROUP_STAT_PIDS)
		count(&b->row[CGROUP_BEAN_PIDS], s.pids_current, s.pids_peak,
		      limit_v2(controller_dir(c, CGROUP_PIDS, v2, &pids), "pids.max"),
		      s.pids_refused);
	if (c->host->ctl[CGROUP_HUGETLB].version)
		count_hugetlb(b, controller_dir(c, CGROUP_HUGETLB, v2, &huge),
			      c->host->ctl[CGROUP_HUGETLB].version == 2);
	if (cgroup_read_keyed(v2, "cgroup.stat", "nr_descendants", &groups) == 0)
		count(&b->row[CGROUP_BEAN_GROUPS], groups, 0,
		      limit_v2(v2, "cgroup.max.descendants"), 0);
	return 0;
}
