/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"
#include "tests/unit/cgroup_fake.h"
#include "tests/unit/cgroup_live.h"

#include "cgroup/resources.h"
#include "cgroup/write.h"

#include <errno.h>
#include <sys/mman.h>

#define MAX CGROUP_UNLIMITED

static char note[CGROUP_NOTE_MAX];

static int set_one(const struct cgroup *c, const char *name, uint64_t number, const char *text,
		   const char *root)
{
	struct cgroup_setting s = { .name = name, .number = number, .text = text };

	return cgroup_apply(c, &s, 1, root, note, &live_err);
}

static void wrote(struct fake *f, const char *name, uint64_t number, const char *text,
		  const char *file, const char *want)
{
	cleanup_free char *got = NULL;
	char path[512];

	snprintf(path, sizeof(path), "%s/p/n/%s", f->dir, file);
	if (access(path, F_OK) == 0)
		ok(truncate(path, 0) == 0, "empty %s", file);
	live_check(set_one(&f->c, name, number, text, f->dir), name);
	ok(fd_read_file_at(AT_FDCWD, path, 4096, &got, NULL) == 0, "read %s", file);
	eq_str(got, want, "%s = %llu", name, (unsigned long long)number);
}

TEST(v2_texts)
{
	static const char *const files[] = {
		"cpu.weight", "", "cpu.max", "", "cpuset.cpus", "", "memory.max", "", "memory.high",
		"", "memory.low", "", "memory.min", "", "memory.swap.max", "", "memory.oom.group",
		"", "pids.max", "", "io.weight", "", "io.max", "", "hugetlb.2MB.max", "",
		"hugetlb.1GB.max", "", "hugetlb.2MB.rsvd.max", "", NULL,
	};
	cleanup_fake struct fake f;
	unsigned major = 0, minor = 0;
	char want[128];

	fake_init(&f, 2, files);
	wrote(&f, "cpu.weight", 250, NULL, "cpu.weight", "250");
	wrote(&f, "cpu.max", 1500, NULL, "cpu.max", "150000 100000");
	wrote(&f, "cpu.max", 10, NULL, "cpu.max", "1000 100000");
	wrote(&f, "cpu.max", MAX, NULL, "cpu.max", "max 100000");
	wrote(&f, "cpu.pin", 0, "0", "cpuset.cpus", "0");
	wrote(&f, "cpu.pin", 0, "", "cpuset.cpus", "\n");
	wrote(&f, "memory.max", MIB(512), NULL, "memory.max", "536870912");
	wrote(&f, "memory.high", MAX, NULL, "memory.high", "max");
	wrote(&f, "memory.low", 4096, NULL, "memory.low", "4096");
	wrote(&f, "memory.min", 0, NULL, "memory.min", "0");
	wrote(&f, "memory.swap", 0, NULL, "memory.swap.max", "0");
	wrote(&f, "oom.group", 1, NULL, "memory.oom.group", "1");
	wrote(&f, "pids.max", 77, NULL, "pids.max", "77");
	wrote(&f, "io.weight", 300, NULL, "io.weight", "default 300");
	wrote(&f, "hugetlb.max", MIB(4), NULL, "hugetlb.2MB.max", "4194304");
	wrote(&f, "hugetlb.max", MIB(4), NULL, "hugetlb.1GB.max", "4194304");
	wrote(&f, "hugetlb.max", MIB(4), NULL, "hugetlb.2MB.rsvd.max", "");
	if (cgroup_disk_find(f.dir, &major, &minor, &live_err) < 0)
		skip("%s", live_err.msg);
	snprintf(want, sizeof(want), "%u:%u rbps=1048576", major, minor);
	wrote(&f, "io.read", MIB(1), NULL, "io.max", want);
	snprintf(want, sizeof(want), "%u:%u wiops=max", major, minor);
	wrote(&f, "io.write-ops", MAX, NULL, "io.max", want);
}

TEST(v1_texts)
{
	static const char *const files[] = {
		"cpu.shares", "", "cpu.cfs_quota_us", "", "memory.soft_limit_in_bytes", "",
		"pids.max", "", "blkio.bfq.weight", "", "blkio.throttle.read_bps_device", "",
		"blkio.throttle.write_iops_device", "", "hugetlb.2MB.limit_in_bytes", "", NULL,
	};
	cleanup_fake struct fake f;
	unsigned major = 0, minor = 0;
	char want[128];

	fake_init(&f, 1, files);
	wrote(&f, "cpu.weight", 100, NULL, "cpu.shares", "1024");
	wrote(&f, "cpu.weight", 1, NULL, "cpu.shares", "10");
	wrote(&f, "cpu.weight", 10000, NULL, "cpu.shares", "102400");
	wrote(&f, "cpu.max", 500, NULL, "cpu.cfs_quota_us", "50000");
	wrote(&f, "cpu.max", MAX, NULL, "cpu.cfs_quota_us", "-1");
	wrote(&f, "memory.low", 4096, NULL, "memory.soft_limit_in_bytes", "4096");
	wrote(&f, "memory.low", 0, NULL, "memory.soft_limit_in_bytes", "-1");
	wrote(&f, "pids.max", MAX, NULL, "pids.max", "max");
	wrote(&f, "io.weight", 10000, NULL, "blkio.bfq.weight", "1000");
	wrote(&f, "io.weight", 100, NULL, "blkio.bfq.weight", "100");
	wrote(&f, "hugetlb.max", MAX, NULL, "hugetlb.2MB.limit_in_bytes", "-1");
	if (cgroup_disk_find(f.dir, &major, &minor, &live_err) < 0)
		skip("%s", live_err.msg);
	snprintf(want, sizeof(want), "%u:%u 1048576", major, minor);
	wrote(&f, "io.read", MIB(1), NULL, "blkio.throttle.read_bps_device", want);
	snprintf(want, sizeof(want), "%u:%u 0", major, minor);
	wrote(&f, "io.write-ops", MAX, NULL, "blkio.throttle.write_iops_device", want);
}

TEST(unsupported)
{
	static const char *const none[] = { NULL };
	cleanup_fake struct fake f;

	fake_init(&f, 1, none);
	eq_int(set_one(&f.c, "memory.high", 1, NULL, NULL), -EOPNOTSUPP, "memory.high on v1");
	eq_int(live_err.code, ERR_UNSUPPORTED, "status");
	ok(strstr(live_err.msg, "memory.high") && strstr(live_err.msg, "memory controller") &&
	   live_err.hint[0], "names setting and controller, with a hint");
	eq_int(set_one(&f.c, "memory.high", MAX, NULL, NULL), 0, "but no bound is no matter");
	eq_int(set_one(&f.c, "pids.max", 5, NULL, NULL), -EOPNOTSUPP, "a file that is missing");
	for (int i = 0; i < CGROUP_CONTROLLER_COUNT; i++)
		f.h.ctl[i].version = 0;
	eq_int(set_one(&f.c, "pids.max", 5, NULL, NULL), -EOPNOTSUPP, "no controller");
	ok(strstr(live_err.msg, "pids controller") != NULL, "is named");
	eq_int(set_one(&f.c, "pids.max", MAX, NULL, NULL), 0, "asks for nothing");
	eq_int(set_one(&f.c, "cpu.pin", 0, "", NULL), 0, "asks for nothing");
	eq_int(cgroup_setting_supported(&f.h, "cpu.max", &live_err), -EOPNOTSUPP, "told before");
	eq_int(set_one(&f.c, "pids.maximum", 5, NULL, NULL), -EINVAL, "an unknown name");
	f.h.ctl[CGROUP_PIDS].version = 2;
	snprintf(f.c.name, sizeof(f.c.name), "gone");
	eq_int(set_one(&f.c, "pids.max", 5, NULL, NULL), -ENOENT, "no such group");
}

TEST(all_or_nothing)
{
	static const char *const files[] = { "cpu.weight", "100\n", "io.max", "", "pids.max", "max\n",
					     NULL };
	const struct cgroup_setting set[] = {
		{ "cpu.weight", 777, NULL },
		{ "pids.max", 444, NULL },
		{ "cpu.max", 500, NULL }, /* its file is missing */
	};
	cleanup_fake struct fake f;
	cleanup_free char *weight = NULL, *pids = NULL;
	char path[512];

	fake_init(&f, 2, files);
	eq_int(cgroup_apply(&f.c, set, 3, NULL, note, &live_err), -EOPNOTSUPP, "the last fails");
	snprintf(path, sizeof(path), "%s/p/n/cpu.weight", f.dir);
	fd_read_file_at(AT_FDCWD, path, 4096, &weight, NULL);
	eq_str(weight, "100\n", "the first is as before");
	snprintf(path, sizeof(path), "%s/p/n/pids.max", f.dir);
	fd_read_file_at(AT_FDCWD, path, 4096, &pids, NULL);
	eq_str(pids, "max\n", "the second too");
}

TEST(cpu_lists)
{
	uint64_t set[CGROUP_CPUS_MAX / 64];

	eq_int(cgroup_cpus_parse("", set), 0, "empty");
	eq_int(cgroup_cpus_parse("0-2,63-65,8191", set), 0, "ranges");
	ok(set[0] == (UINT64_C(7) | UINT64_C(1) << 63) && set[1] == 3 && set[127] >> 63, "bits");
	for (const char *const *p = (const char *const[]){ "-1", "1-", "2-1", "a", "1,", ",1", "1,,2",
							   "1 2", "1-2-3", "0x1", NULL }; *p; p++)
		eq_int(cgroup_cpus_parse(*p, set), -EINVAL, "\"%s\"", *p);
	eq_int(cgroup_cpus_parse("8192", set), -ERANGE, "too large");
	eq_int(cgroup_cpus_parse("0-99999999999999999999999", set), -ERANGE, "far too large");
	eq_int(cgroup_cpus_check("8191", &live_err), -EINVAL, "a CPU that this host has not");
	eq_int(live_err.code, ERR_USAGE, "is the user's mistake");
}

/* From here on the kernel's own groups. */

static void sleeper(void)
{
	for (;;)
		pause();
}

static int ready[2];

static void hog(void)
{
	size_t size = MIB(48);
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mlock(p, size) < 0)
		_exit(98);
	memset(p, 1, size);
	if (write(ready[1], "r", 1) == 1)
		sleeper();
}

static bool up(struct cgroup *c, const char *name)
{
	if (!live_init(c, name) || cgroup_create(c, 0, 0, &live_err) < 0) {
		tap_skip("%s", live_err.msg);
		return false;
	}
	return true;
}

static void down(struct cgroup *c, pid_t pid)
{
	good(cgroup_kill(c, &live_err), "kill");
	if (pid > 0)
		waitpid(pid, NULL, 0);
	good(cgroup_wait_empty(c, WAIT_US, &live_err), "empty");
	good(cgroup_remove(c, &live_err), "remove");
	ok(live_is_clean(c), "nothing is left");
}

static int hierarchy_of(enum cgroup_controller ctl)
{
	return live_host.ctl[ctl].version == 2 ? CGROUP_V2 : (int)ctl;
}

static void reads(const struct cgroup *c, enum cgroup_controller ctl, const char *v2,
		  const char *v2_text, const char *v1, const char *v1_text)
{
	bool two = live_host.ctl[ctl].version == 2;
	cleanup_free char *text = live_read(c, hierarchy_of(ctl), two ? v2 : v1);

	if (text)
		text[strcspn(text, "\n")] = '\0';
	eq_str(text, two ? v2_text : v1_text, "%s", two ? v2 : v1);
}

/* Everything at once, as a start does it, and back. */
TEST(kernel_takes_all)
{
	const struct cgroup_setting set[] = {
		{ "cpu.weight", 200, NULL },     { "cpu.max", 500, NULL },
		{ "cpu.pin", 0, "0" },           { "memory.max", MIB(64), NULL },
		{ "memory.swap", MIB(16), NULL },{ "memory.low", MIB(8), NULL },
		{ "pids.max", 50, NULL },
	};
	const struct cgroup_setting back[] = {
		{ "cpu.weight", 100, NULL },     { "cpu.max", MAX, NULL },
		{ "cpu.pin", 0, "" },            { "memory.max", MAX, NULL },
		{ "memory.swap", MAX, NULL },    { "memory.low", 0, NULL },
		{ "pids.max", MAX, NULL },
	};
	struct cgroup c;

	if (!up(&c, "all"))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(set); i++)
		if (cgroup_setting_supported(&live_host, set[i].name, &live_err) < 0) {
			down(&c, 0);
			skip("%s", live_err.msg);
		}
	good(cgroup_apply(&c, set, ARRAY_SIZE(set), "/", note, &live_err), "all set");
	eq_str(note, "", "without a note");
	reads(&c, CGROUP_CPU, "cpu.weight", "200", "cpu.shares", "2048");
	reads(&c, CGROUP_CPU, "cpu.max", "50000 100000", "cpu.cfs_quota_us", "50000");
	reads(&c, CGROUP_CPUSET, "cpuset.cpus", "0", "cpuset.cpus", "0");
	reads(&c, CGROUP_MEMORY, "memory.max", "67108864", "memory.limit_in_bytes", "67108864");
	reads(&c, CGROUP_MEMORY, "memory.swap.max", "16777216", "memory.memsw.limit_in_bytes",
	      "83886080");
	reads(&c, CGROUP_PIDS, "pids.max", "50", "pids.max", "50");
	good(set_one(&c, "memory.max", MIB(128), NULL, NULL), "raised alone");
	reads(&c, CGROUP_MEMORY, "memory.swap.max", "16777216", "memory.memsw.limit_in_bytes",
	      "150994944");
	good(cgroup_apply(&c, back, ARRAY_SIZE(back), "/", note, &live_err), "all taken back");
	reads(&c, CGROUP_CPU, "cpu.max", "max 100000", "cpu.cfs_quota_us", "-1");
	reads(&c, CGROUP_MEMORY, "memory.max", "max", "memory.limit_in_bytes",
	      "9223372036854771712");
	down(&c, 0);
}

TEST(memory_in_use)
{
	struct cgroup c;
	pid_t pid;
	char byte;
	int r;

	if (!up(&c, "hog"))
		return;
	if (!live_host.ctl[CGROUP_MEMORY].version || pipe(ready) < 0) {
		down(&c, 0);
		skip("no memory controller");
	}
	pid = live_spawn(&c, hog);
	ok(pid > 0, "starts");
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		down(&c, pid);
		skip("memory cannot be locked here");
	}
	r = set_one(&c, "memory.max", MIB(16), NULL, NULL);
	eq_int(r, CGROUP_APPLIED_PARTLY, "less than is in use: applied in part, and said so");
	diag("%s", note);
	ok(strstr(note, "memory.max"), "the note names the setting");
	if (live_host.ctl[CGROUP_MEMORY].version == 1) {
		cleanup_free char *text = live_read(&c, CGROUP_MEMORY, "memory.limit_in_bytes");

		ok(text && strtoull(text, NULL, 10) >= MIB(48) &&
		   strtoull(text, NULL, 10) < MIB(80), "bounded at what is in use");
	}
	down(&c, pid);
	close(ready[0]);
}

static void forks(void)
{
	int made = 0;

	for (int i = 0; i < 40; i++) {
		pid_t pid = fork();

		if (pid == 0)
			sleeper();
		made += pid > 0;
	}
	_exit(made);
}

TEST(pids_hold)
{
	struct cgroup c;
	int status = 0;
	pid_t pid;

	if (!up(&c, "pids"))
		return;
	if (!live_host.ctl[CGROUP_PIDS].version) {
		down(&c, 0);
		skip("no pids controller");
	}
	good(set_one(&c, "pids.max", 10, NULL, NULL), "ten");
	pid = live_spawn(&c, forks);
	waitpid(pid, &status, 0);
	eq_int(WEXITSTATUS(status), 9, "nine children and no more");
	eq_int(set_one(&c, "pids.max", 5, NULL, NULL), CGROUP_APPLIED_PARTLY, "fewer than there are");
	ok(strstr(note, "pids.max"), "is said");
	down(&c, 0);
}

TEST(io_on_a_real_disk)
{
	static const char *const names[] = { "io.read", "io.write", "io.read-ops", "io.write-ops" };
	unsigned major, minor;
	struct cgroup c;
	char want[64];

	if (!up(&c, "io"))
		return;
	if (!live_host.ctl[CGROUP_IO].version ||
	    cgroup_disk_find("/", &major, &minor, &live_err) < 0) {
		down(&c, 0);
		skip("no io controller or no disk");
	}
	snprintf(want, sizeof(want), "%u:%u 1048576", major, minor);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		good(set_one(&c, names[i], MIB(1), NULL, "/"), names[i]);
	if (live_host.ctl[CGROUP_IO].version == 1) {
		reads(&c, CGROUP_IO, "", "", "blkio.throttle.write_bps_device", want);
		reads(&c, CGROUP_IO, "", "", "blkio.throttle.read_iops_device", want);
		good(set_one(&c, "io.read-ops", MAX, NULL, "/"), "taken away");
		reads(&c, CGROUP_IO, "", "", "blkio.throttle.read_iops_device", "");
	} else {
		snprintf(want, sizeof(want),
			 "%u:%u rbps=1048576 wbps=1048576 riops=1048576 wiops=1048576", major, minor);
		reads(&c, CGROUP_IO, "io.max", want, "", "");
	}
	if (access("/dev/shm", F_OK) == 0) {
		eq_int(set_one(&c, "io.read", 1, NULL, "/proc"), -EOPNOTSUPP, "proc is on no disk");
		ok(strstr(live_err.msg, "no disk"), "and says so");
	}
	down(&c, 0);
}

/* A neighbour on the same CPU must see its half: the quota bounds the burner. */
static void burn(void)
{
	for (volatile unsigned i = 0;; i++)
		;
}

TEST(cpu_max_throttles)
{
	enum cgroup_controller ctl = CGROUP_CPU;
	struct cgroup c;
	uint64_t throttled = 0;
	pid_t pid;

	if (!up(&c, "burn"))
		return;
	if (!live_host.ctl[ctl].version) {
		down(&c, 0);
		skip("no cpu controller");
	}
	good(set_one(&c, "cpu.max", 100, NULL, NULL), "a tenth of a CPU");
	pid = live_spawn(&c, burn);
	while (throttled < 3) {
		cleanup_free char *text = live_read(&c, hierarchy_of(ctl), "cpu.stat");

		if (!text || cgroup_keyed(text, "nr_throttled", &throttled) < 0)
			break;
		usleep(100000);
	}
	ok(throttled >= 3, "held back period after period");
	down(&c, pid);
}
