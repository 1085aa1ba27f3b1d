/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/internal.h"

#include "base/array.h"
#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static const struct {
	const char *v2, *v1;
} names[] = {
	[CGROUP_CPU] = { "cpu", "cpu" },
	[CGROUP_CPUACCT] = { "cpuacct", "cpuacct" },
	[CGROUP_CPUSET] = { "cpuset", "cpuset" },
	[CGROUP_MEMORY] = { "memory", "memory" },
	[CGROUP_IO] = { "io", "blkio" },
	[CGROUP_PIDS] = { "pids", "pids" },
	[CGROUP_HUGETLB] = { "hugetlb", "hugetlb" },
	[CGROUP_DEVICES] = { "devices", "devices" },
};
_Static_assert(ARRAY_SIZE(names) == CGROUP_CONTROLLER_COUNT, "a name for each controller");

const char *cgroup_controller_name(enum cgroup_controller c)
{
	return names[c].v2;
}

struct mnts {
	struct cgroup_mnt *m;
	size_t count;
};

/* Undoes the octal escapes of blanks and backslashes, in place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

bool cgroup_mnt_parse(char *line, struct cgroup_mnt *m)
{
	char *field[32], *save = NULL;
	size_t n = 0, dash = 0;

	for (char *f = strtok_r(line, " ", &save); f && n < ARRAY_SIZE(field);
	     f = strtok_r(NULL, " ", &save)) {
		/* Six fields, then optional ones up to a lone dash. */
		if (!dash && n >= 6 && STREQ(f, "-"))
			dash = n;
		field[n++] = f;
	}
	if (!dash || n < dash + 4)
		return false;
	*m = (struct cgroup_mnt){
		.id = (unsigned)strtoul(field[0], NULL, 10),
		.parent = (unsigned)strtoul(field[1], NULL, 10),
		.root = field[3],
		.point = field[4],
		.type = field[dash + 1],
		.source = field[dash + 2],
		.super = field[dash + 3],
	};
	unescape(m->root);
	unescape(m->point);
	unescape(m->source);
	return true;
}

static int parse_lines(char *text, struct mnts *ret)
{
	size_t room = 0;
	char *save = NULL;

	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (array_grow(&ret->m, ret->count, &room, 128) < 0)
			return -ENOMEM;
		if (cgroup_mnt_parse(l, &ret->m[ret->count]))
			ret->count++;
	}
	return 0;
}

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (STREQ(dir, "/"))
		return path[0] == '/' && path[1];
	return strncmp(path, dir, len) == 0 && path[len] == '/';
}

/*
 * A path leads to a mount only when nothing was mounted over it later: on the mount itself, or, on
 * its parent, at a directory that leads to it. Mounts further up are not looked at, whoever hides
 * those hides /proc as well.
 */
static bool is_hidden(const struct mnts *all, const struct cgroup_mnt *m)
{
	for (size_t i = 0; i < all->count; i++) {
		const struct cgroup_mnt *x = &all->m[i];

		if (x != m && x->parent == m->id && STREQ(x->point, m->point))
			return true;
		if (x != m && x->parent == m->parent && is_below(m->point, x->point))
			return true;
	}
	return false;
}

bool cgroup_list_has(const char *list, const char *name)
{
	static const char seps[] = " ,\n";
	size_t len = strlen(name);

	for (const char *p = list + strspn(list, seps); *p; p += strspn(p, seps)) {
		size_t word = strcspn(p, seps);

		if (word == len && memcmp(p, name, len) == 0)
			return true;
		p += word;
	}
	return false;
}

/* A bind mount shows one group and what is below; `rest` is where a group of the whole hierarchy is
 * found below such a mount, NULL when it is not. */
static const char *below_root(const char *group, const char *root)
{
	if (STREQ(root, "/"))
		return group;
	if (STREQ(group, root))
		return "/";
	return is_below(group, root) ? group + strlen(root) : NULL;
}

/* A mount serves when its whole path fits and, of several, the first that shows the root. */
static bool takes(const struct mnts *all, const struct cgroup_mnt *m, const char *have, size_t room)
{
	if (m->point[0] != '/' || strlen(m->point) >= room || strncmp(m->root, "/..", 3) == 0)
		return false;
	if (have[0] && !STREQ(m->root, "/"))
		return false;
	return !is_hidden(all, m);
}

/* The group of the calling process in the hierarchy of the v2 tree: the line "0::/path". */
static char *self_group(char *self)
{
	char *save = NULL;

	for (char *l = strtok_r(self, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (strncmp(l, "0::/", 4) == 0)
			return l + 3;
	return NULL;
}

static void take_v2(struct cgroup_host *h, const struct cgroup_mnt *m, const char *group)
{
	const char *below = group ? below_root(group, m->root) : NULL;

	snprintf(h->v2, sizeof(h->v2), "%s", m->point);
	h->v2_self[0] = '\0';
	if (below && strlen(below) < sizeof(h->v2_self) && strncmp(below, "/..", 3) != 0)
		snprintf(h->v2_self, sizeof(h->v2_self), "%s", below);
}

int cgroup_host_parse(struct cgroup_host *h, char *mountinfo, char *self)
{
	cleanup_free struct cgroup_mnt *lines = NULL;
	const char *v2_root = "", *v1_root[CGROUP_CONTROLLER_COUNT] = { NULL };
	char *group = self_group(self);
	struct mnts all = { 0 };
	int r = parse_lines(mountinfo, &all);

	*h = (struct cgroup_host){ 0 };
	lines = all.m;
	if (r < 0)
		return r;
	for (size_t i = 0; i < all.count; i++) {
		const struct cgroup_mnt *m = &all.m[i];

		if (STREQ(m->type, "cgroup2") && !STREQ(v2_root, "/") &&
		    takes(&all, m, h->v2, sizeof(h->v2))) {
			take_v2(h, m, group);
			v2_root = m->root;
		}
		if (!STREQ(m->type, "cgroup"))
			continue;
		for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++) {
			if (!cgroup_list_has(m->super, names[c].v1) ||
			    (v1_root[c] && STREQ(v1_root[c], "/")) ||
			    !takes(&all, m, h->ctl[c].path, sizeof(h->ctl[c].path)))
				continue;
			h->ctl[c].version = 1;
			snprintf(h->ctl[c].path, sizeof(h->ctl[c].path), "%s", m->point);
			v1_root[c] = m->root;
		}
	}
	return h->v2[0] ? 0 : -ENODEV;
}

static bool is_delegated(const char *path)
{
	char v = 0;

	return (getxattr(path, "trusted.delegate", &v, 1) == 1 && v == '1') ||
	       (getxattr(path, "user.delegate", &v, 1) == 1 && v == '1');
}

/* The rules of the header. */
static void find_base(struct cgroup_host *h)
{
	static const char unit[] = "/system.slice/vpsd.service";
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s%s", h->v2, CGROUP_UNIT);
	if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		snprintf(h->v2_base, sizeof(h->v2_base), "%s", CGROUP_UNIT);
		return;
	}
	if (!STREQ(h->v2_self, unit) && !is_below(h->v2_self, unit))
		return;
	snprintf(path, sizeof(path), "%s%s", h->v2, unit);
	if (is_delegated(path))
		snprintf(h->v2_base, sizeof(h->v2_base), "%s", unit);
}

static int find_v2_controllers(struct cgroup_host *h, struct err *e)
{
	cleanup_free char *text = NULL;
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s%s/cgroup.controllers", h->v2, h->v2_base);
	r = fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r < 0)
		return err_code(e, r, "read %s", path);
	for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++)
		if (!h->ctl[c].version && cgroup_list_has(text, names[c].v2))
			h->ctl[c].version = 2;
	h->ctl[CGROUP_DEVICES].version = 2;
	if (!h->ctl[CGROUP_CPUACCT].version)
		h->ctl[CGROUP_CPUACCT].version = 2;
	return 0;
}

int cgroup_host_read(struct cgroup_host *h, int proc_dirfd, struct err *e)
{
	cleanup_free char *mountinfo = NULL, *self = NULL;
	int r;

	*h = (struct cgroup_host){ 0 };
	r = fd_read_file_at(proc_dirfd, "self/mountinfo", MIB(16), &mountinfo, NULL);
	if (r < 0)
		return err_code(e, r, "read /proc/self/mountinfo");
	r = fd_read_file_at(proc_dirfd, "self/cgroup", KIB(64), &self, NULL);
	if (r < 0)
		return err_code(e, r, "read /proc/self/cgroup");
	r = cgroup_host_parse(h, mountinfo, self);
	if (r == -ENODEV) {
		err_set(e, ERR_UNSUPPORTED, "this host has no cgroup v2 tree mounted");
		return err_hint(e, "mount -t cgroup2 none /sys/fs/cgroup/unified (make the "
				   "directory first)");
	}
	if (r < 0)
		return err_code(e, r, "parse /proc/self/mountinfo");
	find_base(h);
	return find_v2_controllers(h, e);
}
