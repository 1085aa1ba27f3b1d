/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CGROUP_INTERNAL_H
#define CGROUP_INTERNAL_H

#include "cgroup/cgroup.h"
#include "cgroup/stats.h"

#include <limits.h>

/* Stands for the v2 tree where a hierarchy is named; else it is an enum cgroup_controller. */
#define CGROUP_V2 (-1)

/* True when a VPS has a group in the v1 hierarchy of this controller. Of controllers that share a
 * hierarchy ("cpu,cpuacct") only the first is. */
bool cgroup_v1_in_use(const struct cgroup_host *h, enum cgroup_controller ctl);

/* The directory that holds parents in this hierarchy; returns buf. */
const char *cgroup_base_path(const struct cgroup_host *h, int hierarchy, char buf[PATH_MAX]);
/* The group's own directory. */
const char *cgroup_path(const struct cgroup *c, int hierarchy, char buf[PATH_MAX]);

/* An O_RDONLY directory fd of the group, or a negative errno value without an error filled. */
int cgroup_open_dir(const struct cgroup *c, int hierarchy);

/* Refuses names that would lead out of the tree. */
int cgroup_check(const struct cgroup *c, struct err *e);

/* A line of mountinfo (proc_pid_mountinfo(5)), its fields unescaped but for `super`. They point into
 * the line, which parsing changes. False: the line is not of the form. */
struct cgroup_mnt {
	unsigned id, parent;
	char *root, *point, *type, *source, *super;
};
bool cgroup_mnt_parse(char *line, struct cgroup_mnt *m);

/* Fills h from the text of the two files (changed by parsing), but for `version` of v2 controllers
 * and v2_base, which the file system tells. 0 or -ENODEV: no v2 tree. Fuzzed. */
int cgroup_host_parse(struct cgroup_host *h, char *mountinfo, char *self);

/* True when the word stands in a list separated by blanks, commas or ends of lines. */
bool cgroup_list_has(const char *list, const char *name);

/* The value of "key N" in the flat keyed text of a cgroup file; -ENOENT. */
int cgroup_keyed(const char *text, const char *key, uint64_t *ret);

/*
 * Files of a group by its directory's fd. They take a negative fd, from an open that failed, as the
 * answer. A number may be "max", which is UINT64_MAX. The text is the caller's to free.
 */
int cgroup_read_text(int dir, const char *file, char **ret);
int cgroup_read_number(int dir, const char *file, uint64_t *ret);
int cgroup_read_keyed(int dir, const char *file, const char *key, uint64_t *ret);

/* Parsers of io.stat, of blkio.throttle.io_* and of *.pressure; the first two add to what is there.
 * Fuzzed. */
void cgroup_sum_io_stat(const char *text, struct cgroup_io *io);
void cgroup_sum_blkio(const char *text, uint64_t *reads, uint64_t *writes);
bool cgroup_parse_pressure(const char *text, struct cgroup_pressure *ret);

/*
 * Removes the group `name` below dirfd with all below it; 0 also when there is none, -EBUSY when a
 * process is left in one of them.
 */
int cgroup_remove_tree(int dirfd, const char *name);

#endif
