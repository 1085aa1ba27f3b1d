/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "cgroup/cgroup.h"
#include "cgroup/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* A fake /proc and a fake v2 tree in a temporary directory. In the texts @ is that directory. */
struct fixture {
	char dir[64];
	int proc;
	struct cgroup_host h;
	struct err e;
};

static void put(struct fixture *f, const char *path, const char *text)
{
	char full[512], dir[512];
	cleanup_free char *out = calloc(1, strlen(text) * 64 + 1);
	size_t n = 0;
	int fd;

	for (; out && *text; text++)
		if (*text == '@')
			n += (size_t)sprintf(out + n, "%s", f->dir);
		else
			out[n++] = *text;
	snprintf(full, sizeof(full), "%s/%s", f->dir, path);
	snprintf(dir, sizeof(dir), "%s", full);
	*strrchr(dir, '/') = '\0';
	path_mkdirs_at(AT_FDCWD, dir, 0755);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || fd_write_full(fd, out, n) < 0)
		ok(false, "fixture %s", full);
	if (fd >= 0)
		close(fd);
}

static int host(struct fixture *f, const char *mountinfo, const char *self,
		const char *controllers)
{
	char path[128];

	snprintf(f->dir, sizeof(f->dir), "/tmp/vps-cgroup-XXXXXX");
	if (!mkdtemp(f->dir))
		return -errno;
	put(f, "proc/self/mountinfo", mountinfo);
	put(f, "proc/self/cgroup", self);
	put(f, "cg/cgroup.controllers", controllers);
	snprintf(path, sizeof(path), "%s/proc", f->dir);
	f->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return cgroup_host_read(&f->h, f->proc, &f->e);
}

static void done(struct fixture *f)
{
	cleanup_close int tmp = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);

	close(f->proc);
	ok(path_remove_tree_at(tmp, f->dir + strlen("/tmp/")) == 0, "fixture removed");
}

#define cleanup_fixture __attribute__((cleanup(done)))

TEST(unified)
{
	cleanup_fixture struct fixture f = { .proc = -EBADF };
	char buf[PATH_MAX], want[PATH_MAX];

	eq_int(host(&f, "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
			"25 22 0:23 / @/cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
		    "0::/user.slice/user-0.slice/session-1.scope\n",
		    "cpuset cpu io memory hugetlb pids rdma misc\n"), 0, "read");
	snprintf(want, sizeof(want), "%s/cg", f.dir);
	eq_str(f.h.v2, want, "mount point");
	eq_str(f.h.v2_self, "/user.slice/user-0.slice/session-1.scope", "own group");
	eq_str(f.h.v2_base, "", "parents at the root");
	for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++)
		eq_int(f.h.ctl[c].version, 2, "%s", cgroup_controller_name(c));
	eq_str(cgroup_base_path(&f.h, CGROUP_V2, buf), want, "base");
}

TEST(hybrid)
{
	cleanup_fixture struct fixture f = { .proc = -EBADF };

	eq_int(host(&f, "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
			"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct,cpu\n"
			"33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
			"34 31 0:31 / /sys/fs/cgroup/b\\040lkio rw - cgroup cgroup rw,blkio\n"
			"39 31 0:36 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
			"40 31 0:38 / @/cg rw master:1 propagate_from:2 - cgroup2 x rw\n",
		    "3:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n", "pids\n"), 0,
	       "read");
	eq_int(f.h.ctl[CGROUP_CPU].version, 1, "cpu is v1");
	eq_str(f.h.ctl[CGROUP_CPU].path, "/sys/fs/cgroup/cpu,cpuacct", "with cpuacct");
	eq_str(f.h.ctl[CGROUP_CPUACCT].path, "/sys/fs/cgroup/cpu,cpuacct", "both");
	eq_str(f.h.ctl[CGROUP_IO].path, "/sys/fs/cgroup/b lkio", "io is blkio, blanks unescaped");
	eq_int(f.h.ctl[CGROUP_PIDS].version, 2, "what v2 has is v2's");
	eq_int(f.h.ctl[CGROUP_CPUSET].version, 0, "cpuset is nowhere");
	eq_int(f.h.ctl[CGROUP_DEVICES].version, 2, "devices by BPF");
	eq_str(f.h.v2_self, "/", "own group is the root");
	ok(cgroup_v1_in_use(&f.h, CGROUP_CPU) && !cgroup_v1_in_use(&f.h, CGROUP_CPUACCT),
	   "one group for a shared hierarchy");
}

TEST(none)
{
	cleanup_fixture struct fixture f = { .proc = -EBADF };

	eq_int(host(&f, "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "",
		    ""), -EOPNOTSUPP, "no v2 tree");
	eq_int(f.e.code, ERR_UNSUPPORTED, "says so");
	ok(strstr(f.e.hint, "mount -t cgroup2"), "and what to do");
}

TEST(hidden_mounts)
{
	cleanup_fixture struct fixture f = { .proc = -EBADF };

	eq_int(host(&f, "30 23 0:27 / /sys rw - sysfs sysfs rw\n"
			"31 30 0:28 / /sys/fs/cgroup rw - cgroup2 c rw\n"
			"50 31 0:40 / /sys/fs/cgroup rw - tmpfs t rw\n" /* on it */
			"32 30 0:29 / /sys/a/m rw - cgroup c rw,memory\n"
			"51 30 0:41 / /sys/a rw - tmpfs t rw\n" /* on what leads to it */
			"33 30 0:29 / /sys/ab/m rw - cgroup c rw,memory\n"
			"40 50 0:38 / @/cg rw - cgroup2 c rw\n", "0::/x\n", "\n"), 0, "read");
	ok(strstr(f.h.v2, "/cg") && !strstr(f.h.v2, "/sys"), "the visible v2 tree");
	eq_str(f.h.ctl[CGROUP_MEMORY].path, "/sys/ab/m", "the visible memory hierarchy");
}

TEST(bind_mounts)
{
	cleanup_fixture struct fixture f = { .proc = -EBADF };

	eq_int(host(&f, "31 30 0:28 /docker/abc @/cg rw - cgroup2 c rw\n"
			"32 30 0:28 /../.. /outside rw - cgroup2 c rw\n",
		    "0::/docker/abc/init\n", "memory\n"), 0, "read");
	eq_str(f.h.v2_self, "/init", "own group as that mount shows it");

	done(&f);
	eq_int(host(&f, "31 30 0:28 /docker/abc /elsewhere rw - cgroup2 c rw\n"
			"32 30 0:28 / @/cg rw - cgroup2 c rw\n",
		    "0::/docker/abcd\n", "memory\n"), 0, "read");
	ok(strstr(f.h.v2, "/cg") != NULL, "a mount of the root is preferred");
	eq_str(f.h.v2_self, "/docker/abcd", "own group");

	done(&f);
	eq_int(host(&f, "31 30 0:28 /docker/abc @/cg rw - cgroup2 c rw\n", "0::/docker/abcd\n",
		    "memory\n"), 0, "read");
	eq_str(f.h.v2_self, "", "own group lies outside");
}

TEST(delegated_units)
{
	cleanup_fixture struct fixture f = { .proc = -EBADF };
	static const char mountinfo[] = "31 30 0:28 / @/cg rw - cgroup2 c rw\n";
	char unit[256];

	eq_int(host(&f, mountinfo, "0::/system.slice/vpsd.service/sup\n", "memory pids\n"), 0,
	       "read");
	eq_str(f.h.v2_base, "", "a unit that is not delegated is not taken");
	put(&f, "cg/system.slice/vpsd.service/cgroup.controllers", "pids\n");
	snprintf(unit, sizeof(unit), "%s/cg/system.slice/vpsd.service", f.dir);
	/* No file system of a test machine need keep extended attributes; cgroup2 does. */
	put(&f, "cg" CGROUP_UNIT "/cgroup.controllers", "cpu\n");
	eq_int(cgroup_host_read(&f.h, f.proc, &f.e), 0, "read again");
	eq_str(f.h.v2_base, CGROUP_UNIT, "the unit for tenants is taken");
	eq_int(f.h.ctl[CGROUP_CPU].version, 2, "with the controllers it got");
	eq_int(f.h.ctl[CGROUP_PIDS].version, 0, "and no others");
}

TEST(hostile_text)
{
	static const char *const lines[] = {
		"", "\n\n\n", "-", "- - - -", "31 30 0:28 / /x rw -", "31 30 0:28 / /x rw - cgroup2",
		"31 30 0:28 / /x rw - cgroup2 c", "a b c d e f - cgroup2 c rw",
		"31 30 0:28 / relative rw - cgroup2 c rw", "31 30 0:28 /../x /x rw - cgroup2 c rw",
		"1 1 0:1 / /x\\0 rw a b c d e f g h i j k l m n o p q r s t u v w x y z - cgroup2 c rw",
	};
	struct cgroup_host h;

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		cleanup_free char *text = strdup(lines[i]), *self = strdup("0::/a\n0::\n::\n");

		eq_int(cgroup_host_parse(&h, text, self), -ENODEV, "line %zu is no tree", i);
	}
	for (size_t len = 200; len < 300; len++) {
		cleanup_free char *text = NULL, *self = strdup("0::/");
		char path[512] = "/";

		memset(path + 1, 'x', len);
		if (asprintf(&text, "31 30 0:28 / %s rw - cgroup2 c rw", path) < 0)
			return;
		if (cgroup_host_parse(&h, text, self) != (len + 1 < sizeof(h.v2) ? 0 : -ENODEV))
			ok(false, "a mount point of %zu bytes", len);
	}
}

TEST(keyed)
{
	static const char text[] = "oom 1\noom_kill 22\nmax 18446744073709551615\nbad x\nlast 3";
	uint64_t v = 0;

	ok(cgroup_keyed(text, "oom", &v) == 0 && v == 1, "first");
	ok(cgroup_keyed(text, "oom_kill", &v) == 0 && v == 22, "not a prefix");
	ok(cgroup_keyed(text, "max", &v) == 0 && v == UINT64_MAX, "largest");
	ok(cgroup_keyed(text, "last", &v) == 0 && v == 3, "without newline");
	eq_int(cgroup_keyed(text, "bad", &v), -ENOENT, "no number");
	eq_int(cgroup_keyed(text, "kill", &v), -ENOENT, "not a suffix");
	eq_int(cgroup_keyed("", "x", &v), -ENOENT, "empty");
}
