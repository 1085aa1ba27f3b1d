/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"
#include "tests/unit/cgroup_live.h"

#include "cgroup/devices.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

TEST(parse)
{
	struct cgroup_device d = { 0 };

	eq_int(cgroup_device_parse("/dev/null", &d, &live_err), 0, "a path");
	ok(d.type == 'c' && d.major == 1 && d.minor == 3, "its numbers");
	eq_int(d.access, CGROUP_DEVICE_READ | CGROUP_DEVICE_WRITE, "read and write");
	eq_int(cgroup_device_parse("/dev/zero:r", &d, &live_err), 0, "with access");
	eq_int(d.access, CGROUP_DEVICE_READ, "as said");
	eq_int(cgroup_device_parse("/dev/zero:mwr", &d, &live_err), 0, "in any order");
	eq_int(d.access, 7, "all");
	for (const char *const *p = (const char *const[]){ "", "null", "/dev/null:", "/dev/null:x",
							   "/dev/null:rr", "/dev/null:rwmr", "/etc",
							   "/etc/passwd", NULL }; *p; p++) {
		eq_int(cgroup_device_parse(*p, &d, &live_err), -EINVAL, "\"%s\"", *p);
		eq_int(live_err.code, ERR_USAGE, "is the user's mistake");
	}
	eq_int(cgroup_device_parse("/dev/nothing-here", &d, &live_err), -ENOENT, "missing");
}

/* What a process inside can open: bit i for nodes[i], opened with modes[i]. */
static const struct {
	int major, minor, mode;
} nodes[] = {
	{ 1, 3, O_RDWR },    /* null */
	{ 1, 9, O_RDONLY },  /* urandom */
	{ 1, 11, O_RDONLY }, /* kmsg */
	{ 1, 11, O_WRONLY },
	{ 1, 1, O_RDONLY },  /* mem */
	{ 5, 2, O_RDWR },    /* ptmx */
};

static char node_dir[64];

static void node_path(char path[128], size_t i)
{
	snprintf(path, 128, "%s/%zu", node_dir, i);
}

static void try_all(void)
{
	int got = 0;

	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		char path[128];
		int fd;

		node_path(path, i);
		fd = open(path, nodes[i].mode | O_NONBLOCK | O_NOCTTY);
		/* The program's refusal is EPERM, a nodev mount's EACCES; other errors come later. */
		got |= (fd >= 0 || (errno != EPERM && errno != EACCES)) << i;
	}
	_exit(got);
}

static int opened(struct cgroup *c)
{
	int status = 0;
	pid_t pid = live_spawn(c, try_all);

	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

TEST(allow_list)
{
	struct cgroup_device kmsg = { 'c', 1, 11, CGROUP_DEVICE_READ };
	struct cgroup c, second = { 0 };
	char path[128];
	int r, all;

	snprintf(node_dir, sizeof(node_dir), "/tmp/vps-cgroup-XXXXXX");
	if (!live_init(&c, "devices") || cgroup_create(&c, 0, 0, &live_err) < 0)
		skip("%s", live_err.msg);
	/* A file system without nodev, which ends with this process. */
	ok(mkdtemp(node_dir) && unshare(CLONE_NEWNS) == 0 &&
	   mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	   mount("tmpfs", node_dir, "tmpfs", 0, "size=1M") == 0, "a place for nodes");
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		node_path(path, i);
		ok(mknod(path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) == 0,
		   "node %zu", i);
	}
	all = opened(&c);
	ok(all & 1 && all & 0x1c, "without a program more can be opened");
	r = cgroup_devices_set(&c, NULL, 0, &live_err);
	if (r == -EOPNOTSUPP) {
		tap_skip("%s", live_err.msg);
	} else {
		live_check(r, "the default list");
		eq_int(opened(&c), all & 0x23, "null, urandom and ptmx, and nothing else");
		snprintf(second.name, sizeof(second.name), "neighbour");
		second.host = c.host;
		snprintf(second.parent, sizeof(second.parent), "%s", c.parent);
		good(cgroup_create(&second, 0, 0, &live_err), "a neighbour");
		good(cgroup_devices_set(&c, &kmsg, 1, &live_err), "one more, for reading");
		eq_int(opened(&c), all & 0x27, "can be read and not written");
		good(cgroup_devices_set(&second, NULL, 0, &live_err), "the neighbour has none extra");
		eq_int(opened(&second), all & 0x23, "and does not get it");
		good(cgroup_remove(&second, &live_err), "the neighbour goes");
		eq_int(opened(&c), all & 0x27, "which changes nothing here");
		good(cgroup_devices_set(&c, NULL, 0, &live_err), "taken back");
		eq_int(opened(&c), all & 0x23, "as before");
	}
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		node_path(path, i);
		unlink(path);
	}
	umount2(node_dir, MNT_DETACH);
	ok(rmdir(node_dir) == 0, "nodes removed");
	good(cgroup_remove(&c, &live_err), "removed, program and all");
	ok(live_is_clean(&c), "nothing is left");
}

TEST(many)
{
	struct cgroup_device many[CGROUP_DEVICES_MAX + 1];
	struct cgroup c;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct cgroup_device){ 'b', 8, (uint32_t)i, CGROUP_DEVICE_READ };
	if (!live_init(&c, "many") || cgroup_create(&c, 0, 0, &live_err) < 0)
		skip("%s", live_err.msg);
	r = cgroup_devices_set(&c, many, CGROUP_DEVICES_MAX, &live_err);
	if (r == -EOPNOTSUPP)
		tap_skip("%s", live_err.msg);
	else
		live_check(r, "as many as may be");
	eq_int(cgroup_devices_set(&c, many, ARRAY_SIZE(many), &live_err), -EINVAL, "one more");
	good(cgroup_remove(&c, &live_err), "removed");
}
