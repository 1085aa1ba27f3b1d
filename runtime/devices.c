/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The tenant's /dev: a tmpfs that the holder makes, with nodes that belong to the tenant's root.
 * The tenant could not make them (mknod(2) of devices asks for the host's CAP_MKNOD), nor could
 * nodes on a tmpfs of its own be opened (one made in a user namespace is always nodev).
 */
#include "cgroup/devices.h"
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const struct {
	const char *name;
	unsigned major, minor;
} nodes[] = {
	{ "null", 1, 3 },   { "zero", 1, 5 },    { "full", 1, 7 },
	{ "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

static const struct {
	const char *name, *target;
} links[] = {
	{ "fd", "/proc/self/fd" },        { "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" },  { "stderr", "/proc/self/fd/2" },
	{ "ptmx", "pts/ptmx" },           { "core", "/proc/kcore" },
};

/* Where others are mounted. Made here, as the tenant's first process is waited for, and this is not. */
static const char *const places[] = { "shm", "mqueue", "pts" };

static int give(int dir, const char *name, uid_t owner, struct err *e)
{
	return fchownat(dir, name, owner, owner, AT_SYMLINK_NOFOLLOW) < 0 ? err_sys(e, "make /dev/%s", name) : 0;
}

static int make_node(int dir, const char *name, mode_t mode, dev_t dev, uid_t owner, struct err *e)
{
	return mknodat(dir, name, mode, dev) < 0 ? err_sys(e, "make /dev/%s", name) : give(dir, name, owner, e);
}

static int make_links(int dir, uid_t owner, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(links); i++)
		r = symlinkat(links[i].target, dir, links[i].name) < 0 ? err_sys(e, "make /dev/%s", links[i].name)
								       : give(dir, links[i].name, owner, e);
	return r;
}

static int make_places(int dir, const struct rt_spec *s, struct err *e)
{
	uid_t owner = s->root.id_base;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(places); i++)
		r = mkdirat(dir, places[i], 0755) < 0 ? err_sys(e, "make /dev/%s", places[i])
						      : give(dir, places[i], owner, e);
	if (r == 0 && (s->boot || s->tty))
		r = make_node(dir, "console", S_IFREG | 0644, 0, owner, e);
	return r;
}

/* The `device` settings: nodes that the tenant's root may use, at the path they have on the host. */
static int make_extra(const struct rt_spec *s, int dir, struct err *e)
{
	const char *text;

	for (size_t i = 0; (text = config_get_nth(&s->limits, "device", i)); i++) {
		struct cgroup_device d;
		char name[256];
		char *slash;
		int r;

		r = cgroup_device_parse(text, &d, e);
		if (r < 0)
			return r;
		if (strncmp(text, "/dev/", 5) != 0 || strstr(text, "/../"))
			return err_set(e, ERR_USAGE, "device %s: it does not lie in /dev", text);
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(text + 5, ":"), text + 5);
		for (slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
			*slash = '\0';
			if ((mkdirat(dir, name, 0755) < 0 && errno != EEXIST) ||
			    fchownat(dir, name, s->root.id_base, s->root.id_base, AT_SYMLINK_NOFOLLOW) < 0)
				return err_sys(e, "make /dev/%s", name);
			*slash = '/';
		}
		r = make_node(dir, name, (d.type == 'b' ? S_IFBLK : S_IFCHR) | 0660,
			      makedev(d.major, d.minor), s->root.id_base, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int set_option(int fs, const char *key, const char *value, struct err *e)
{
	if (fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0) < 0)
		return err_sys(e, "mount /dev: set %s", key);
	return 0;
}

static int new_tmpfs(uid_t owner, struct err *e)
{
	cleanup_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char id[16];
	int fd, r;

	if (fs < 0)
		return err_sys(e, "open file system tmpfs");
	snprintf(id, sizeof(id), "%u", owner);
	r = set_option(fs, "mode", "755", e);
	if (r == 0)
		r = set_option(fs, "size", "4m", e);
	if (r == 0)
		r = set_option(fs, "nr_inodes", "4096", e);
	if (r == 0)
		r = set_option(fs, "uid", id, e);
	if (r == 0)
		r = set_option(fs, "gid", id, e);
	if (r < 0)
		return r;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(e, "mount /dev");
	fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	return fd < 0 ? err_sys(e, "mount /dev") : fd;
}

static int fill(int dir, const struct rt_spec *s, struct err *e)
{
	int r = make_links(dir, s->root.id_base, e);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(nodes); i++)
		r = make_node(dir, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor),
			      s->root.id_base, e);
	if (r == 0)
		r = make_places(dir, s, e);
	return r < 0 ? r : make_extra(s, dir, e);
}

int rt_devices_mount(const struct rt_spec *s, struct err *e)
{
	cleanup_close int fd = new_tmpfs(s->root.id_base, e);
	mode_t was = umask(0);
	int r = fd < 0 ? fd : fill(fd, s, e);

	umask(was);
	return r < 0 ? r : TAKE_FD(fd);
}

int rt_devices_allow(const struct rt_vps *v, struct err *e)
{
	struct cgroup_device extra[64];
	const char *text;
	size_t n = 0;
	int r;

	while ((text = config_get_nth(&v->spec->limits, "device", n))) {
		if (n == ARRAY_SIZE(extra))
			return err_set(e, ERR_USAGE, "more than %zu devices", ARRAY_SIZE(extra));
		r = cgroup_device_parse(text, &extra[n++], e);
		if (r < 0)
			return r;
	}
	return cgroup_devices_set(&v->cgroup, extra, n, e);
}
