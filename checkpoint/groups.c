/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The groups that the tenant made below its own in the v2 tree (v1 hierarchies have none: they
 * are not delegated), as a manager of services inside sees them: settings, owners, extended
 * attributes.
 */
#include "checkpoint/groups.h"
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* Files that can be written and are no settings: what they do is done, or is another record's. */
static const char *const actions[] = {
	"cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "memory.reclaim",
	"memory.peak", "memory.swap.peak", "pids.peak", "cpu.pressure", "io.pressure",
	"irq.pressure", "memory.pressure", "cpu.weight.nice" /* the same as cpu.weight */,
};

bool ckpt_group_is_setting(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (STREQ(name, actions[i]))
			return false;
	return true;
}

static int add_setting(struct ckpt_arena *a, Ckpt__Setting ***list, size_t *count, const char *name,
		       const void *value, size_t len)
{
	Ckpt__Setting *s = ckpt_alloc(a, sizeof(*s));

	if (!s)
		return -ENOMEM;
	ckpt__setting__init(s);
	s->name = ckpt_strdup(a, name);
	s->value.data = ckpt_memdup(a, value, len);
	s->value.len = len;
	return s->name && s->value.data ? ckpt_push(a, list, count, s) : -ENOMEM;
}

int ckpt_xattrs_read(struct ckpt_arena *a, const char *path, Ckpt__Setting ***list, size_t *count)
{
	char names[CKPT_XATTRS_MAX], value[65536];
	ssize_t n = listxattr(path, names, sizeof(names)), len;

	if (n < 0)
		return errno == ENOTSUP ? 0 : -errno;
	for (const char *p = names; p < names + n; p += strlen(p) + 1) {
		int r;

		len = getxattr(path, p, value, sizeof(value));
		if (len < 0 && (errno == ENODATA || errno == ENOTSUP))
			continue;
		r = len < 0 ? -errno : add_setting(a, list, count, p, value, (size_t)len);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_owner(struct ckpt_dump *d, Ckpt__Group *g, const char *name, const struct stat *st)
{
	Ckpt__GroupFile *f = ckpt_alloc(&d->tree.arena, sizeof(*f));

	if (!f)
		return -ENOMEM;
	ckpt__group_file__init(f);
	f->name = ckpt_strdup(&d->tree.arena, name);
	f->mode = st->st_mode & 07777;
	f->uid = st->st_uid - d->uid_base;
	f->gid = st->st_gid - d->uid_base;
	return f->name ? ckpt_push(&d->tree.arena, &g->files, &g->n_files, f) : -ENOMEM;
}

/* One control file. What cannot be read is nothing that was set. */
static int add_file(struct ckpt_dump *d, int dirfd, const char *name, const struct stat *st,
		    Ckpt__Group *g)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	int r = 0;

	if (g->path[0] && (st->st_uid != d->uid_base || st->st_gid != d->uid_base))
		r = add_owner(d, g, name, st);
	if (STREQ(name, "cgroup.freeze"))
		g->frozen = ckpt_iced_has(&d->frozen.iced, st);
	if (r < 0 || !(st->st_mode & 0200) || !ckpt_group_is_setting(name) ||
	    fd_read_file_at(dirfd, name, KIB(64), &text, &len) < 0)
		return r;
	return add_setting(&d->tree.arena, &g->settings, &g->n_settings, name, text, len);
}

static int walk(struct ckpt_dump *d, int fd_take, const char *path, int depth, struct err *e);

/* Of the VPS's own group the limits are the host's, only what is delegated is the tenant's. */
static bool is_tenants(const Ckpt__Group *g, const char *name)
{
	return g->path[0] || STREQ(name, "cgroup.subtree_control");
}

/* The files of one group, then the groups in it: parents come first. */
static int read_group(struct ckpt_dump *d, DIR *dir, const char *path, Ckpt__Group *g,
		      struct err *e)
{
	const struct dirent *de;
	char self[64];
	struct stat st;
	int r = 0;

	while (r == 0 && (errno = 0, de = readdir(dir)))
		if (de->d_type == DT_REG && is_tenants(g, de->d_name) &&
		    fstatat(dirfd(dir), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			r = add_file(d, dirfd(dir), de->d_name, &st, g);
	if (r == 0)
		r = -errno;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", dirfd(dir));
	if (r == 0 && path[0])
		r = ckpt_xattrs_read(&d->tree.arena, self, &g->xattrs, &g->n_xattrs);
	return r < 0 ? err_code(e, r, "read the control group %s", path) : 0;
}

static int walk_below(struct ckpt_dump *d, DIR *dir, const char *path, int depth, struct err *e)
{
	const struct dirent *de;
	char sub[4096];
	int r = 0;

	rewinddir(dir);
	while (r == 0 && (de = readdir(dir))) {
		int fd;

		if (de->d_type != DT_DIR || de->d_name[0] == '.')
			continue;
		if ((size_t)snprintf(sub, sizeof(sub), "%s/%s", path, de->d_name) >= sizeof(sub))
			return err_set(e, ERR_UNSUPPORTED,
				       "a control group below %s has too long a path", path);
		fd = openat(dirfd(dir), de->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = fd < 0 ? err_sys(e, "open the control group %s", sub) :
			     walk(d, fd, sub, depth + 1, e);
	}
	return r;
}

static int walk(struct ckpt_dump *d, int fd_take, const char *path, int depth, struct err *e)
{
	cleanup_closedir DIR *dir = fdopendir(fd_take);
	Ckpt__Group *g = ckpt_alloc(&d->tree.arena, sizeof(*g));
	struct stat st;
	int r;

	if (!dir) {
		close(fd_take);
		return err_code(e, -ENOMEM, "read the control group %s", path);
	}
	if (!g || fstat(dirfd(dir), &st) < 0)
		return err_sys(e, "read the control group %s", path);
	if (depth > CGROUP_MAX_DEPTH || d->tree.group_count > CGROUP_MAX_DESCENDANTS)
		return err_set(e, ERR_UNSUPPORTED, "the VPS has too many control groups");
	ckpt__group__init(g);
	g->path = ckpt_strdup(&d->tree.arena, path);
	g->mode = st.st_mode & 07777;
	g->uid = st.st_uid - d->uid_base;
	g->gid = st.st_gid - d->uid_base;
	if (!g->path || ckpt_push(&d->tree.arena, &d->tree.groups, &d->tree.group_count, g) < 0)
		return err_code(e, -ENOMEM, "read the control group %s", path);
	r = ckpt_note(d, read_group(d, dir, path, g, e), 0, -1, e);
	return r == 0 ? walk_below(d, dir, path, depth, e) : r;
}

int ckpt_group_open(struct ckpt_dump *d, struct err *e)
{
	const char *mount = d->cgroup->host->v2;
	char self[64], dir[4096];
	ssize_t n;

	d->group = cgroup_open(d->cgroup, e);
	if (d->group < 0)
		return d->group;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", d->group);
	n = readlink(self, dir, sizeof(dir) - 1);
	dir[n < 0 ? 0 : n] = '\0';
	if (n < 0 || strncmp(dir, mount, strlen(mount)) != 0)
		return err_set(e, ERR_FAIL, "the VPS's control group is not below %s", mount);
	snprintf(d->group_path, sizeof(d->group_path), "%s", dir + strlen(mount));
	return 0;
}

int ckpt_groups_collect(struct ckpt_dump *d, struct err *e)
{
	int fd = openat(d->group, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open the VPS's control group") : walk(d, fd, "", 0, e);
}

int ckpt_group_of(pid_t tid, char *ret, size_t size)
{
	cleanup_free char *text = NULL;
	char path[64], *line;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)tid);
	r = fd_read_file_at(AT_FDCWD, path, KIB(64), &text, NULL);
	if (r < 0)
		return r;
	for (line = text; line && strncmp(line, "0::", 3) != 0;)
		line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
	if (!line)
		return -ENOENT;
	line[strcspn(line, "\n")] = '\0';
	return (size_t)snprintf(ret, size, "%s", line + 3) < size ? 0 : -ENAMETOOLONG;
}

int ckpt_group_path(const struct ckpt_dump *d, pid_t tid, char *ret, size_t size, struct err *e)
{
	size_t len = strlen(d->group_path);
	char whole[4096];
	int r = ckpt_group_of(tid, whole, sizeof(whole));

	if (r < 0)
		return err_code(e, r, "read the control group of process %d", (int)tid);
	if (strncmp(whole, d->group_path, len) != 0 || (whole[len] && whole[len] != '/'))
		return err_set(e, ERR_UNSUPPORTED,
			       "process %d is in the control group %s, which is not the VPS's",
			       (int)tid, whole);
	snprintf(ret, size, "%s", whole + len);
	return 0;
}

int ckpt_group_of_thread(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t, struct err *e)
{
	char path[4096];
	int r;

	if (d->tree.group_count == 1) { /* it was found in that */
		t->group = 1;
		return 0;
	}
	r = ckpt_group_path(d, tid, path, sizeof(path), e);
	for (size_t i = 0; r == 0 && i < d->tree.group_count; i++)
		if (STREQ(d->tree.groups[i]->path, path)) {
			t->group = (uint32_t)i + 1;
			return 0;
		}
	return r < 0 ? r :
		       err_set(e, ERR_UNSUPPORTED,
			       "process %d is in the control group %s, which has been removed",
			       (int)tid, path);
}
