/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/write.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>

struct cgroup_undo {
	struct cgroup_undo *next;
	int hierarchy;
	char file[64];
	char text[CGROUP_TEXT_MAX];
};

int cgroup_job_init(struct cgroup_job *j, const struct cgroup *c, const struct cgroup_setting *set,
		    size_t count, const char *root, char *note, struct err *e)
{
	*j = (struct cgroup_job){ .c = c, .set = set, .count = count, .root = root, .note = note };
	for (size_t i = 0; i < ARRAY_SIZE(j->dir); i++)
		j->dir[i] = -EBADF;
	return cgroup_check(c, e);
}

void cgroup_job_done(struct cgroup_job *j)
{
	for (size_t i = 0; i < ARRAY_SIZE(j->dir); i++)
		fd_close(&j->dir[i]);
	while (j->undo) {
		struct cgroup_undo *u = j->undo;

		j->undo = u->next;
		free(u);
	}
}

const struct cgroup_setting *cgroup_job_find(const struct cgroup_job *j, const char *name)
{
	for (size_t i = 0; i < j->count; i++)
		if (STREQ(j->set[i].name, name))
			return &j->set[i];
	return NULL;
}

int cgroup_job_open(struct cgroup_job *j, int hierarchy)
{
	int *dir = &j->dir[hierarchy == CGROUP_V2 ? CGROUP_SLOT_V2 : hierarchy];

	if (*dir < 0)
		*dir = cgroup_open_dir(j->c, hierarchy);
	return *dir;
}

int cgroup_job_text(struct cgroup_job *j, int hierarchy, const char *file,
		    char out[CGROUP_TEXT_MAX])
{
	cleanup_free char *text = NULL;
	int dir = cgroup_job_open(j, hierarchy);
	int r = dir < 0 ? dir : fd_read_file_at(dir, file, CGROUP_TEXT_MAX - 1, &text, NULL);

	if (r < 0)
		return r;
	snprintf(out, CGROUP_TEXT_MAX, "%s", text);
	return 0;
}

int cgroup_job_number(struct cgroup_job *j, int hierarchy, const char *file, uint64_t *ret)
{
	return cgroup_read_number(cgroup_job_open(j, hierarchy), file, ret);
}

int cgroup_job_keyed(struct cgroup_job *j, int hierarchy, const char *file, const char *key,
		     uint64_t *ret)
{
	return cgroup_read_keyed(cgroup_job_open(j, hierarchy), file, key, ret);
}

DIR *cgroup_job_opendir(struct cgroup_job *j, int hierarchy)
{
	int dir = cgroup_job_open(j, hierarchy);

	if (dir < 0) {
		errno = -dir;
		return NULL;
	}
	return path_opendir_at(dir, ".");
}

/*
 * What must be written to get back what `text` of the file says now. Files with a line a device
 * (io.max, blkio.throttle.*) say nothing of devices without a bound.
 */
static void text_of_device(const char *text, const char *file, const char *write,
			   char out[CGROUP_TEXT_MAX])
{
	char dev[32];
	size_t len;

	snprintf(dev, sizeof(dev), "%.*s ", (int)strcspn(write, " "), write);
	len = strlen(dev);
	for (const char *l = text; *l; l += strcspn(l, "\n"), l += *l == '\n')
		if (strncmp(l, dev, len) == 0) {
			snprintf(out, CGROUP_TEXT_MAX, "%.*s", (int)strcspn(l, "\n"), l);
			return;
		}
	snprintf(out, CGROUP_TEXT_MAX, "%s%s", dev,
		 STREQ(file, "io.max") ? "rbps=max wbps=max riops=max wiops=max" : "0");
}

static int record(struct cgroup_job *j, int hierarchy, const char *file, const char *write)
{
	struct cgroup_undo *u = calloc(1, sizeof(*u));
	char text[CGROUP_TEXT_MAX];
	int r;

	if (!u)
		return -ENOMEM;
	u->hierarchy = hierarchy;
	snprintf(u->file, sizeof(u->file), "%s", file);
	r = cgroup_job_text(j, hierarchy, file, text);
	if (r < 0) {
		free(u);
		return r;
	}
	if (STREQ(file, "io.max") || strncmp(file, "blkio.throttle.", 15) == 0)
		text_of_device(text, file, write, u->text);
	else
		snprintf(u->text, sizeof(u->text), "%.*s", (int)strcspn(text, "\n"), text);
	if (!u->text[0])
		snprintf(u->text, sizeof(u->text), "\n"); /* an empty list; a write of nothing is none */
	u->next = j->undo;
	j->undo = u;
	return 0;
}

/* A list of CPUs cannot be emptied while processes are in the group: on v1 never, on v2 with Linux
 * 6.12 (ENOSPC). All that the parent has is the same, but for CPUs that come later. */
static int fill_cpus(int dir, int hierarchy)
{
	static const char *const above[] = { "../cpuset.cpus.effective", "../cpuset.cpus" };
	cleanup_free char *all = NULL;
	int r = fd_read_file_at(dir, above[hierarchy != CGROUP_V2], CGROUP_TEXT_MAX - 1, &all, NULL);

	if (r < 0)
		return r;
	all[strcspn(all, "\n")] = '\0';
	return fd_write_file_at(dir, CGROUP_CPUS_FILE, all);
}

static int write_text(int dir, int hierarchy, const char *file, const char *text)
{
	bool none = STREQ(text, "\n") && STREQ(file, CGROUP_CPUS_FILE);
	int r = none && hierarchy != CGROUP_V2 ? -ENOSPC : fd_write_file_at(dir, file, text);

	return none && r == -ENOSPC ? fill_cpus(dir, hierarchy) : r;
}

int cgroup_job_write(struct cgroup_job *j, int hierarchy, const char *file, const char *text)
{
	int dir = cgroup_job_open(j, hierarchy), r;

	if (dir < 0)
		return dir;
	r = record(j, hierarchy, file, text);
	return r < 0 ? r : write_text(dir, hierarchy, file, text);
}

void cgroup_job_revert(struct cgroup_job *j)
{
	for (const struct cgroup_undo *u = j->undo; u; u = u->next) {
		int dir = cgroup_job_open(j, u->hierarchy);

		if (dir >= 0)
			write_text(dir, u->hierarchy, u->file, u->text);
	}
}

int cgroup_job_disk(struct cgroup_job *j, struct err *e)
{
	int r;

	if (j->disk_known)
		return 0;
	if (!j->root)
		return err_set(e, ERR_FAIL, "no directory was given to find the disk by");
	r = cgroup_disk_find(j->root, &j->disk_major, &j->disk_minor, e);
	j->disk_known = r == 0;
	return r;
}

void cgroup_job_note(struct cgroup_job *j, const char *fmt, ...)
{
	size_t len = strlen(j->note);
	va_list ap;

	if (len)
		len += (size_t)snprintf(j->note + len, CGROUP_NOTE_MAX - len, "; ");
	if (len >= CGROUP_NOTE_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(j->note + len, CGROUP_NOTE_MAX - len, fmt, ap);
	va_end(ap);
}

int cgroup_job_squeeze(struct cgroup_job *j, const char *file, uint64_t wanted)
{
	bool both = strstr(file, "memsw") != NULL;
	const char *usage_file = both ? "memory.memsw.usage_in_bytes" : "memory.usage_in_bytes";
	char text[32];
	int r = -EBUSY;

	/* What is in use moves while it is looked at; a little room each time lets one try hit. */
	for (uint64_t room = 0; room < 16 && r == -EBUSY; room++) {
		uint64_t usage;

		r = cgroup_job_number(j, CGROUP_MEMORY, usage_file, &usage);
		if (r < 0)
			return r;
		if (usage < wanted)
			usage = wanted;
		usage += room * KIB(256);
		snprintf(text, sizeof(text), "%" PRIu64, usage);
		r = fd_write_file_at(j->dir[CGROUP_MEMORY], file, text);
		if (r == 0)
			cgroup_job_note(j, "%s: %" PRIu64 " MiB are in use that could not be "
					   "reclaimed, and are the bound now; set it again later",
					both ? "memory.swap" : "memory.max", usage >> 20);
	}
	return r;
}

static int parse_cpu(const char **p, unsigned long *ret)
{
	char *end;

	if (**p < '0' || **p > '9')
		return -EINVAL;
	errno = 0;
	*ret = strtoul(*p, &end, 10);
	*p = end;
	return errno || *ret >= CGROUP_CPUS_MAX ? -ERANGE : 0;
}

int cgroup_cpus_parse(const char *list, uint64_t set[CGROUP_CPUS_MAX / 64])
{
	memset(set, 0, CGROUP_CPUS_MAX / 8);
	for (const char *p = list; *p;) {
		unsigned long from = 0, to;
		int r = parse_cpu(&p, &from);

		to = from;
		if (r == 0 && *p == '-') {
			p++;
			r = parse_cpu(&p, &to);
		}
		if (r < 0)
			return r;
		if (to < from || (*p && *p != ',') || (*p == ',' && !p[1]))
			return -EINVAL;
		for (unsigned long i = from; i <= to; i++)
			set[i / 64] |= UINT64_C(1) << i % 64;
		p += *p == ',';
	}
	return 0;
}

int cgroup_cpus_check(const char *list, struct err *e)
{
	static const char online[] = "/sys/devices/system/cpu/online";
	uint64_t want[CGROUP_CPUS_MAX / 64], have[CGROUP_CPUS_MAX / 64];
	cleanup_free char *text = NULL;
	int r = cgroup_cpus_parse(list, want);

	if (r < 0)
		return err_set(e, ERR_USAGE, "\"%s\" is no list of CPUs", list);
	r = fd_read_file_at(AT_FDCWD, online, 65536, &text, NULL);
	if (r < 0)
		return err_code(e, r, "read %s", online);
	text[strcspn(text, "\n")] = '\0';
	if (cgroup_cpus_parse(text, have) < 0)
		return err_set(e, ERR_FAIL, "%s is not understood", online);
	for (unsigned i = 0; i < CGROUP_CPUS_MAX; i++)
		if ((want[i / 64] & ~have[i / 64]) >> i % 64 & 1) {
			err_set(e, ERR_USAGE, "this host has no CPU %u", i);
			return err_hint(e, "its CPUs are %s", text);
		}
	return 0;
}

void cgroup_text_number(const struct cgroup_setting *s, const struct cgroup_job *j,
			char out[CGROUP_TEXT_MAX])
{
	(void)j;
	if (s->number == CGROUP_UNLIMITED)
		snprintf(out, CGROUP_TEXT_MAX, "max");
	else
		snprintf(out, CGROUP_TEXT_MAX, "%" PRIu64, s->number);
}

void cgroup_text_bytes_v1(const struct cgroup_setting *s, const struct cgroup_job *j,
			  char out[CGROUP_TEXT_MAX])
{
	if (s->number == CGROUP_UNLIMITED)
		snprintf(out, CGROUP_TEXT_MAX, "-1");
	else
		cgroup_text_number(s, j, out);
}
