/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CGROUP_RESOURCES_H
#define CGROUP_RESOURCES_H

#include "cgroup/cgroup.h"

#include <stddef.h>

/*
 * The settings of a VPS that are files of its control groups, by the names of the settings table:
 *
 *   cpu.weight   1 to 10000; 100 is a share
 *   cpu.max      thousandths of a CPU
 *   cpu.pin      text, a list of CPUs such as "0-3,7"; "" is all
 *   memory.max, memory.high, memory.low, memory.min    bytes
 *   memory.swap  bytes of swap beside memory.max
 *   oom.group    0 or 1
 *   pids.max     processes and threads
 *   hugetlb.max  bytes, of each size of huge page
 *   io.weight    1 to 10000; 100 is a share
 *   io.read, io.write            bytes a second
 *   io.read-ops, io.write-ops    operations a second
 *
 * Each is a row with a column for v2 and one for v1. On v1 memory.low is the soft limit (who is above
 * his is reclaimed from first), oom.group is left to who holds the VPS (struct cgroup_event), memory.high
 * and memory.min have no equal, and io.write bounds direct and synchronous writes only: what the page
 * cache writes back is the host's there. memory.high could be imitated, by lowering the limit and
 * raising it again whenever a threshold is passed, but not what it is bought for: the tenant would not be
 * slowed, and a limit that is low for a moment kills.
 */

#define CGROUP_UNLIMITED UINT64_MAX

struct cgroup_setting {
	const char *name;
	uint64_t number;  /* CGROUP_UNLIMITED: max */
	const char *text; /* cpu.pin only */
};

/* True for the names above. */
bool cgroup_setting_is_known(const char *name);

/* The controller that a setting needs; the name must be known. */
enum cgroup_controller cgroup_setting_controller(const char *name);

/*
 * Writes the settings into the groups of a VPS, which may be running; they take hold at once. All
 * or nothing: when one fails, those already written get their old values back.
 *
 * `root` is the directory whose disk the io settings bound: where the VPS's writes land (the upper
 * directory of an overlay, not the overlay). It may be NULL when there are none.
 *
 * memory.max and memory.swap are one value on v1 (memory.memsw): pass both when either changes.
 *
 * Returns 0, or CGROUP_APPLIED_PARTLY when a running tenant already exceeds a value; `note` then
 * says in a line what holds now, else it is "". A setting that this host cannot give is
 * ERR_UNSUPPORTED, with what is missing and what to do, unless its value asks for nothing ("max",
 * a weight of 100, a memory.low of 0). Unknown names are ERR_USAGE.
 */
#define CGROUP_APPLIED_PARTLY 1
#define CGROUP_NOTE_MAX 512
int cgroup_apply(const struct cgroup *c, const struct cgroup_setting *set, size_t count,
		 const char *root, char note[CGROUP_NOTE_MAX], struct err *e);

/* 0 when this host can give the setting other values than the one that asks for nothing, else
 * ERR_UNSUPPORTED as above. For `vps doctor`, and `vps set` on a stopped VPS. */
int cgroup_setting_supported(const struct cgroup_host *h, const char *name, struct err *e);

/* A list of CPUs ("0-3,7") names CPUs of this host; "" is fine. ERR_USAGE. */
int cgroup_cpus_check(const char *list, struct err *e);

/*
 * The whole disk that holds `path`, for the kernel's io files, which take no partition. Btrfs
 * answers with the first of its devices, an overlay with its upper directory's. ERR_UNSUPPORTED
 * when it lies on no disk (tmpfs, NFS).
 */
int cgroup_disk_find(const char *path, unsigned *major, unsigned *minor, struct err *e);

#endif
