/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/path.h"
#include "cgroup/cgroup.h"
#include "netns/netns.h"
#include "storage/root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

/*
 * What this host offers: one row a check. A check tries the thing itself where that leaves nothing
 * behind; version numbers say little (distributions carry features back and switch others off).
 */
enum result { OK, MISSING, BROKEN };

struct exam {
	const char *lib, *tag;
	char detail[256];
};

__attribute__((format(printf, 3, 4))) static enum result say(struct exam *x, enum result r,
							     const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(x->detail, sizeof(x->detail), fmt, ap);
	va_end(ap);
	return r;
}

static enum result check_kernel(struct exam *x, const char *arg)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	(void)arg;
	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	return say(x, major > 5 || (major == 5 && minor >= 19) ? OK : BROKEN, "%s", u.release);
}

static enum result check_capabilities(struct exam *x, const char *arg)
{
	static const cap_value_t wanted[] = {
		CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SETUID, CAP_SETGID, CAP_CHOWN, CAP_DAC_OVERRIDE,
		CAP_FOWNER, CAP_KILL, CAP_MKNOD, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_RESOURCE,
	};
	cap_t caps = cap_get_proc();
	size_t len = 0;

	(void)arg;
	for (size_t i = 0; caps && i < ARRAY_SIZE(wanted); i++) {
		cap_flag_value_t has = CAP_CLEAR;
		char *name;

		cap_get_flag(caps, wanted[i], CAP_EFFECTIVE, &has);
		if (has == CAP_SET)
			continue;
		name = cap_to_name(wanted[i]);
		len += (size_t)snprintf(x->detail + len, sizeof(x->detail) - len, "%s%s",
					len ? ", " : "without ", name);
		cap_free(name);
	}
	cap_free(caps);
	return len ? MISSING : say(x, OK, "all");
}

/* In a child: the caller shall not change its own namespaces. */
static enum result check_unshare(struct exam *x, const char *arg)
{
	int flags = STREQ(arg, "user") ? CLONE_NEWUSER : 0x80 /* CLONE_NEWTIME */, status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(unshare(flags) < 0 ? errno : 0);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return say(x, BROKEN, "cannot be tried");
	if (WEXITSTATUS(status))
		return say(x, MISSING, "%s", strerrordesc_np(WEXITSTATUS(status)));
	return say(x, OK, "can be made");
}

static enum result check_clone3(struct exam *x, const char *arg)
{
	(void)arg;
	if (syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS)
		return say(x, MISSING, "%s", strerrordesc_np(ENOSYS));
	return say(x, OK, "there");
}

static enum result check_openat2(struct exam *x, const char *arg)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	cleanup_close int fd = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));

	(void)arg;
	return fd < 0 ? say(x, MISSING, "%s", strerrordesc_np(errno)) : say(x, OK, "there");
}

static enum result check_path(struct exam *x, const char *arg)
{
	if (access(arg, R_OK) < 0)
		return say(x, MISSING, "%s: %s", arg, strerrordesc_np(errno));
	return say(x, OK, "%s", arg);
}

static enum result check_psi(struct exam *x, const char *arg)
{
	cleanup_free char *text = NULL;
	int r = fd_read_file_at(AT_FDCWD, arg, 4096, &text, NULL);

	return r < 0 ? say(x, MISSING, "%s: %s", arg, strerrordesc_np(-r)) : say(x, OK, "on");
}

static enum result check_filesystem(struct exam *x, const char *arg)
{
	cleanup_free char *text = NULL;
	char word[64];

	snprintf(word, sizeof(word), "\t%s\n", arg);
	if (fd_read_file_at(AT_FDCWD, "/proc/filesystems", 65536, &text, NULL) == 0 &&
	    strstr(text, word))
		return say(x, OK, "there");
	return say(x, MISSING, "not in /proc/filesystems (its module may not be loaded yet)");
}

/* On the file system that the templates lie on: each decides for itself. */
static enum result check_idmap(struct exam *x, const char *arg)
{
	cleanup_close int tree = open_tree(AT_FDCWD, x->lib, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	cleanup_close int userns = -EBADF;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
	struct err e;

	(void)arg;
	userns = storage_userns(0x80000, 65536, &e);
	if (tree < 0 || userns < 0)
		return say(x, BROKEN, "%s", tree < 0 ? strerrordesc_np(errno) : e.msg);
	attr.userns_fd = (uint64_t)userns;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return say(x, MISSING, "%s: %s", x->lib, strerrordesc_np(errno));
	return say(x, OK, "on %s", x->lib);
}

static enum result check_cgroup(struct exam *x, const char *arg)
{
	cleanup_close int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct cgroup_host h;
	struct err e;

	(void)arg;
	if (cgroup_host_read(&h, proc, &e) < 0)
		return say(x, MISSING, "%s", e.msg);
	return say(x, OK, "mounted at %s", h.v2);
}

static enum result check_controller(struct exam *x, const char *arg)
{
	cleanup_close int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct cgroup_host h;
	struct err e;

	if (cgroup_host_read(&h, proc, &e) < 0)
		return say(x, MISSING, "%s", e.msg);
	for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++) {
		if (!STREQ(cgroup_controller_name((enum cgroup_controller)c), arg))
			continue;
		if (h.ctl[c].version == 2)
			return say(x, OK, "v2");
		if (h.ctl[c].version == 1)
			return say(x, OK, "v1 at %s", h.ctl[c].path);
	}
	return say(x, MISSING, "neither on v2 nor on v1");
}

static enum result check_program(struct exam *x, const char *arg)
{
	static const char *const dirs[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
					    "/usr/bin", "/sbin", "/bin" };
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", dirs[i], arg);
		if (access(path, X_OK) == 0)
			return say(x, OK, "%s", path);
	}
	return say(x, MISSING, "not installed");
}

/* A tenant has no libraries but its own: only a static busybox makes a template. */
static enum result check_busybox(struct exam *x, const char *arg)
{
	cleanup_close int fd = open("/bin/busybox", O_RDONLY | O_CLOEXEC);
	char data[4096];
	ssize_t n;

	(void)arg;
	if (fd < 0)
		return say(x, MISSING, "/bin/busybox: %s", strerrordesc_np(errno));
	n = fd_read_full(fd, data, sizeof(data));
	if (n > 0 && memmem(data, (size_t)n, "/ld-linux", 9))
		return say(x, BROKEN, "/bin/busybox needs shared libraries");
	return say(x, OK, "/bin/busybox");
}

static enum result check_helper(struct exam *x, const char *arg)
{
	char path[4096];
	int r = path_program(arg, path, sizeof(path));

	return r < 0 ? say(x, BROKEN, "not beside vpsd, nor in " VPS_LIBEXECDIR)
		     : say(x, OK, "%.200s", path);
}

static enum result check_network(struct exam *x, const char *arg)
{
	static const char *const what[] = {
		[NETNS_PROBE_BRIDGE] = "bridge",
		[NETNS_PROBE_RULES] = "rules",
		[NETNS_PROBE_SHAPING] = "shaping",
		[NETNS_PROBE_MACVLAN] = "macvlan",
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(what); i++)
		if (STREQ(what[i], arg) && netns_probe((enum netns_probe)i, &e) < 0)
			return say(x, MISSING, "%.200s", e.msg);
	return say(x, OK, "works");
}

static enum result check_firewall(struct exam *x, const char *arg)
{
	struct netns_host h;
	char chain[160];
	struct err e;
	int r = netns_host_init(&h, x->tag, NULL, NULL, &e);

	(void)arg;
	if (r == 0)
		r = netns_foreign_drop(&h, chain, sizeof(chain), &e);
	if (r < 0)
		return say(x, MISSING, "%.200s", e.msg);
	return r ? say(x, MISSING, "%s drops what no rule accepts, and none names %s", chain, h.bridge) :
		   say(x, OK, "lets %s through", h.bridge);
}

static enum result check_disk(struct exam *x, const char *arg)
{
	struct statvfs s;
	char text[32];
	uint64_t left;

	(void)arg;
	if (statvfs(x->lib, &s) < 0)
		return say(x, BROKEN, "%s: %s", x->lib, strerrordesc_np(errno));
	if (s.f_flag & ST_RDONLY)
		return say(x, BROKEN, "%s is read-only", x->lib);
	left = (uint64_t)s.f_bavail * s.f_frsize;
	return say(x, left < (512ULL << 20) ? BROKEN : OK, "%s free below %s",
		   format_size(left, text, sizeof(text)), x->lib);
}

static const struct check {
	const char *name;
	enum result (*run)(struct exam *x, const char *arg);
	const char *arg;
	const char *hint; /* what to do, or do without, when it is not ok */
} checks[] = {
	{ "kernel", check_kernel, NULL, "Linux 5.19 is the oldest that has all that is needed" },
	{ "capabilities", check_capabilities, NULL,
	  "without CAP_SYS_RESOURCE hard limits cannot be raised; all others are needed" },
	{ "user namespaces", check_unshare, "user",
	  "needed; see /proc/sys/user/max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns" },
	{ "time namespaces", check_unshare, "time",
	  "CONFIG_TIME_NS; without them a VPS sees the host's uptime" },
	{ "clone3", check_clone3, NULL, "needed; Linux 5.7, and no seccomp filter around vpsd" },
	{ "openat2", check_openat2, NULL, "needed; Linux 5.6, and no seccomp filter around vpsd" },
	{ "seccomp", check_path, "/proc/sys/kernel/seccomp/actions_avail",
	  "needed; CONFIG_SECCOMP_FILTER" },
	{ "overlay", check_filesystem, "overlay", "modprobe overlay" },
	{ "idmapped mounts", check_idmap, NULL,
	  "needed; put the state root on ext4, xfs, btrfs, or on tmpfs from Linux 6.3" },
	{ "cgroup v2", check_cgroup, NULL, "mount -t cgroup2 none /sys/fs/cgroup/unified" },
	{ "cgroup cpu", check_controller, "cpu", "without it cpu.max and cpu.weight have no effect" },
	{ "cgroup cpuset", check_controller, "cpuset", "without it cpu.pin has no effect" },
	{ "cgroup memory", check_controller, "memory",
	  "without it memory.max has no effect; Debian on ARM: cgroup_enable=memory" },
	{ "cgroup io", check_controller, "io", "without it io.read and io.write have no effect" },
	{ "cgroup pids", check_controller, "pids", "without it pids.max has no effect" },
	{ "cgroup hugetlb", check_controller, "hugetlb", "without it hugetlb.max has no effect" },
	{ "network bridge", check_network, "bridge",
	  "needed but for mode=none and host: CONFIG_BRIDGE, modprobe bridge" },
	{ "network rules", check_network, "rules",
	  "needed but for mode=none and host: nftables with its bridge family, sets, NAT, fib and reject" },
	{ "network shaping", check_network, "shaping",
	  "without it net.rate-in and net.rate-out cannot be set: CONFIG_NET_SCH_TBF, _CLS_U32, "
	  "_ACT_MIRRED, IFB" },
	{ "network macvlan", check_network, "macvlan",
	  "without it mode=macvlan cannot be used: CONFIG_MACVLAN" },
	{ "host firewall", check_firewall, NULL,
	  "VPSs are cut off until rules there accept the bridge: as iifname (-i), and at a forward hook as oifname (-o)" },
	{ "pressure (PSI)", check_psi, "/proc/pressure/memory",
	  "boot with psi=1 for pressure figures; all else works without" },
	{ "lxcfs", check_path, "/var/lib/lxcfs/proc",
	  "apt install lxcfs, run it with --enable-cfs -l: tenants then see in /proc what they have" },
	{ "busybox", check_busybox, NULL, "apt install busybox-static, for the template busybox" },
	{ "mmdebstrap", check_program, "mmdebstrap",
	  "apt install mmdebstrap, for the template debian" },
	{ "vps-monitor", check_helper, "vps-monitor", "install vps as a whole" },
	{ "vps-init", check_helper, "vps-init", "install vps as a whole" },
	{ "disk", check_disk, NULL, "make room, or choose another disk with --root" },
};

int worker_doctor(json_t *job, json_t **ret, struct err *e)
{
	static const char *const names[] = { [OK] = "ok", [MISSING] = "missing", [BROKEN] = "broken" };
	json_t *list = json_array();

	(void)e;
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		const struct check *c = &checks[i];
		struct exam x = { .lib = job_text(job, "lib"), .tag = job_text(job, "tag") };
		enum result r = c->run(&x, c->arg);
		json_t *j = json_pack("{s:s, s:s, s:s}", "name", c->name, "result", names[r],
				      "detail", x.detail);

		if (r != OK)
			json_object_set_new(j, "hint", json_string(c->hint));
		json_array_append_new(list, j);
	}
	*ret = json_pack("{s:o}", "checks", list);
	return 0;
}
