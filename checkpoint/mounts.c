/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The mounts of each namespace: which part of which file system is seen where, how, and what
 * propagates to whom. Those that the runtime makes are among them; a restore finds them there and
 * makes the rest.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/mountfs.h"
#include "checkpoint/mountinfo.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define DEPTH_MAX 256 /* of mounts in mounts */
#define MOUNTS_MAX 8192 /* in one namespace */
#define DELETED "//deleted" /* behind the root of a mount whose directory entry is no more */

struct reading {
	struct ckpt_dump *d;
	uint32_t space;
	char *text;
	struct ckpt_mountinfo *m;
	size_t count;
	uint32_t *record; /* as m: 0 until it has one */
};

static int read_all(void *arg, struct err *e)
{
	struct reading *r = arg;
	int n = fd_read_file_at(r->d->proc, "self/mountinfo", CKPT_MOUNTINFO_MAX, &r->text, NULL);

	return n < 0 ? err_code(e, n, "read the mounts of a namespace") : 0;
}

static int read_mounts(struct reading *r, struct err *e)
{
	const struct ckpt_seen_space *s = &r->d->spaces.space[r->space - 1];
	const struct ckpt_ahead_space *known = ckpt_ahead_space(&r->d->ahead, s->ino);
	int n;

	if (!known)
		return ckpt_within(&s->fd, 1, read_all, r, e);
	n = fd_read_all(known->mountinfo, CKPT_MOUNTINFO_MAX, &r->text, NULL);
	return n < 0 ? err_code(e, n, "read the mounts of a namespace") : 0;
}

/* The host's and the runtime's, which a restore finds mounted: the root, volumes, and the masks
 * of /proc, /sys and /dev. */
static bool is_given(const struct reading *r, const struct ckpt_mountinfo *m)
{
	static const char *const whole[] = { "/proc", "/sys", "/dev" };

	if (r->space != r->d->spaces.main[CKPT_SPACE_MNT])
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(whole); i++)
		if (ckpt_path_below(m->at, whole[i]))
			return true;
	for (size_t i = 0; i < r->d->spec->mount_count; i++)
		if (STREQ(m->at, r->d->spec->mounts[i].guest))
			return true;
	return STREQ(m->at, "/");
}

/* What the runtime hides files of /proc and /sys behind. Process 1 may have taken it away where copies of its mounts
 * still have it. */
static bool is_mask(const struct ckpt_mountinfo *m)
{
	return STREQ(m->type, "devtmpfs") && STREQ(m->root, "/null");
}

static int add_option(struct ckpt_dump *d, Ckpt__Super *s, const char *key, const char *value)
{
	Ckpt__Setting *o = ckpt_alloc(&d->tree.arena, sizeof(*o));
	char number[16];

	if (!o)
		return -ENOMEM;
	ckpt__setting__init(o);
	/* The kernel shows ids as the reader's user namespace, the host's, has them. */
	if (value && (STREQ(key, "uid") || STREQ(key, "gid"))) {
		snprintf(number, sizeof(number), "%u",
			 (unsigned)strtoul(value, NULL, 10) - d->uid_base);
		value = number;
	}
	o->name = ckpt_strdup(&d->tree.arena, key);
	if (value) {
		o->value.data = ckpt_memdup(&d->tree.arena, value, strlen(value) + 1);
		o->value.len = o->value.data ? strlen(value) + 1 : 0;
	}
	return o->name ? ckpt_push(&d->tree.arena, &s->options, &s->n_options, o) : -ENOMEM;
}

static int add_options(struct ckpt_dump *d, const struct ckpt_mountfs *fs, Ckpt__Super *s,
		       char *options)
{
	char *word;
	int n = 0;

	while (n == 0 && (word = strsep(&options, ","))) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = '\0';
		if (ckpt_mountfs_has_option(fs, word))
			n = add_option(d, s, word, value);
	}
	return n;
}

/* The namespace that a bind mount of nsfs keeps; it may be one that nothing else has shown. */
struct opening {
	const char *path;
	int fd;
};

static int open_it(void *arg, struct err *e)
{
	struct opening *o = arg;

	o->fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return o->fd < 0 ? err_sys(e, "open %s", o->path) : 0;
}

/* By its number, when it is known: the mount may be covered here. */
static int known_space(const struct ckpt_dump *d, const char *root)
{
	unsigned long long ino;

	for (size_t i = 0; sscanf(root, "%*[a-z]:[%llu]", &ino) == 1 && i < d->spaces.count; i++)
		if (d->spaces.space[i].ino == ino)
			return (int)i + 1;
	return 0;
}

static int open_space(struct reading *r, const struct ckpt_mountinfo *m, struct err *e)
{
	struct opening o = { m->at, -EBADF };
	size_t len = strcspn(m->root, ":");
	int kind = 0, id = ckpt_within(&r->d->spaces.space[r->space - 1].fd, 1, open_it, &o, e);

	while (kind < CKPT_SPACE_COUNT &&
	       (strncmp(ckpt_space_types[kind].name, m->root, len) != 0 ||
		ckpt_space_types[kind].name[len]))
		kind++;
	if (id == 0 && kind == CKPT_SPACE_COUNT)
		id = err_set(e, ERR_UNSUPPORTED,
			     "the namespace %s, which is mounted on %s, cannot be saved", m->root,
			     m->at);
	if (id == 0)
		id = ckpt_spaces_add(r->d, (enum ckpt_space_kind)kind, o.fd, 0, e);
	fd_close(&o.fd);
	return id;
}

static int nsfs_space(struct reading *r, const struct ckpt_mountinfo *m, Ckpt__Super *s,
		      struct err *e)
{
	int id = known_space(r->d, m->root);

	if (!id)
		id = open_space(r, m, e);
	if (id < 0)
		return id;
	s->n_spaces = 1;
	s->spaces = ckpt_alloc(&r->d->tree.arena, sizeof(*s->spaces));
	if (s->spaces)
		s->spaces[0] = (uint32_t)id;
	return s->spaces ? 0 : err_code(e, -ENOMEM, "collect mounts");
}

/* Such a file system shows what its mounter was in: taken to be what who lives among these
 * mounts is in. */
static int mounter_spaces(struct reading *r, Ckpt__Super *s, struct err *e)
{
	pid_t pid = r->d->spaces.space[r->space - 1].pid;
	Ckpt__Thread t;

	if (!pid)
		return 0;
	ckpt__thread__init(&t);
	if (ckpt_spaces_of_thread(r->d, pid, &t, e) < 0)
		return -EIO;
	s->spaces = t.spaces;
	s->n_spaces = t.n_spaces;
	return 0;
}

static int refuse(const struct ckpt_mountinfo *m, struct err *e, const char *why)
{
	return err_set(e, ERR_UNSUPPORTED, "%s is mounted on %s, %s", m->type, m->at, why);
}

/* What /proc shows is told by process 1 in it, when that can be looked at: an fd of its pid namespace, or -EBADF.
 * From outside, and nothing else that lies in the way is believed. */
static int proc_first(const struct reading *r, const struct ckpt_mountinfo *m)
{
	cleanup_close int dir = -EBADF, fd = -EBADF;
	char path[4200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/1/ns", m->at);
	dir = path_open_no_links(ckpt_space_root(r->d, r->space), path, O_PATH | O_DIRECTORY, 0, false);
	if (dir < 0 || fstat(dir, &st) < 0 || st.st_dev != m->dev)
		return -EBADF;
	fd = openat(dir, "pid", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWPID ? TAKE_FD(fd) : -EBADF;
}

static int proc_space(struct reading *r, const struct ckpt_mountinfo *m, Ckpt__Super *s, struct err *e)
{
	cleanup_close int first = -EBADF;
	uint32_t main = r->d->spaces.main[CKPT_SPACE_PID];
	int n = mounter_spaces(r, s, e), id = 0;

	if (n == 0 && STREQ(m->root, "/"))
		first = proc_first(r, m);
	if (first >= 0)
		id = ckpt_spaces_add(r->d, CKPT_SPACE_PID, first, 0, e);
	if (n < 0 || id < 0)
		return n < 0 ? n : id;
	if (!s->n_spaces)
		return id && (uint32_t)id != main ? refuse(m, e, "which is of a pid namespace that nobody is in") : 0;
	if (id)
		s->spaces[CKPT_SPACE_PID] = (uint32_t)id;
	/* It belongs to whom that belongs to, whoever has mounted it. */
	id = (int)s->spaces[CKPT_SPACE_PID];
	s->owner = (uint32_t)id == main ? 0 : r->d->tree.spaces[id - 1]->owner;
	if (s->owner == r->d->spaces.main[CKPT_SPACE_USER])
		s->owner = 0;
	return 0;
}

static uint32_t find_super(const struct ckpt_dump *d, dev_t dev)
{
	for (size_t i = 0; i < d->tree.super_count; i++)
		if (d->spaces.super[i].dev == dev)
			return (uint32_t)i + 1;
	return 0;
}

/* The next record; NULL: out of memory. */
static Ckpt__Super *new_super(struct ckpt_dump *d, dev_t dev, const char *type, const char *source)
{
	Ckpt__Super *s = ckpt_alloc(&d->tree.arena, sizeof(*s));
	struct ckpt_seen_super *grown =
		reallocarray(d->spaces.super, d->tree.super_count + 1, sizeof(*grown));

	if (grown)
		d->spaces.super = grown;
	if (!s || !grown)
		return NULL;
	grown[d->tree.super_count].dev = dev;
	ckpt__super__init(s);
	s->type = ckpt_strdup(&d->tree.arena, type);
	s->source = ckpt_strdup(&d->tree.arena, source);
	return s->type && s->source &&
			       ckpt_push(&d->tree.arena, &d->tree.supers, &d->tree.super_count, s) == 0 ?
		       s :
		       NULL;
}

int ckpt_super_of(struct ckpt_dump *d, dev_t dev, const char *type, uint32_t *ret, struct err *e)
{
	*ret = find_super(d, dev);
	if (*ret)
		return 0;
	if (!new_super(d, dev, type, "none"))
		return err_code(e, -ENOMEM, "collect file systems");
	*ret = (uint32_t)d->tree.super_count;
	return 0;
}

static int add_super(struct reading *r, struct ckpt_mountinfo *m, uint32_t *ret, struct err *e)
{
	struct ckpt_dump *d = r->d;
	const struct ckpt_mountfs *fs = ckpt_mountfs_find(m->type);
	Ckpt__Super *s;
	int n = 0;
	bool nsfs = STREQ(m->type, "nsfs"); /* all of them in one file system */

	*ret = nsfs ? 0 : find_super(d, m->dev);
	if (*ret)
		return 0;
	if (!fs && !is_given(r, m) && !is_mask(m))
		return refuse(m, e, "which cannot be saved");
	s = new_super(d, m->dev, m->type, m->source);
	if (!s)
		return err_code(e, -ENOMEM, "collect mounts");
	s->contents = fs && fs->contents;
	/* Seen among mounts of a nested user namespace first, it is taken to be its own. */
	if (d->tree.spaces[r->space - 1]->owner != d->spaces.main[CKPT_SPACE_USER])
		s->owner = d->tree.spaces[r->space - 1]->owner;
	if (fs && !STREQ(m->at, "/"))
		n = add_options(d, fs, s, m->options);
	if (n < 0)
		return err_code(e, -ENOMEM, "collect mounts");
	*ret = (uint32_t)d->tree.super_count;
	if (nsfs)
		return nsfs_space(r, m, s, e);
	if (fs && fs->space == CKPT_SPACE_PID)
		return proc_space(r, m, s, e);
	return fs && fs->space >= 0 ? mounter_spaces(r, s, e) : 0;
}

static int remember(struct ckpt_dump *d, uint64_t id)
{
	struct ckpt_spaces *s = &d->spaces;
	struct ckpt_seen_mount *grown = s->mount;

	if ((s->mount_count & (s->mount_count - 1)) == 0)
		grown = reallocarray(s->mount, s->mount_count ? 2 * s->mount_count : 1,
				     sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->mount = grown;
	s->mount[s->mount_count++] = (struct ckpt_seen_mount){ id, (uint32_t)d->tree.mount_count };
	return 0;
}

/* It goes into the image like a deleted file that is open, when all mounts are known. */
static int check_deleted(const struct ckpt_mountinfo *m, struct err *e)
{
	const struct ckpt_mountfs *fs = ckpt_mountfs_find(m->type);

	return !fs || fs->contents || STREQ(m->type, "overlay") ?
		       0 :
		       refuse(m, e, "from a directory or file that is gone, which cannot be saved");
}

static int add_mount(struct reading *r, size_t i, const char *at, uint32_t parent, struct err *e)
{
	struct ckpt_arena *a = &r->d->tree.arena;
	struct ckpt_mountinfo *m = &r->m[i];
	Ckpt__Mount *out = ckpt_alloc(a, sizeof(*out));
	char *deleted = strstr(m->root, DELETED);
	const char *root = m->root;
	int n;

	if (deleted)
		*deleted = '\0';
	if (!out)
		return err_code(e, -ENOMEM, "collect mounts");
	ckpt__mount__init(out);
	if (m->idmapped && !is_given(r, m) && ckpt_mountfs_find(m->type))
		return refuse(m, e, "with ids of its own, which cannot be saved yet");
	n = add_super(r, m, &out->super, e);
	if (n == 0 && deleted)
		n = check_deleted(m, e);
	if (n < 0)
		return n;
	out->ghost = deleted ? CKPT_MOUNT_DELETED : 0;
	if (STREQ(m->type, "cgroup2")) {
		const char *below = ckpt_path_below(m->root, r->d->group_path);

		if (!below)
			return refuse(m, e, "from outside the VPS's control group");
		root = below[0] ? below : "/"; /* as the VPS sees it */
	}
	out->space = r->space;
	out->parent = parent;
	out->root = ckpt_strdup(a, root);
	out->at = ckpt_strdup(a, at);
	out->attributes = m->attributes;
	out->peers = m->peers;
	out->master = m->master;
	out->unbindable = m->unbindable;
	if (!out->root || !out->at ||
	    ckpt_push(a, &r->d->tree.mounts, &r->d->tree.mount_count, out) < 0 ||
	    remember(r->d, m->id) < 0)
		return err_code(e, -ENOMEM, "collect mounts");
	r->record[i] = (uint32_t)r->d->tree.mount_count;
	return 0;
}

/*
 * Those mounted in a mount, then those in them. Of two in one mount the one with the longer path
 * comes first: a directory on its way may be covered by the other.
 */
static int add_children(struct reading *r, size_t parent, int depth, struct err *e)
{
	if (depth > DEPTH_MAX)
		return refuse(&r->m[parent], e, "below more mounts than can be saved");
	for (;;) {
		ssize_t next = -1;
		int n;

		for (size_t i = 0; i < r->count; i++)
			if (!r->record[i] && r->m[i].parent == r->m[parent].id &&
			    (next < 0 || strlen(r->m[i].at) > strlen(r->m[next].at)))
				next = (ssize_t)i;
		if (next < 0)
			return 0;
		n = ckpt_path_below(r->m[next].at, r->m[parent].at) ?
			    add_mount(r, (size_t)next,
				      ckpt_path_below(r->m[next].at, r->m[parent].at),
				      r->record[parent], e) :
			    refuse(&r->m[next], e, "outside what it is mounted in");
		if (n == 0)
			n = add_children(r, (size_t)next, depth + 1, e);
		else
			n = ckpt_note(r->d, n, 0, -1, e);
		if (!r->record[next])
			r->record[next] = UINT32_MAX; /* noted: it is not looked at again */
		if (n < 0)
			return n;
	}
}

static int add_all(struct reading *r, struct err *e)
{
	for (size_t i = 0; i < r->count; i++) {
		int n;

		if (ckpt_mountinfo_find(r->m, r->count, r->m[i].parent) >= 0)
			continue;
		if (!STREQ(r->m[i].at, "/"))
			return refuse(&r->m[i], e, "which is not below the root of its namespace");
		n = add_mount(r, i, "", 0, e);
		return n == 0 ? add_children(r, i, 0, e) : n;
	}
	return err_set(e, ERR_UNSUPPORTED, "a mount namespace has no root");
}

int ckpt_mounts_collect(struct ckpt_dump *d, uint32_t space, struct err *e)
{
	struct reading r = { .d = d, .space = space };
	int n = read_mounts(&r, e);

	if (n == 0)
		n = ckpt_mountinfo_parse(r.text, &r.m, &r.count, e);
	if (n == 0 && r.count > MOUNTS_MAX)
		n = err_set(e, ERR_UNSUPPORTED, "there are more than %d mounts in one namespace",
			    MOUNTS_MAX);
	r.record = calloc(r.count + 1, sizeof(*r.record));
	if (n == 0)
		n = r.record ? add_all(&r, e) : err_code(e, -ENOMEM, "collect mounts");
	for (size_t i = 0; n == 0 && !d->check && i < r.count; i++)
		if (!r.record[i])
			n = refuse(&r.m[i], e, "which is not below the root of its namespace");
	free(r.record);
	free(r.m);
	free(r.text);
	return n;
}

int ckpt_mount_space(struct ckpt_dump *d, const char *proc, const char *path, uint64_t *ret_id,
		     uint32_t *ret, struct err *e)
{
	struct ckpt_spaces *s = &d->spaces;
	struct statx sx;
	size_t i = s->last;

	if (statx(AT_FDCWD, proc, 0, STATX_MNT_ID, &sx) < 0)
		return err_sys(e, "look at %s", proc);
	*ret_id = sx.stx_mnt_id;
	if (i >= s->mount_count || s->mount[i].id != *ret_id)
		for (i = 0; i < s->mount_count && s->mount[i].id != *ret_id;)
			i++;
	if (i == s->mount_count)
		return err_set(
			e, ERR_UNSUPPORTED,
			"%s, %s, lies in a mount that is in no namespace, which cannot be saved "
			"yet",
			proc, path);
	s->last = i;
	*ret = d->tree.mounts[s->mount[i].record - 1]->space;
	if (*ret == s->main[CKPT_SPACE_MNT])
		*ret = 0;
	return 0;
}

int ckpt_mount_path(const struct ckpt_tree *t, uint32_t id, char *ret, size_t size)
{
	const Ckpt__Mount *m = t->mounts[id - 1];
	size_t len = 0;

	if (m->parent && ckpt_mount_path(t, m->parent, ret, size) < 0)
		return -ENAMETOOLONG;
	len = m->parent ? strlen(ret) : 0;
	return (size_t)snprintf(ret + len, size - len, "%s", m->at) < size - len ? 0 :
										   -ENAMETOOLONG;
}
