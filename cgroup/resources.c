/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/resources.h"

#include "cgroup/write.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

/*
 * How one setting is written in one version: usually a file and the text for it, else a function
 * that does it all. An empty column is a setting that version does not have.
 */
struct column {
	const char *file;
	void (*format)(const struct cgroup_setting *s, const struct cgroup_job *j,
		       char out[CGROUP_TEXT_MAX]);
	int (*write)(struct cgroup_job *j, const struct cgroup_setting *s, int hierarchy,
		     struct err *e);
};

struct row {
	const char *name;
	enum cgroup_controller ctl;
	uint64_t nothing; /* the value that asks for nothing */
	const char *held; /* the v2 file that says what is in use, for the note when it is more */
	bool disk;        /* needs the disk under the root */
	struct column v2, v1;
};

/* A soft limit of 0 would make it the first to be reclaimed from; the kernel's default is none. */
static void as_soft_limit(const struct cgroup_setting *s, const struct cgroup_job *j,
			  char out[CGROUP_TEXT_MAX])
{
	struct cgroup_setting none = { .number = s->number ? s->number : CGROUP_UNLIMITED };

	cgroup_text_bytes_v1(&none, j, out);
}

/* Thousandths of a CPU are hundreds of microseconds in the kernel's default period of 100 ms; it
 * takes no quota under 1 ms (sched_cfs_bandwidth). */
#define PERIOD_US 100000

static uint64_t quota_us(uint64_t milli)
{
	return milli <= 10 ? 1000 : milli > UINT64_MAX / 200 ? UINT64_MAX / 2 : milli * 100;
}

static void as_cpu_max(const struct cgroup_setting *s, const struct cgroup_job *j,
		       char out[CGROUP_TEXT_MAX])
{
	(void)j;
	if (s->number == CGROUP_UNLIMITED)
		snprintf(out, CGROUP_TEXT_MAX, "max %d", PERIOD_US);
	else
		snprintf(out, CGROUP_TEXT_MAX, "%" PRIu64 " %d", quota_us(s->number), PERIOD_US);
}

static void as_quota(const struct cgroup_setting *s, const struct cgroup_job *j,
		     char out[CGROUP_TEXT_MAX])
{
	(void)j;
	if (s->number == CGROUP_UNLIMITED)
		snprintf(out, CGROUP_TEXT_MAX, "-1");
	else
		snprintf(out, CGROUP_TEXT_MAX, "%" PRIu64, quota_us(s->number));
}

/* 100 is the kernel's default weight, as 1024 shares are. */
static void as_shares(const struct cgroup_setting *s, const struct cgroup_job *j,
		      char out[CGROUP_TEXT_MAX])
{
	uint64_t shares = s->number * 1024 / 100;

	(void)j;
	snprintf(out, CGROUP_TEXT_MAX, "%" PRIu64, shares < 2 ? 2 : shares > 262144 ? 262144 : shares);
}

static void as_switch(const struct cgroup_setting *s, const struct cgroup_job *j,
		      char out[CGROUP_TEXT_MAX])
{
	(void)j;
	snprintf(out, CGROUP_TEXT_MAX, "%d", s->number != 0);
}

/* "M:m rbps=N": the key is the part after the last dot of the setting, spelled as io.max has it. */
static void as_io_max(const struct cgroup_setting *s, const struct cgroup_job *j,
		      char out[CGROUP_TEXT_MAX])
{
	static const char *const keys[][2] = {
		{ "io.read", "rbps" },
		{ "io.write", "wbps" },
		{ "io.read-ops", "riops" },
		{ "io.write-ops", "wiops" },
	};
	char number[CGROUP_TEXT_MAX];

	cgroup_text_number(s, j, number);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (STREQ(keys[i][0], s->name))
			snprintf(out, CGROUP_TEXT_MAX, "%u:%u %s=%s", j->disk_major, j->disk_minor,
				 keys[i][1], number);
}

/* On v1 a bound of 0 takes the line away. */
static void as_throttle(const struct cgroup_setting *s, const struct cgroup_job *j,
			char out[CGROUP_TEXT_MAX])
{
	snprintf(out, CGROUP_TEXT_MAX, "%u:%u %" PRIu64, j->disk_major, j->disk_minor,
		 s->number == CGROUP_UNLIMITED ? 0 : s->number);
}

/* Every size of huge page that this kernel has. */
static int hugetlb(struct cgroup_job *j, const struct cgroup_setting *s, int hierarchy,
		   struct err *e)
{
	const char *suffix = hierarchy == CGROUP_V2 ? ".max" : ".limit_in_bytes";
	cleanup_closedir DIR *dir = cgroup_job_opendir(j, hierarchy);
	char text[CGROUP_TEXT_MAX];
	struct dirent *d;

	if (!dir)
		return err_sys(e, "list the group's files");
	if (hierarchy == CGROUP_V2)
		cgroup_text_number(s, j, text);
	else
		cgroup_text_bytes_v1(s, j, text);
	while ((d = readdir(dir))) {
		size_t len = strlen(d->d_name);
		int r;

		if (strncmp(d->d_name, "hugetlb.", 8) != 0 || len < 8 + strlen(suffix) ||
		    !STREQ(d->d_name + len - strlen(suffix), suffix) ||
		    strstr(d->d_name, ".rsvd.") || strstr(d->d_name, ".memsw."))
			continue;
		r = cgroup_job_write(j, hierarchy, d->d_name, text);
		if (r < 0)
			return err_code(e, r, "write %s", d->d_name);
	}
	return 0;
}

/* v1 kills one process at a time, and tells of it. */
static int left_to_holder(struct cgroup_job *j, const struct cgroup_setting *s, int hierarchy,
			  struct err *e)
{
	(void)j;
	(void)s;
	(void)hierarchy;
	(void)e;
	return 0;
}

static int cpu_pin(struct cgroup_job *j, const struct cgroup_setting *s, int hierarchy,
		   struct err *e)
{
	int r = cgroup_cpus_check(s->text ? s->text : "", e);

	if (r < 0)
		return r;
	r = cgroup_job_write(j, hierarchy, CGROUP_CPUS_FILE, s->text && *s->text ? s->text : "\n");
	return r < 0 ? err_code(e, r, "write " CGROUP_CPUS_FILE) : 0;
}

/* bfq's own scale ends at 1000 where the setting's ends at 10000; 100 is the middle of both. */
static uint64_t bfq_weight(uint64_t w)
{
	return w <= 100 ? w : 100 + (w - 100) * 900 / 9900;
}

static int io_weight(struct cgroup_job *j, const struct cgroup_setting *s, int hierarchy,
		     struct err *e)
{
	static const char *const bfq[] = { "io.bfq.weight", "blkio.bfq.weight" };
	const char *file = bfq[hierarchy != CGROUP_V2];
	char text[CGROUP_TEXT_MAX];
	int r = -ENOENT;

	snprintf(text, sizeof(text), "default %" PRIu64, s->number);
	if (hierarchy == CGROUP_V2)
		r = cgroup_job_write(j, hierarchy, "io.weight", text);
	snprintf(text, sizeof(text), "%" PRIu64, bfq_weight(s->number));
	/* Both may be there; which of them counts is the disk's scheduler's choice. */
	if (r == 0 || r == -ENOENT) {
		int b = cgroup_job_write(j, hierarchy, file, text);

		r = r == 0 && b == -ENOENT ? 0 : b;
	}
	if (r == -ENOENT && s->number != 100) {
		err_set(e, ERR_UNSUPPORTED, "this kernel has no io.weight for groups");
		return err_hint(e, "load the bfq scheduler (modprobe bfq) and choose it for the disk");
	}
	return r < 0 && r != -ENOENT ? err_code(e, r, "write the io weight") : 0;
}

#define MAX CGROUP_UNLIMITED

static const struct row rows[] = {
	{ "cpu.weight", CGROUP_CPU, 100, NULL, false,
	  { "cpu.weight", cgroup_text_number, NULL }, { "cpu.shares", as_shares, NULL } },
	{ "cpu.max", CGROUP_CPU, MAX, NULL, false,
	  { "cpu.max", as_cpu_max, NULL }, { "cpu.cfs_quota_us", as_quota, NULL } },
	{ "cpu.pin", CGROUP_CPUSET, 0, NULL, false,
	  { "cpuset.cpus", NULL, cpu_pin }, { "cpuset.cpus", NULL, cpu_pin } },
	{ "memory.min", CGROUP_MEMORY, 0, NULL, false,
	  { "memory.min", cgroup_text_number, NULL }, { 0 } },
	{ "memory.low", CGROUP_MEMORY, 0, NULL, false,
	  { "memory.low", cgroup_text_number, NULL },
	  { "memory.soft_limit_in_bytes", as_soft_limit, NULL } },
	{ "memory.high", CGROUP_MEMORY, MAX, "memory.current", false,
	  { "memory.high", cgroup_text_number, NULL }, { 0 } },
	{ "memory.swap", CGROUP_MEMORY, MAX, "memory.swap.current", false,
	  { "memory.swap.max", cgroup_text_number, NULL }, { "memory.memsw.limit_in_bytes", NULL, cgroup_memory_v1 } },
	{ "memory.max", CGROUP_MEMORY, MAX, NULL, false,
	  { "memory.max", NULL, cgroup_memory_max_v2 }, { "memory.limit_in_bytes", NULL, cgroup_memory_v1 } },
	{ "oom.group", CGROUP_MEMORY, 0, NULL, false,
	  { "memory.oom.group", as_switch, NULL }, { "memory.oom_control", NULL, left_to_holder } },
	{ "pids.max", CGROUP_PIDS, MAX, "pids.current", false,
	  { "pids.max", cgroup_text_number, NULL }, { "pids.max", cgroup_text_number, NULL } },
	{ "hugetlb.max", CGROUP_HUGETLB, MAX, NULL, false,
	  { "hugetlb.*.max", NULL, hugetlb }, { "hugetlb.*.limit_in_bytes", NULL, hugetlb } },
	{ "io.weight", CGROUP_IO, 100, NULL, false,
	  { "io.weight", NULL, io_weight }, { "blkio.bfq.weight", NULL, io_weight } },
	{ "io.read", CGROUP_IO, MAX, NULL, true,
	  { "io.max", as_io_max, NULL }, { "blkio.throttle.read_bps_device", as_throttle, NULL } },
	{ "io.write", CGROUP_IO, MAX, NULL, true,
	  { "io.max", as_io_max, NULL }, { "blkio.throttle.write_bps_device", as_throttle, NULL } },
	{ "io.read-ops", CGROUP_IO, MAX, NULL, true,
	  { "io.max", as_io_max, NULL }, { "blkio.throttle.read_iops_device", as_throttle, NULL } },
	{ "io.write-ops", CGROUP_IO, MAX, NULL, true,
	  { "io.max", as_io_max, NULL }, { "blkio.throttle.write_iops_device", as_throttle, NULL } },
};

static const struct row *find_row(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (STREQ(rows[i].name, name))
			return &rows[i];
	return NULL;
}

bool cgroup_setting_is_known(const char *name)
{
	return find_row(name) != NULL;
}

enum cgroup_controller cgroup_setting_controller(const char *name)
{
	return find_row(name)->ctl;
}

static bool asks_for_nothing(const struct row *row, const struct cgroup_setting *s)
{
	return row->ctl == CGROUP_CPUSET ? !s->text || !*s->text : s->number == row->nothing;
}

static const struct column *find_column(const struct row *row, const struct cgroup_host *h,
					struct err *e)
{
	int version = h->ctl[row->ctl].version;
	const struct column *col = version == 1 ? &row->v1 : &row->v2;
	const char *ctl = cgroup_controller_name(row->ctl);

	if (version && col->file)
		return col;
	if (!version) {
		err_set(e, ERR_UNSUPPORTED, "%s: this host offers no %s controller", row->name, ctl);
		err_hint(e, "boot it without cgroup_disable=%s, with a kernel that has it", ctl);
	} else {
		err_set(e, ERR_UNSUPPORTED, "%s: the %s controller of this host is cgroup v1's, "
					    "which has no such bound", row->name, ctl);
		err_hint(e, "boot it with systemd.unified_cgroup_hierarchy=1, or cgroup_no_v1=%s", ctl);
	}
	return NULL;
}

int cgroup_setting_supported(const struct cgroup_host *h, const char *name, struct err *e)
{
	const struct row *row = find_row(name);

	if (!row)
		return err_set(e, ERR_USAGE, "%s is no setting of a control group", name);
	return find_column(row, h, e) ? 0 : err_errno(ERR_UNSUPPORTED);
}

/* What already exceeds the new value, by v2's file or its namesake on v1. */
static void note_held(struct cgroup_job *j, const struct row *row, const struct cgroup_setting *s,
		      int hierarchy)
{
	uint64_t held;

	if (!row->held || (hierarchy != CGROUP_V2 && row->ctl != CGROUP_PIDS))
		return;
	if (cgroup_job_number(j, hierarchy, row->held, &held) == 0 && held > s->number)
		cgroup_job_note(j, "%s: %" PRIu64 " are in use already%s", row->name, held,
				row->ctl == CGROUP_PIDS ? ", no fork succeeds until fewer are" : "");
}

static int apply_one(struct cgroup_job *j, const struct cgroup_setting *s, struct err *e)
{
	const struct row *row = find_row(s->name);
	const struct column *col;
	char text[CGROUP_TEXT_MAX] = "";
	int hierarchy, r;

	if (!row)
		return err_set(e, ERR_USAGE, "%s is no setting of a control group", s->name);
	col = find_column(row, j->c->host, e);
	if (!col)
		return asks_for_nothing(row, s) ? 0 : err_errno(ERR_UNSUPPORTED);
	hierarchy = j->c->host->ctl[row->ctl].version == 2 ? CGROUP_V2 : (int)row->ctl;
	r = cgroup_job_open(j, hierarchy);
	if (r < 0)
		return err_code(e, r, "%s: open %s", row->name,
				cgroup_path(j->c, hierarchy, text));
	if (row->disk) {
		r = cgroup_job_disk(j, e);
		if (r < 0)
			return asks_for_nothing(row, s) ? 0 : err_wrap(e, "%s", row->name);
	}
	if (col->write) {
		r = col->write(j, s, hierarchy, e);
		return r < 0 ? err_wrap(e, "%s", row->name) : 0;
	}
	col->format(s, j, text);
	r = cgroup_job_write(j, hierarchy, col->file, text);
	if (r == -ENOENT && asks_for_nothing(row, s))
		return 0;
	if (r == -ENOENT) {
		err_set(e, ERR_UNSUPPORTED, "%s: this kernel has no %s", row->name, col->file);
		return err_hint(e, "it was built without it, or boots with it turned off");
	}
	if (r < 0)
		return err_code(e, r, "%s: write \"%s\" to %s", row->name, text, col->file);
	note_held(j, row, s, hierarchy);
	return 0;
}

int cgroup_apply(const struct cgroup *c, const struct cgroup_setting *set, size_t count,
		 const char *root, char note[CGROUP_NOTE_MAX], struct err *e)
{
	struct cgroup_job j;
	int r;

	note[0] = '\0';
	r = cgroup_job_init(&j, c, set, count, root, note, e);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = apply_one(&j, &set[i], e);
	if (r < 0) {
		cgroup_job_revert(&j);
		note[0] = '\0';
	}
	cgroup_job_done(&j);
	return r < 0 ? r : note[0] ? CGROUP_APPLIED_PARTLY : 0;
}
