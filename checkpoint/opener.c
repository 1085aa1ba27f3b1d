/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/opener.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define ID_MAX 65535u /* of a VPS; with ids of fewer it cannot be restored */

static bool counts(const struct ckpt_fd *f)
{
	const char *name = strrchr(f->link, '/');

	return (f->flags & O_ACCMODE) != O_RDONLY && !(f->flags & O_PATH) && name &&
	       (STREQ(name, "/cgroup.procs") || STREQ(name, "/cgroup.threads") || STREQ(name, "/tasks"));
}

static int read_groups(struct ckpt_dump *d, uint64_t info, Ckpt__Credentials *c, struct err *e)
{
	uint64_t count, at;
	int r = ckpt_kernel_member(d->kernel, info, "group_info", "ngroups", 4, &count, e);

	if (r == 0 && count > CKPT_GROUPS_MAX)
		r = err_set(e, ERR_UNSUPPORTED, "it has more than %d groups", CKPT_GROUPS_MAX);
	if (r == 0)
		r = ckpt_kernel_place(d->kernel, info, "group_info", "gid", &at, e);
	if (r < 0 || !count)
		return r;
	c->groups = ckpt_alloc(&d->tree.arena, count * sizeof(*c->groups));
	if (!c->groups)
		return err_code(e, -ENOMEM, "collect files");
	r = ckpt_kernel_bytes(d->kernel, at, c->groups, count * sizeof(*c->groups), e);
	for (size_t i = 0; r == 0 && i < count; i++)
		c->groups[i] = ckpt_dump_id(d, c->groups[i]);
	c->n_groups = r == 0 ? count : 0;
	return r;
}

/* Whoever is nobody of the VPS's own is root to it: he came from outside. */
static int read_opener(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__Credentials *c, struct err *e)
{
	uint64_t file, cred, uid, gid, groups;
	int r = ckpt_kernel_open_file(d->kernel, f->own, &file, e);

	if (r == 0)
		r = ckpt_kernel_member(d->kernel, file, "file", "f_cred", 8, &cred, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, cred, "cred", "fsuid", 4, &uid, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, cred, "cred", "fsgid", 4, &gid, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, cred, "cred", "group_info", 8, &groups, e);
	if (r < 0)
		return r;
	c->uid = uid < d->uid_base || uid - d->uid_base >= d->uid_count ? 0 : (uint32_t)uid - d->uid_base;
	c->gid = ckpt_dump_id(d, (uint32_t)gid);
	return c->uid ? read_groups(d, groups, c, e) : 0;
}

static bool is_in(const Ckpt__Credentials *c, uint32_t gid)
{
	for (size_t i = 0; i < c->n_groups; i++)
		if (c->groups[i] == gid)
			return true;
	return c->gid == gid;
}

static bool may(const struct ckpt_dump *d, const struct stat *st, const Ckpt__Credentials *c, mode_t need)
{
	mode_t mode = st->st_mode;

	if (ckpt_dump_id(d, st->st_uid) == c->uid)
		mode >>= 6;
	else if (is_in(c, ckpt_dump_id(d, st->st_gid)))
		mode >>= 3;
	return (mode & need) == need;
}

/* As open(2) will find it, and all directories above it. */
static bool may_open(struct ckpt_dump *d, const struct ckpt_fd *f, uint32_t space, const Ckpt__Credentials *c)
{
	mode_t need = (f->flags & O_ACCMODE) == O_RDWR ? S_IROTH | S_IWOTH : S_IWOTH;
	char path[sizeof(f->link)];

	for (const char *at = f->link; (at = strchr(at, '/')); at++) {
		cleanup_close int fd = -EBADF;
		struct stat st;

		snprintf(path, sizeof(path), "%.*s/", (int)(at - f->link), f->link);
		fd = path_open_in_root(ckpt_space_root(d, space), path, O_PATH | O_DIRECTORY, 0);
		if (fd < 0 || fstat(fd, &st) < 0 || !may(d, &st, c, S_IXOTH))
			return false;
	}
	return may(d, &f->st, c, need);
}

int ckpt_opener_collect(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct err ignored;
	Ckpt__Credentials *c;
	int r;

	if (!counts(f) || (!d->kernel && ckpt_kernel_open(&d->kernel, &ignored) < 0))
		return 0;
	c = ckpt_alloc(&d->tree.arena, sizeof(*c));
	if (!c)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__credentials__init(c);
	r = read_opener(d, f, c, e);
	if (r < 0)
		return err_wrap(e, "look who opened fd %d of process %d, %s", f->fd, (int)f->pid, f->link);
	if (c->uid && !may_open(d, f, out->space, c))
		return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is %s, open for writing by the rights of user %u, who "
			       "could not open it now, which cannot be saved", f->fd, (int)f->pid, f->link, c->uid);
	out->opener = c->uid ? c : NULL;
	return 0;
}

int ckpt_opener_check(const Ckpt__File *f, struct err *e)
{
	const Ckpt__Credentials *c = f->opener;
	bool good = !c || (c->uid && c->uid <= ID_MAX && c->gid <= ID_MAX && c->n_groups <= CKPT_GROUPS_MAX);

	/* Of a number that is none here setfsuid(2) says nothing, and changes nothing. */
	for (size_t i = 0; good && c && i < c->n_groups; i++)
		good = c->groups[i] <= ID_MAX;
	return good ? 0 : err_set(e, ERR_FAIL, "the image is damaged: who opened a file");
}

/* The rights that root has over files go with its number, and come back with it (capabilities(7)). */
void ckpt_opener_become(struct ckpt_late *q, const Ckpt__File *f)
{
	const Ckpt__Credentials *c = f->opener;

	if (!c)
		return;
	ckpt_late_call(q, "have groups", SYS_setgroups, c->n_groups,
		       ckpt_late_put(q, c->groups, c->n_groups * sizeof(*c->groups)), 0, 0);
	ckpt_late_call(q, "be of a group", SYS_setfsgid, c->gid, 0, 0, 0);
	ckpt_late_call(q, "be a user", SYS_setfsuid, c->uid, 0, 0, 0);
}

void ckpt_opener_return(struct ckpt_late *q, const Ckpt__File *f)
{
	if (!f->opener)
		return;
	ckpt_late_call(q, "be root", SYS_setfsuid, 0, 0, 0, 0);
	ckpt_late_call(q, "be of root's group", SYS_setfsgid, 0, 0, 0, 0);
	ckpt_late_call(q, "have no groups", SYS_setgroups, 0, 0, 0, 0);
}
