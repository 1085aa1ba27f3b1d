/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CGROUP_WRITE_H
#define CGROUP_WRITE_H

#include "cgroup/internal.h"
#include "cgroup/resources.h"

#include <dirent.h>

/*
 * One cgroup_apply() under way: the group's directories, opened when first needed, and a journal of
 * what each written file said before. Private to the folder.
 */
#define CGROUP_TEXT_MAX 4096
#define CGROUP_CPUS_FILE "cpuset.cpus"
#define CGROUP_SLOT_V2 CGROUP_CONTROLLER_COUNT

struct cgroup_job {
	const struct cgroup *c;
	const struct cgroup_setting *set;
	size_t count;
	const char *root;
	char *note;
	int dir[CGROUP_CONTROLLER_COUNT + 1]; /* by controller; the last is v2's */
	unsigned disk_major, disk_minor;
	bool disk_known;
	struct cgroup_undo *undo; /* newest first */
};

int cgroup_job_init(struct cgroup_job *j, const struct cgroup *c, const struct cgroup_setting *set,
		    size_t count, const char *root, char *note, struct err *e);
void cgroup_job_done(struct cgroup_job *j);
/* Writes back what was there, newest first, as far as the kernel lets it. */
void cgroup_job_revert(struct cgroup_job *j);

/* The setting of that name in this job, or NULL. */
const struct cgroup_setting *cgroup_job_find(const struct cgroup_job *j, const char *name);

/* Fills disk_major and disk_minor. */
int cgroup_job_disk(struct cgroup_job *j, struct err *e);

/* The rest return a negative errno value and fill no error. */

/* The fd of the group's directory; it stays the job's. */
int cgroup_job_open(struct cgroup_job *j, int hierarchy);
/* Where the kernel does not let a list of CPUs be emptied, "\n" stands for all that its parent has. */
int cgroup_job_write(struct cgroup_job *j, int hierarchy, const char *file, const char *text);
int cgroup_job_text(struct cgroup_job *j, int hierarchy, const char *file,
		    char out[CGROUP_TEXT_MAX]);
/* A file of one number; "max" is CGROUP_UNLIMITED. */
int cgroup_job_number(struct cgroup_job *j, int hierarchy, const char *file, uint64_t *ret);
int cgroup_job_keyed(struct cgroup_job *j, int hierarchy, const char *file, const char *key,
		     uint64_t *ret);
DIR *cgroup_job_opendir(struct cgroup_job *j, int hierarchy);

/* Sets a v1 memory limit that the kernel refused with EBUSY, as more is in use than it could
 * reclaim: to what is in use. Notes it. */
int cgroup_job_squeeze(struct cgroup_job *j, const char *file, uint64_t wanted);

/* Adds to the line for the user. */
__attribute__((format(printf, 2, 3))) void cgroup_job_note(struct cgroup_job *j, const char *fmt,
							   ...);

/* Parses such a list into `set`, a bit a CPU; -EINVAL, -ERANGE. Fuzzed. */
#define CGROUP_CPUS_MAX 8192
int cgroup_cpus_parse(const char *list, uint64_t set[CGROUP_CPUS_MAX / 64]);

/* The text of a number, and of one of bytes in v1's memory files, which know no "max" and take -1. */
void cgroup_text_number(const struct cgroup_setting *s, const struct cgroup_job *j, char out[CGROUP_TEXT_MAX]);
void cgroup_text_bytes_v1(const struct cgroup_setting *s, const struct cgroup_job *j, char out[CGROUP_TEXT_MAX]);
/* memory.c: memory.max and memory.swap, each by itself or both. They fill *e. */
int cgroup_memory_v1(struct cgroup_job *j, const struct cgroup_setting *s, int hierarchy, struct err *e);
int cgroup_memory_max_v2(struct cgroup_job *j, const struct cgroup_setting *s, int hierarchy, struct err *e);

#endif
