/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"
#include "tests/unit/cgroup_fake.h"
#include "tests/unit/cgroup_live.h"

#include "cgroup/resources.h"
#include "cgroup/stats.h"
#include "cgroup/watch.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>

static struct cgroup_stats st;

TEST(v2_files)
{
	static const char *const files[] = {
		"cpu.stat", "usage_usec 300\nuser_usec 200\nsystem_usec 100\nnr_periods 9\n"
			    "nr_throttled 4\nthrottled_usec 55\n",
		"memory.current", "1000\n", "memory.peak", "2000\n",
		"memory.stat", "anon 600\nfile 300\nfile_mapped 7\n",
		"memory.events", "low 0\nhigh 1\nmax 12\noom 2\noom_kill 3\noom_group_kill 0\n",
		"memory.swap.current", "50\n", "memory.max", "4096\n", "memory.swap.max", "max\n",
		"memory.swap.events", "high 0\nmax 1\nfail 6\n",
		"pids.current", "5\n", "pids.peak", "8\n", "pids.events", "max 21\n",
		"pids.max", "10\n",
		"io.stat", "254:0 rbytes=100 wbytes=20 rios=3 wios=2 dbytes=0 dios=0\n"
			   "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=9 dios=9\n7:0\n",
		"memory.pressure", "some avg10=1.50 avg60=0.07 avg300=100.00 total=123\n"
				   "full avg10=0.00 avg60=0.00 avg300=0.00 total=45\n",
		"cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
		"hugetlb.2MB.current", "4194304\n", "hugetlb.2MB.max", "8388608\n",
		"hugetlb.2MB.events", "max 2\n", "hugetlb.2MB.rsvd.current", "99\n",
		"hugetlb.1GB.current", "0\n", "hugetlb.1GB.max", "max\n",
		"hugetlb.1GB.events", "max 1\n",
		"cgroup.stat", "nr_descendants 4\nnr_dying_descendants 1\n",
		"cgroup.max.descendants", "100\n", NULL,
	};
	cleanup_fake struct fake f;
	struct cgroup_counters b = { 0 };
	const struct cgroup_counter *r = b.row;

	fake_init(&f, 2, files);
	good(cgroup_stats_read(&f.c, &st, &live_err), "read");
	eq_int(st.known, 31, "all parts known");
	eq_int(st.cpu_usage_us, 300, "cpu usage");
	eq_int(st.cpu_user_us, 200, "user");
	eq_int(st.cpu_system_us, 100, "system");
	eq_int(st.cpu_throttled_us, 55, "throttled");
	eq_int(st.memory_current, 1000, "memory");
	eq_int(st.memory_peak, 2000, "peak");
	eq_int(st.memory_cache, 300, "cache");
	eq_int(st.memory_anon, 600, "anon");
	eq_int(st.memory_swap, 50, "swap");
	eq_int(st.memory_max_hits, 12, "hits");
	eq_int(st.oom_kills, 3, "kills");
	eq_int(st.pids_current, 5, "pids");
	eq_int(st.pids_refused, 21, "refused");
	eq_int(st.io.read_bytes, 101, "io of all disks");
	eq_int(st.io.write_ops, 6, "operations");
	ok(st.memory_pressure.known && !st.io_pressure.known, "pressure where on");
	eq_int(st.memory_pressure.some.avg10, 150, "hundredths");
	eq_int(st.memory_pressure.some.avg60, 7, "small ones");
	eq_int(st.memory_pressure.some.avg300, 10000, "all the time");
	eq_int(st.memory_pressure.full.total_us, 45, "total");

	good(cgroup_counters_update(&b, &f.c, &live_err), "beancounters");
	ok(r[CGROUP_BEAN_MEMORY].held == 1000 && r[CGROUP_BEAN_MEMORY].maxheld == 2000 &&
	   r[CGROUP_BEAN_MEMORY].limit == 4096 && r[CGROUP_BEAN_MEMORY].failcnt == 3, "memory row");
	ok(r[CGROUP_BEAN_SWAP].held == 50 && r[CGROUP_BEAN_SWAP].limit == UINT64_MAX &&
	   r[CGROUP_BEAN_SWAP].failcnt == 6, "swap row");
	ok(r[CGROUP_BEAN_PIDS].maxheld == 8 && r[CGROUP_BEAN_PIDS].limit == 10 &&
	   r[CGROUP_BEAN_PIDS].failcnt == 21, "pids row");
	ok(r[CGROUP_BEAN_HUGETLB].held == 4194304 && r[CGROUP_BEAN_HUGETLB].limit == 8388608 &&
	   r[CGROUP_BEAN_HUGETLB].failcnt == 3, "hugetlb row");
	ok(r[CGROUP_BEAN_GROUPS].held == 4 && r[CGROUP_BEAN_GROUPS].limit == 100, "groups row");
}

TEST(v1_files)
{
	static const char *const files[] = {
		"cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 55000\nusage_usec 300\n",
		"memory.usage_in_bytes", "1000\n", "memory.max_usage_in_bytes", "2000\n",
		"memory.failcnt", "12\n",
		"memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
		"memory.stat", "cache 300\nrss 600\nswap 50\ntotal_cache 9\n",
		"memory.memsw.usage_in_bytes", "1050\n", "memory.memsw.failcnt", "6\n",
		"memory.limit_in_bytes", "4096\n", "memory.memsw.limit_in_bytes", "5096\n",
		"pids.current", "5\n", "pids.max", "max\n", "pids.events", "max 21\n",
		"blkio.throttle.io_service_bytes_recursive",
		"254:0 Read 100\n254:0 Write 20\n254:0 Sync 120\n254:0 Total 120\n"
		"8:0 Read 1\n8:0 Write 2\nTotal 123\n",
		"blkio.throttle.io_serviced_recursive", "254:0 Read 3\n254:0 Write 2\nTotal 5\n",
		NULL,
	};
	cleanup_fake struct fake f;
	struct cgroup_counters b = { 0 };
	const struct cgroup_counter *r = b.row;

	fake_init(&f, 1, files);
	good(cgroup_stats_read(&f.c, &st, &live_err), "read");
	eq_int(st.known, 31, "all parts known");
	eq_int(st.cpu_throttled_us, 55, "throttled");
	eq_int(st.memory_current, 1000, "memory");
	eq_int(st.memory_cache, 300, "cache");
	eq_int(st.memory_anon, 600, "anon");
	eq_int(st.memory_swap, 50, "swap");
	eq_int(st.oom_kills, 3, "kills");
	eq_int(st.io.read_bytes, 101, "read");
	eq_int(st.io.write_bytes, 22, "written");
	eq_int(st.io.read_ops, 3, "reads");
	good(cgroup_counters_update(&b, &f.c, &live_err), "beancounters");
	ok(r[CGROUP_BEAN_SWAP].limit == 1000 && r[CGROUP_BEAN_SWAP].failcnt == 6, "swap row");
	ok(r[CGROUP_BEAN_PIDS].limit == UINT64_MAX && r[CGROUP_BEAN_PIDS].maxheld == 5, "pids row");
}

TEST(not_running)
{
	static const char *const none[] = { NULL };
	cleanup_fake struct fake f;

	fake_init(&f, 2, none);
	good(cgroup_stats_read(&f.c, &st, &live_err), "no file at all");
	eq_int(st.known, 0, "nothing known");
	snprintf(f.c.name, sizeof(f.c.name), "gone");
	eq_int(cgroup_stats_read(&f.c, &st, &live_err), -EBUSY, "no group");
	eq_int(live_err.code, ERR_STATE, "is a matter of state");
}

TEST(counters_over_restarts)
{
	struct cgroup_counters b = { 0 }, again;
	char text[CGROUP_COUNTERS_TEXT];
	cleanup_fake struct fake f;
	const char *files[] = { "pids.current", "5\n", "pids.peak", "9\n", "pids.max", "10\n",
				"pids.events", "max 3\n", NULL };
	struct cgroup_counter *r = &b.row[CGROUP_BEAN_PIDS];

	fake_init(&f, 2, files);
	cgroup_counters_update(&b, &f.c, &live_err);
	cgroup_counters_update(&b, &f.c, &live_err);
	eq_int(r->failcnt, 3, "looking twice counts once");
	ok(cgroup_counters_format(&b, text) == strlen(text), "as text");
	eq_int(cgroup_counters_parse(&again, text), 0, "and back");
	b = again;
	fake_done(&f);
	files[1] = "1\n";
	files[3] = "2\n";
	files[7] = "max 4\n";
	fake_init(&f, 2, files);
	cgroup_counters_restart(&b);
	cgroup_counters_update(&b, &f.c, &live_err);
	eq_int(r->failcnt, 7, "failures add up");
	eq_int(r->maxheld, 9, "the most is kept");
	eq_int(r->held, 1, "what is held is new");
}

TEST(counters_text)
{
	static const char *const bad[] = { "pids", "pids 1 2 3 4", "pids 1 2 3 4 x", "\n",
					   "pids 1 2 3 4 5 6", "pids  1 2 3 4 5", "pids -1 2 3 4 5",
					   "pids 1 2 3 4 99999999999999999999999", " 1 2 3 4 5 6" };
	struct cgroup_counters b;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		eq_int(cgroup_counters_parse(&b, bad[i]), -EINVAL, "\"%s\"", bad[i]);
	eq_int(cgroup_counters_parse(&b, ""), 0, "nothing is fine");
	eq_int(cgroup_counters_parse(&b, "future 1 2 3 4 5\nswap 1 2 3 4 5"), 0, "unknown rows");
	eq_int(b.row[CGROUP_BEAN_SWAP].failcnt, 4, "known ones are taken");
}

/* From here on the kernel's own groups. */

static int ready[2];

static void sleeper(void)
{
	for (;;)
		pause();
}

static void eat(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(98);
	memset(p, 1, size);
}

static void worker(void)
{
	eat(MIB(32));
	for (volatile int i = 0; i < 100000000; i++)
		;
	if (write(ready[1], "r", 1) == 1)
		sleeper();
}

static void glutton(void)
{
	eat(MIB(256));
}

static void forks(void)
{
	for (int i = 0; i < 20; i++)
		if (fork() == 0)
			sleeper();
	_exit(0);
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

TEST(kernel_counts)
{
	struct cgroup c;
	char byte;
	pid_t pid;

	if (!up(&c, "stats"))
		return;
	if (!ok(pipe(ready) == 0, "pipe"))
		return;
	pid = live_spawn(&c, worker);
	ok(pid > 0 && read(ready[0], &byte, 1) == 1, "has worked");
	good(cgroup_stats_read(&c, &st, &live_err), "read");
	ok(st.known & CGROUP_STAT_CPU && st.cpu_usage_us > 1000, "CPU time");
	ok(st.cpu_user_us > 0 && st.cpu_user_us <= st.cpu_usage_us, "most of it its own");
	if (live_host.ctl[CGROUP_MEMORY].version) {
		ok(st.memory_current >= MIB(32) && st.memory_current < MIB(64), "memory");
		ok(st.memory_anon >= MIB(32) && st.memory_cache < MIB(16), "anonymous, not cache");
		ok(st.memory_peak >= st.memory_current, "peak");
	}
	if (live_host.ctl[CGROUP_PIDS].version)
		eq_int(st.pids_current, 1, "one process");
	down(&c, pid);
	close(ready[0]);
	close(ready[1]);
}

/* Reads until both have come or nothing comes for long. */
static void collect(struct cgroup_watch *w, struct cgroup_event *sum, bool (*done)(void *))
{
	*sum = (struct cgroup_event){ 0 };
	while (!done(sum)) {
		struct pollfd p = { .fd = w->fd, .events = POLLIN };
		struct cgroup_event ev;

		if (poll(&p, 1, WAIT_US / 1000) <= 0 || cgroup_watch_read(w, &ev, &live_err) < 0)
			return;
		sum->oom_kills += ev.oom_kills;
		sum->pids_refused += ev.pids_refused;
		sum->empty |= ev.empty;
	}
}

static bool killed_and_empty(void *p)
{
	const struct cgroup_event *ev = p;

	return ev->oom_kills && ev->empty;
}

static bool refused(void *p)
{
	return ((const struct cgroup_event *)p)->pids_refused != 0;
}

TEST(out_of_memory)
{
	const struct cgroup_setting set[] = { { "memory.max", MIB(16), NULL },
					      { "memory.swap", 0, NULL } };
	struct cgroup_counters b = { 0 };
	char note[CGROUP_NOTE_MAX];
	struct cgroup_watch w;
	struct cgroup_event ev;
	struct cgroup c;
	int status = 0;
	pid_t pid;

	if (!up(&c, "oom"))
		return;
	if (!live_host.ctl[CGROUP_MEMORY].version) {
		down(&c, 0);
		skip("no memory controller");
	}
	good(cgroup_apply(&c, set, 2, NULL, note, &live_err), "16 MiB");
	good(cgroup_watch_open(&w, &c, &live_err), "watch");
	pid = live_spawn(&c, glutton);
	collect(&w, &ev, killed_and_empty);
	eq_int(ev.oom_kills, 1, "one kill is told");
	ok(ev.empty, "and that nobody is left");
	waitpid(pid, &status, 0);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it was killed");
	good(cgroup_counters_update(&b, &c, &live_err), "beancounters");
	eq_int(b.row[CGROUP_BEAN_MEMORY].failcnt, 1, "counted");
	eq_int(b.row[CGROUP_BEAN_MEMORY].limit, MIB(16), "limit");
	ok(b.row[CGROUP_BEAN_MEMORY].maxheld > MIB(8), "most held");
	down(&c, 0);
	eq_int(cgroup_watch_read(&w, &ev, &live_err), 0, "a watch of what is gone is silent");
	cgroup_watch_close(&w);
}

TEST(refused_forks)
{
	const struct cgroup_setting set = { "pids.max", 5, NULL };
	struct cgroup_counters b = { 0 };
	char note[CGROUP_NOTE_MAX];
	struct cgroup_watch w;
	struct cgroup_event ev;
	struct cgroup c;
	pid_t pid;

	if (!up(&c, "forks"))
		return;
	if (!live_host.ctl[CGROUP_PIDS].version) {
		down(&c, 0);
		skip("no pids controller");
	}
	good(cgroup_apply(&c, &set, 1, NULL, note, &live_err), "five");
	good(cgroup_watch_open(&w, &c, &live_err), "watch");
	pid = live_spawn(&c, forks);
	collect(&w, &ev, refused);
	ok(ev.pids_refused > 0, "told");
	waitpid(pid, NULL, 0);
	good(cgroup_counters_update(&b, &c, &live_err), "beancounters");
	eq_int(b.row[CGROUP_BEAN_PIDS].failcnt, 16, "every refusal is counted");
	eq_int(b.row[CGROUP_BEAN_PIDS].held, 4, "four are left");
	down(&c, 0);
	cgroup_watch_close(&w);
}

static void busy(void)
{
	for (int i = 0; i < 3; i++)
		if (fork() == 0)
			for (volatile unsigned n = 0;; n++)
				;
	for (volatile unsigned n = 0;; n++)
		;
}

/* More runnable processes than their quota lets run wait for the CPU. */
TEST(pressure_trigger)
{
	const struct cgroup_setting set = { "cpu.max", 200, NULL };
	struct pollfd p = { .fd = -1, .events = POLLPRI };
	char note[CGROUP_NOTE_MAX];
	struct cgroup c;
	pid_t pid;

	if (!up(&c, "psi"))
		return;
	p.fd = cgroup_pressure_open(&c, CGROUP_PSI_CPU, false, 100000, 2000000, &live_err);
	if (p.fd < 0 || !live_host.ctl[CGROUP_CPU].version) {
		down(&c, 0);
		skip("%s", p.fd < 0 ? live_err.msg : "no cpu controller");
	}
	good(cgroup_apply(&c, &set, 1, NULL, note, &live_err), "a fifth of a CPU");
	pid = live_spawn(&c, busy);
	ok(poll(&p, 1, 30000) == 1 && p.revents & POLLPRI, "the trigger fires");
	good(cgroup_stats_read(&c, &st, &live_err), "read");
	ok(st.cpu_pressure.known && st.cpu_pressure.some.total_us > 0, "pressure is measured");
	close(p.fd);
	down(&c, pid);
}
