/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The mounts of each namespace: which part of which file system is seen where, how, and what
 * propagates to whom. Those that the runtime makes are among them; a restore finds them there and
 * makes the rest.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/mountfs.h"
#include "checkpoint/mounts_internal.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
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

bool ckpt_mount_is_given(const struct ckpt_dump *d, uint32_t space, const struct ckpt_mountinfo *m)
{
	static const char *const whole[] = { "/proc", "/sys", "/dev" };

	if (space != d->spaces.main[CKPT_SPACE_MNT])
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(whole); i++)
		if (ckpt_path_below(m->at, whole[i]))
			return true;
	for (size_t i = 0; i < d->spec->mount_count; i++)
		if (STREQ(m->at, d->spec->mounts[i].guest))
			return true;
	return STREQ(m->at, "/");
}

int ckpt_mount_refuse(const struct ckpt_mountinfo *m, struct err *e, const char *why)
{
	return err_set(e, ERR_UNSUPPORTED, "%s is mounted on %s, %s", m->type, m->at, why);
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
		       ckpt_mount_refuse(m, e, "from a directory or file that is gone, which cannot be saved");
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
	if (m->idmapped && !ckpt_mount_is_given(r->d, r->space, m) && ckpt_mountfs_find(m->type))
		return ckpt_mount_refuse(m, e, "with ids of its own, which cannot be saved yet");
	n = ckpt_super_collect(r->d, r->space, m, &out->super, e);
	if (n == 0 && deleted)
		n = check_deleted(m, e);
	if (n < 0)
		return n;
	out->ghost = deleted ? CKPT_MOUNT_DELETED : 0;
	if (STREQ(m->type, "cgroup2")) {
		const char *below = ckpt_path_below(m->root, r->d->group_path);

		if (!below)
			return ckpt_mount_refuse(m, e, "from outside the VPS's control group");
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
		return ckpt_mount_refuse(&r->m[parent], e, "below more mounts than can be saved");
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
			    ckpt_mount_refuse(&r->m[next], e, "outside what it is mounted in");
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
			return ckpt_mount_refuse(&r->m[i], e, "which is not below the root of its namespace");
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
			n = ckpt_mount_refuse(&r.m[i], e, "which is not below the root of its namespace");
	free(r.record);
	free(r.m);
	free(r.text);
	return n;
}

bool ckpt_mount_find(struct ckpt_dump *d, uint64_t id, uint32_t *ret)
{
	struct ckpt_spaces *s = &d->spaces;
	size_t i = s->last;

	if (i >= s->mount_count || s->mount[i].id != id)
		for (i = 0; i < s->mount_count && s->mount[i].id != id;)
			i++;
	if (i == s->mount_count)
		return false;
	s->last = i;
	*ret = d->tree.mounts[s->mount[i].record - 1]->space;
	if (*ret == s->main[CKPT_SPACE_MNT])
		*ret = 0;
	return true;
}

int ckpt_mount_space(struct ckpt_dump *d, const char *proc, const char *path, uint64_t *ret_id,
		     uint32_t *ret, struct err *e)
{
	struct statx sx;

	if (statx(AT_FDCWD, proc, 0, STATX_MNT_ID, &sx) < 0)
		return err_sys(e, "look at %s", proc);
	*ret_id = sx.stx_mnt_id;
	return ckpt_mount_find(d, *ret_id, ret) ? 0 :
		       err_set(e, ERR_UNSUPPORTED,
			       "%s, %s, lies in a mount that is in no namespace, which cannot be saved yet", proc, path);
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
