/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CGROUP_STATS_H
#define CGROUP_STATS_H

#include "cgroup/cgroup.h"

#include <stddef.h>

/* What a VPS uses, the same numbers from v2 and v1 files. */

/* Pressure stall information (the kernel's accounting/psi.rst): how much of the time some, or all,
 * of its tasks waited. Averages in hundredths of a per cent, the total in microseconds. */
struct cgroup_stall {
	unsigned avg10, avg60, avg300;
	uint64_t total_us;
};
struct cgroup_pressure {
	bool known; /* false: PSI is off (psi=0, CONFIG_PSI_DEFAULT_DISABLED) */
	struct cgroup_stall some, full;
};

struct cgroup_io {
	uint64_t read_bytes, write_bytes, read_ops, write_ops;
};

/* Which parts could be read. */
enum cgroup_stat_part {
	CGROUP_STAT_CPU = 1,
	CGROUP_STAT_MEMORY = 2,
	CGROUP_STAT_SWAP = 4,
	CGROUP_STAT_PIDS = 8,
	CGROUP_STAT_IO = 16,
};

struct cgroup_stats {
	unsigned known; /* enum cgroup_stat_part, ored; what is not known is 0 */

	uint64_t cpu_usage_us, cpu_user_us, cpu_system_us;
	uint64_t cpu_throttled_us, cpu_throttled_periods; /* held back by cpu.max */

	uint64_t memory_current; /* bytes, page cache included */
	uint64_t memory_peak;    /* since the group was made; 0: the kernel does not say */
	uint64_t memory_cache;   /* of memory_current */
	uint64_t memory_anon;    /* of memory_current */
	uint64_t memory_swap;    /* bytes on swap */
	uint64_t memory_max_hits;/* times memory.max was reached (and mostly reclaimed) */
	uint64_t oom_kills;

	uint64_t pids_current, pids_peak; /* processes and threads; peak 0: the kernel does not say */
	uint64_t pids_refused;            /* forks refused by pids.max */

	struct cgroup_io io; /* all disks. Buffered writes are the host's on v1 */
	struct cgroup_pressure cpu_pressure, memory_pressure, io_pressure;
};

/* About 0.1 ms. ERR_STATE when the VPS has no groups. Parts without a controller stay unknown. */
int cgroup_stats_read(const struct cgroup *c, struct cgroup_stats *ret, struct err *e);

/*
 * Beancounters: for each resource what is held, the most that was held, the limit and how often it
 * was refused, kept over restarts of the VPS and of the host.
 */
enum cgroup_bean {
	CGROUP_BEAN_MEMORY,  /* bytes; a failure is a process killed for want of memory */
	CGROUP_BEAN_SWAP,    /* bytes; a failure is a page that could not be swapped out */
	CGROUP_BEAN_PIDS,    /* processes and threads; a failure is a refused fork */
	CGROUP_BEAN_HUGETLB, /* bytes of all sizes; a failure is a refused page */
	CGROUP_BEAN_GROUPS,  /* control groups that the tenant made; failures are not counted */
	CGROUP_BEAN_COUNT,
};

struct cgroup_counter {
	bool known;        /* this host has a controller for it */
	uint64_t held;
	uint64_t maxheld;
	uint64_t limit;    /* UINT64_MAX: none */
	uint64_t failcnt;
	uint64_t last;     /* the kernel's own count at the last look; part of failcnt */
};

struct cgroup_counters {
	struct cgroup_counter row[CGROUP_BEAN_COUNT];
};

/* "memory", "swap", "pids", "hugetlb", "groups". */
const char *cgroup_bean_name(enum cgroup_bean b);

/* New groups count from 0: call it at each start of the VPS, before the first update. */
void cgroup_counters_restart(struct cgroup_counters *b);
/* Takes in what the kernel says now. ERR_STATE when the VPS has no groups. */
int cgroup_counters_update(struct cgroup_counters *b, const struct cgroup *c, struct err *e);

/*
 * As text to keep in a file: a line "name held maxheld limit failcnt last" each. Formatting returns
 * the length, less than CGROUP_COUNTERS_TEXT. Parsing leaves unknown names out and is -EINVAL, with
 * *b zero, when a line is not of the form.
 */
#define CGROUP_COUNTERS_TEXT 1024
size_t cgroup_counters_format(const struct cgroup_counters *b, char out[CGROUP_COUNTERS_TEXT]);
int cgroup_counters_parse(struct cgroup_counters *b, const char *text);

#endif
