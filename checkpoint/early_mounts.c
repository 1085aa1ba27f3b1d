/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A tmpfs of the tenant's own (/tmp of a systemd), which is filled before it is known how it is mounted: made by process 1,
 * so that it is the VPS's, and mounted nowhere. The restore takes that very one into its workshop.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_early.h"
#include "checkpoint/restore_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#define MOUNTS_MAX 64
#define SOURCE "tmpfs" /* as nearly all have it: it cannot be changed afterwards */

/* A failure is none: 1. */
static int make(struct restore *r, struct early *first, int *ret_its, struct list *l, struct err *e)
{
	int fs, n;

	list_init(l, r);
	list_call(l, NULL, SYS_fsopen, list_put(l, "tmpfs", sizeof("tmpfs")), FSOPEN_CLOEXEC, 0, 0, 0, 0);
	n = list_run(l, &first->p.batch, &first->p.threads[0], e);
	fs = n < 0 ? -1 : (int)l->calls[0].ret;
	if (fs < 0)
		return n < 0 ? n : 1;
	list_init(l, r);
	list_call(l, NULL, SYS_fsconfig, (uint64_t)fs, FSCONFIG_SET_STRING, list_put(l, "source", sizeof("source")),
		  list_put(l, SOURCE, sizeof(SOURCE)), 0, 0);
	list_call(l, NULL, SYS_fsconfig, (uint64_t)fs, FSCONFIG_CMD_CREATE, 0, 0, 0, 0);
	list_call(l, NULL, SYS_fsmount, (uint64_t)fs, FSMOUNT_CLOEXEC, 0, 0, 0, 0);
	list_call(l, NULL, SYS_close, (uint64_t)fs, 0, 0, 0, 0, 0);
	n = list_run(l, &first->p.batch, &first->p.threads[0], e);
	*ret_its = n < 0 ? -1 : (int)l->calls[2].ret;
	return n < 0 ? n : *ret_its < 0;
}

int early_mount_open(struct restore *r, struct early *first, const char *place, int *ret_its, struct list *l,
		     struct err *e)
{
	struct early_set *s = r->early;
	struct early_mount *grown;
	int n, fd;
	char *at;

	for (size_t i = 0; i < s->mount_count; i++)
		if (STREQ(s->mounts[i].place, place)) {
			*ret_its = s->mounts[i].its;
			return 0;
		}
	n = s->mount_count < MOUNTS_MAX ? make(r, first, ret_its, l, e) : 1;
	if (n)
		return n;
	fd = early_take_fd(first, *ret_its, e);
	if (fd < 0)
		return fd;
	at = strdup(place);
	grown = at ? reallocarray(s->mounts, s->mount_count + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		free(at);
		close(fd);
		return err_code(e, -ENOMEM, "restore files");
	}
	s->mounts = grown;
	grown[s->mount_count++] = (struct early_mount){ at, fd, *ret_its };
	return 0;
}

void early_mounts_done(struct early_set *s)
{
	for (size_t i = 0; i < s->mount_count; i++) {
		free(s->mounts[i].place);
		fd_close(&s->mounts[i].fd);
	}
	free(s->mounts);
}

/* In the VPS, as its root. */
static int reconfigure(int mount, const Ckpt__Super *s)
{
	cleanup_close int fs = (int)syscall(SYS_fspick, mount, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
	struct err ignored;

	return fs >= 0 && workshop_configure(fs, s, true, &ignored) == 0 &&
			       fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) == 0
		       ? 0 : -1;
}

static bool is_of_roots(const Ckpt__Setting *o)
{
	return o->value.len && o->value.data[0] == '0' && (o->value.len == 1 || o->value.data[1] == '\0');
}

/* Its root is another's, or has a mode: that only who makes it can set (tmpfs(5)). */
static bool has_root(const Ckpt__Super *s)
{
	for (size_t i = 0; i < s->n_options; i++) {
		const Ckpt__Setting *o = s->options[i];

		if (STREQ(o->name, "mode") || ((STREQ(o->name, "uid") || STREQ(o->name, "gid")) && !is_of_roots(o)))
			return true;
	}
	return false;
}

int early_mount_anchor(const struct mounting *m, uint32_t super)
{
	const Ckpt__Super *s = m->tree->supers[super - 1];
	const struct early_set *set = m->r->early;

	if (!set || !s->place[0] || s->owner || has_root(s) || !STREQ(s->type, "tmpfs") || !STREQ(s->source, SOURCE))
		return -EBADF;
	for (size_t i = 0; i < set->mount_count; i++)
		if (STREQ(set->mounts[i].place, s->place) && reconfigure(set->mounts[i].fd, s) == 0)
			return fcntl(set->mounts[i].fd, F_DUPFD_CLOEXEC, 3);
	return -EBADF;
}
