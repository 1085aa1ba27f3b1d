/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/step.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

bool cgroup_v1_in_use(const struct cgroup_host *h, enum cgroup_controller ctl)
{
	if (h->ctl[ctl].version != 1 || ctl == CGROUP_CPUACCT || ctl == CGROUP_DEVICES)
		return false;
	for (int c = 0; c < (int)ctl; c++)
		if (cgroup_v1_in_use(h, c) && STREQ(h->ctl[c].path, h->ctl[ctl].path))
			return false;
	return true;
}

const char *cgroup_base_path(const struct cgroup_host *h, int hierarchy, char buf[PATH_MAX])
{
	if (hierarchy == CGROUP_V2)
		snprintf(buf, PATH_MAX, "%s%s", h->v2, h->v2_base);
	else
		snprintf(buf, PATH_MAX, "%s", h->ctl[hierarchy].path);
	return buf;
}

const char *cgroup_path(const struct cgroup *c, int hierarchy, char buf[PATH_MAX])
{
	char base[PATH_MAX], root[PATH_MAX];

	cgroup_base_path(c->host, hierarchy, base);
	if (snprintf(buf, PATH_MAX, "%s/%s/%s", base, c->parent, c->name) >= PATH_MAX)
		buf[0] = '\0'; /* cannot be: its parts are far shorter */
	if (hierarchy != CGROUP_V2 || !c->host->v2_base[0] || access(buf, F_OK) == 0)
		return buf;
	/* It may have been started before this host got the unit. */
	snprintf(root, sizeof(root), "%s/%s/%s", c->host->v2, c->parent, c->name);
	return access(root, F_OK) == 0 ? strcpy(buf, root) : buf;
}

int cgroup_open_dir(const struct cgroup *c, int hierarchy)
{
	char path[PATH_MAX];
	int fd = open(cgroup_path(c, hierarchy, path),
		      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static bool is_component(const char *s)
{
	return *s && *s != '.' && !strchr(s, '/');
}

int cgroup_check(const struct cgroup *c, struct err *e)
{
	if (!is_component(c->parent) || !is_component(c->name))
		return err_set(e, ERR_USAGE, "\"%s/%s\" is not a name of a control group",
			       c->parent, c->name);
	return 0;
}

/*
 * Enables what of h's v2 controllers is not yet enabled for the children of dir. All at once, and
 * one by one when that is refused, so that one refused controller costs no other; which ones a
 * group has got is seen by its files.
 */
static int enable_controllers(const struct cgroup_host *h, int dir, const char *path, struct err *e)
{
	cleanup_free char *on = NULL;
	char want[256] = "", word[32];
	int r = fd_read_file_at(dir, "cgroup.subtree_control", 4096, &on, NULL);

	if (r < 0)
		return err_code(e, r, "read %s/cgroup.subtree_control", path);
	for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++) {
		size_t len = strlen(want);
		const char *name = cgroup_controller_name(c);

		if (h->ctl[c].version != 2 || c == CGROUP_DEVICES || c == CGROUP_CPUACCT ||
		    cgroup_list_has(on, name))
			continue;
		snprintf(want + len, sizeof(want) - len, "%s+%s", len ? " " : "", name);
	}
	if (!want[0])
		return 0;
	r = fd_write_file_at(dir, "cgroup.subtree_control", want);
	if (r == -EBUSY) {
		/* The rule of no internal processes: the root of a tree alone is exempt. */
		err_set(e, ERR_UNSUPPORTED, "enable controllers in %s: processes live in it", path);
		return err_hint(e, "with systemd: systemctl enable --now vps-tenants.service");
	}
	if (r == 0)
		return 0;
	for (char *w = want, *end; *w; w = end + (*end == ' ')) {
		end = strchrnul(w, ' ');
		snprintf(word, sizeof(word), "%.*s", (int)(end - w), w);
		fd_write_file_at(dir, "cgroup.subtree_control", word);
	}
	return 0;
}

/* Makes dir/file say what base/file says; both are short texts. */
static int copy_file(int base, int dir, const char *file)
{
	cleanup_free char *want = NULL, *have = NULL;
	int r = fd_read_file_at(base, file, 65536, &want, NULL);

	if (r == 0)
		r = fd_read_file_at(dir, file, 65536, &have, NULL);
	if (r < 0 || STREQ(want, have))
		return r;
	return fd_write_file_at(dir, file, want);
}

/* A v1 cpuset takes no process while its lists are empty. Those of the parent follow the root's
 * (CPUs come and go), and groups made below it start with the parent's. */
static int fill_cpuset_parent(int base, int dir, const char *path, struct err *e)
{
	static const char *const lists[] = { "cpuset.cpus", "cpuset.mems" };
	cleanup_free char *clone = NULL;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(lists) && r == 0; i++)
		r = copy_file(base, dir, lists[i]);
	if (r == 0)
		r = fd_read_file_at(dir, "cgroup.clone_children", 64, &clone, NULL);
	if (r == 0 && clone[0] != '1')
		r = fd_write_file_at(dir, "cgroup.clone_children", "1");
	return r < 0 ? err_code(e, r, "fill the CPU lists of %s", path) : 0;
}

/* Makes the parent when it is not there, and sees to what its children need from it. */
static int make_parent(const struct cgroup *c, int hierarchy, struct err *e)
{
	cleanup_close int base = -EBADF, fd = -EBADF;
	char path[PATH_MAX];
	int r = 0;

	cgroup_base_path(c->host, hierarchy, path);
	base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (base < 0)
		return err_sys(e, "open %s", path);
	if (mkdirat(base, c->parent, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "mkdir %s/%s", path, c->parent);
	if (hierarchy != CGROUP_V2 && hierarchy != CGROUP_CPUSET)
		return 0;
	fd = openat(base, c->parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s/%s", path, c->parent);
	if (hierarchy == CGROUP_CPUSET)
		return fill_cpuset_parent(base, fd, path, e);
	/* Whatever the umask: before Linux 6.16 a mount of cgroup2 in the tenant walks down to its
	 * group with the tenant's rights, and fails with EACCES on the way. */
	if (fchmod(fd, 0755) < 0)
		return err_sys(e, "chmod %s/%s", path, c->parent);
	r = enable_controllers(c->host, base, path, e);
	if (r == 0)
		r = enable_controllers(c->host, fd, c->parent, e);
	if (r < 0)
		unlinkat(base, c->parent, AT_REMOVEDIR);
	return r;
}

/* Takes the group out of one hierarchy, and the parent when it is empty. */
static int remove_group(const struct cgroup *c, int hierarchy)
{
	cleanup_close int base = -EBADF, parent = -EBADF;
	char path[PATH_MAX];
	int r;

	cgroup_path(c, hierarchy, path);
	*strrchr(path, '/') = '\0';
	*strrchr(path, '/') = '\0';
	base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (base < 0)
		return errno == ENOENT ? 0 : -errno;
	parent = openat(base, c->parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (parent < 0)
		return errno == ENOENT ? 0 : -errno;
	r = cgroup_remove_tree(parent, c->name);
	if (r == 0)
		unlinkat(base, c->parent, AT_REMOVEDIR); /* refused while other groups are there */
	return r;
}

/* Makes the group in one hierarchy. A neighbour that stops may take the parent away between its
 * making and ours; then it is made again. */
static int make_group(const struct cgroup *c, int hierarchy, struct err *e)
{
	bool bare = hierarchy != CGROUP_V2 && hierarchy != CGROUP_CPUSET;
	char path[PATH_MAX];

	cgroup_path(c, hierarchy, path);
	for (int tries = 0; tries < 16; tries++) {
		int r = bare && tries == 0 ? 0 : make_parent(c, hierarchy, e);

		if (r == -ENOENT || r == -ENODEV)
			continue;
		if (r < 0)
			return r;
		if (mkdir(path, 0755) == 0)
			return 0;
		if (errno == EEXIST)
			return err_set(e, ERR_EXISTS, "the control group %s exists", path);
		if (errno != ENOENT && errno != ENODEV)
			return err_sys(e, "mkdir %s", path);
	}
	return err_set(e, ERR_FAIL, "mkdir %s: its parent vanishes again and again", path);
}

/* What a delegatee must be able to write besides the directory: the kernel's own list (Linux 4.15),
 * or the oldest one. */
static int delegate(int dir, uid_t uid, gid_t gid, const char *path, struct err *e)
{
	cleanup_free char *list = NULL;
	char *save = NULL;

	if (uid == 0 && gid == 0)
		return 0;
	if (fd_read_file_at(AT_FDCWD, "/sys/kernel/cgroup/delegate", 4096, &list, NULL) < 0)
		list = strdup("cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n");
	if (!list)
		return err_code(e, -ENOMEM, "delegate %s", path);
	for (char *f = strtok_r(list, "\n", &save); f; f = strtok_r(NULL, "\n", &save))
		if (!strchr(f, '/') && fchownat(dir, f, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno != ENOENT)
			return err_sys(e, "chown %s/%s", path, f);
	if (fchown(dir, uid, gid) < 0)
		return err_sys(e, "chown %s", path);
	return 0;
}

static int set_up_payload(const struct cgroup *c, uid_t uid, gid_t gid, struct err *e)
{
	cleanup_close int dir = cgroup_open_dir(c, CGROUP_V2);
	char path[PATH_MAX], number[16];
	int r;

	cgroup_path(c, CGROUP_V2, path);
	if (dir < 0)
		return err_code(e, dir, "open %s", path);
	snprintf(number, sizeof(number), "%d", CGROUP_MAX_DESCENDANTS);
	r = fd_write_file_at(dir, "cgroup.max.descendants", number);
	if (r == 0) {
		snprintf(number, sizeof(number), "%d", CGROUP_MAX_DEPTH);
		r = fd_write_file_at(dir, "cgroup.max.depth", number);
	}
	if (r < 0)
		return err_code(e, r, "write %s/cgroup.max.*", path);
	return delegate(dir, uid, gid, path, e);
}

int cgroup_delegate(const struct cgroup *c, uid_t uid, gid_t gid, struct err *e)
{
	cleanup_close int dir = cgroup_open_dir(c, CGROUP_V2);
	char path[PATH_MAX];

	cgroup_path(c, CGROUP_V2, path);
	return dir < 0 ? err_code(e, dir, "open %s", path) : delegate(dir, uid, gid, path, e);
}

static int make_groups(const struct cgroup *c, uid_t uid, gid_t gid, struct err *e)
{
	int r = cgroup_check(c, e), h;

	for (h = CGROUP_V2; r == 0 && h < CGROUP_CONTROLLER_COUNT; h++) {
		if (h != CGROUP_V2 && !cgroup_v1_in_use(c->host, h))
			continue;
		r = make_group(c, h, e);
		if (r < 0)
			break; /* the one that stands there is not ours to remove */
		r = h == CGROUP_V2 ? set_up_payload(c, uid, gid, e) : fault_point("cgroup", "v1", e);
	}
	if (r == 0)
		return 0;
	while (--h >= CGROUP_V2)
		if (h == CGROUP_V2 || cgroup_v1_in_use(c->host, h))
			remove_group(c, h);
	return r;
}

int cgroup_create(const struct cgroup *c, uid_t uid, gid_t gid, struct err *e)
{
	mode_t was = umask(022);
	int r = make_groups(c, uid, gid, e);

	umask(was);
	return r;
}

int cgroup_open(const struct cgroup *c, struct err *e)
{
	char path[PATH_MAX];
	int fd = open(cgroup_path(c, CGROUP_V2, path),
		      O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}

int cgroup_entry_open(const struct cgroup *c, struct cgroup_entry *ret, struct err *e)
{
	struct cgroup_entry en;
	char path[PATH_MAX];

	for (int ctl = 0; ctl < CGROUP_CONTROLLER_COUNT; ctl++)
		en.fd[ctl] = -EBADF;
	*ret = en;
	for (int ctl = 0; ctl < CGROUP_CONTROLLER_COUNT; ctl++) {
		cleanup_close int dir = -EBADF;
		int r;

		if (!cgroup_v1_in_use(c->host, ctl))
			continue;
		dir = cgroup_open_dir(c, ctl);
		if (dir >= 0)
			en.fd[ctl] = openat(dir, "tasks", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (en.fd[ctl] >= 0)
			continue;
		r = dir < 0 ? dir : -errno;
		cgroup_entry_close(&en);
		return err_code(e, r, "open %s/tasks", cgroup_path(c, ctl, path));
	}
	*ret = en;
	return 0;
}

int cgroup_entry_enter(const struct cgroup_entry *en, struct err *e)
{
	for (int ctl = 0; ctl < CGROUP_CONTROLLER_COUNT; ctl++)
		if (en->fd[ctl] >= 0 && write(en->fd[ctl], "0", 1) < 0)
			return err_sys(e, "enter the control group (%s)",
				       cgroup_controller_name(ctl));
	return 0;
}

void cgroup_entry_close(struct cgroup_entry *en)
{
	for (int ctl = 0; ctl < CGROUP_CONTROLLER_COUNT; ctl++)
		fd_close(&en->fd[ctl]);
}

int cgroup_remove(const struct cgroup *c, struct err *e)
{
	int r = cgroup_check(c, e);

	if (r < 0)
		return r;
	for (int h = CGROUP_CONTROLLER_COUNT - 1; h >= CGROUP_V2; h--) {
		char path[PATH_MAX];
		int s;

		if (h != CGROUP_V2 && !cgroup_v1_in_use(c->host, h))
			continue;
		s = remove_group(c, h);
		if (s == -EBUSY)
			r = err_set(e, ERR_STATE, "remove %s: processes are left in it",
				    cgroup_path(c, h, path));
		else if (s < 0)
			r = err_code(e, s, "remove %s", cgroup_path(c, h, path));
	}
	return r;
}
