/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What an image says of namespaces, mounts and groups: nothing of it is used before it was
 * looked at here. */
#include "base/macro.h"
#include "cgroup/cgroup.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/mountfs.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define MOUNTS_MAX 100000
#define SETTINGS_MAX 1024
#define ATTRIBUTES                                                                      \
	(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | \
	 MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME | 0x00200000 /* NOSYMFOLLOW */)

static int bad(struct err *e, const char *what, uint64_t id)
{
	return err_set(e, ERR_FAIL, "the image is damaged: %s %llu", what, (unsigned long long)id);
}

int ckpt_spaces_take(struct ckpt_tree *t, const struct ckpt_record *rec, void *m, struct err *e)
{
	struct {
		void *list;
		size_t *count, max;
		const char *what;
	} to;
	int r;

	switch (rec->type) {
	case CKPT_REC_SPACE:
		to = (__typeof__(to)){ &t->spaces, &t->space_count, CKPT_SPACES_MAX, "namespace" };
		break;
	case CKPT_REC_SUPER:
		to = (__typeof__(to)){ &t->supers, &t->super_count, MOUNTS_MAX, "file system" };
		break;
	case CKPT_REC_MOUNT:
		to = (__typeof__(to)){ &t->mounts, &t->mount_count, MOUNTS_MAX, "mount" };
		break;
	default:
		to = (__typeof__(to)){ &t->groups, &t->group_count, CGROUP_MAX_DESCENDANTS + 1,
				       "control group" };
	}
	if (rec->id != *to.count + 1 || *to.count >= to.max)
		return bad(e, to.what, rec->id);
	r = ckpt_push(&t->arena, to.list, to.count, m);
	return r < 0 ? err_code(e, r, "read the image") : 0;
}

uint32_t ckpt_space_main(const struct ckpt_tree *t, enum ckpt_space_kind kind)
{
	for (size_t i = 0; i < t->space_count; i++)
		if (t->spaces[i]->kind == kind)
			return (uint32_t)i + 1;
	return 0;
}

const char *ckpt_super_keep(const struct ckpt_tree *t, uint32_t super)
{
	uint32_t main = ckpt_space_main(t, CKPT_SPACE_MNT);
	char path[4096] = "";

	for (uint32_t i = 0; i < t->mount_count; i++)
		if (t->mounts[i]->super == super && t->mounts[i]->space == main &&
		    ckpt_mount_path(t, i + 1, path, sizeof(path)) == 0 && STREQ(path, "/run"))
			return "/host";
	return NULL;
}

/* "" or "/a/b", without "." and "..". */
static bool is_path(const char *p)
{
	if (!*p)
		return true;
	if (strlen(p) >= 4096)
		return false;
	while (*p == '/') {
		size_t len = strcspn(++p, "/");

		if (len == 0 || len > 255 || (len <= 2 && strncmp(p, "..", len) == 0))
			return false;
		p += len;
	}
	return !*p;
}

static bool is_space(const struct ckpt_tree *t, uint32_t id, enum ckpt_space_kind kind)
{
	return id > 0 && id <= t->space_count && t->spaces[id - 1]->kind == kind;
}

/* Images that were made before pid namespaces were saved do without them. */
static bool is_list(size_t n)
{
	return n == CKPT_SPACE_COUNT || n == CKPT_SPACE_PID;
}

static int check_space(const struct ckpt_tree *t, uint32_t id, struct err *e)
{
	const Ckpt__Space *s = t->spaces[id - 1];
	bool main = s->kind < CKPT_SPACE_COUNT && ckpt_space_main(t, s->kind) == id;

	bool in_pid = s->kind == CKPT_SPACE_PID && !main;

	if (s->kind >= CKPT_SPACE_COUNT || main != (s->owner == 0) ||
	    (s->pid_max && (s->pid_max < CKPT_PID_MAX_LEAST || s->pid_max > CKPT_PID_MAX)) ||
	    s->last_number > CKPT_PID_MAX ||
	    in_pid != (s->parent != 0) ||
	    (in_pid && (s->parent >= id || !is_space(t, s->parent, CKPT_SPACE_PID))) ||
	    (!main && (s->owner >= id || !is_space(t, s->owner, CKPT_SPACE_USER))) ||
	    strlen(s->uid_map) > KIB(64) || strlen(s->gid_map) > KIB(64) ||
	    strlen(s->hostname) > 64 || strlen(s->domainname) > 64 || !is_path(s->group) ||
	    s->n_sysctls > SETTINGS_MAX)
		return bad(e, "namespace", id);
	for (size_t i = 0; i < s->n_sysctls; i++)
		if (!ckpt_is_space_sysctl((enum ckpt_space_kind)s->kind, s->sysctls[i]->name) || s->sysctls[i]->value.len > 4096)
			return bad(e, "a sysctl of namespace", id);
	return 0;
}

static int check_super(const struct ckpt_tree *t, uint32_t id, struct err *e)
{
	const Ckpt__Super *s = t->supers[id - 1];
	const struct ckpt_mountfs *fs = ckpt_mountfs_find(s->type);
	bool nsfs = STREQ(s->type, "nsfs");

	if (s->n_options > SETTINGS_MAX || (s->owner && !is_space(t, s->owner, CKPT_SPACE_USER)) ||
	    (s->contents && (!fs || !fs->contents)) || (!fs && s->n_options) ||
	    (nsfs ? s->n_spaces != 1 : s->n_spaces && !is_list(s->n_spaces)))
		return bad(e, "file system", id);
	for (size_t i = 0; i < s->n_options; i++)
		if (!ckpt_mountfs_has_option(fs, s->options[i]->name) ||
		    (s->options[i]->value.len &&
		     s->options[i]->value.data[s->options[i]->value.len - 1]))
			return bad(e, "an option of file system", id);
	for (size_t i = 0; i < s->n_spaces; i++)
		if (nsfs ? s->spaces[i] == 0 || s->spaces[i] > t->space_count :
			   s->spaces[i] && !is_space(t, s->spaces[i], (enum ckpt_space_kind)i))
			return bad(e, "a namespace of file system", id);
	return 0;
}

static int check_mount(const struct ckpt_tree *t, uint32_t id, struct err *e)
{
	const Ckpt__Mount *m = t->mounts[id - 1];
	bool ok = is_space(t, m->space, CKPT_SPACE_MNT) && m->parent < id && m->super > 0 &&
		  m->super <= t->super_count && is_path(m->at) &&
		  !(m->attributes & ~(uint64_t)ATTRIBUTES) &&
		  (!m->parent || t->mounts[m->parent - 1]->space == m->space) &&
		  (m->parent || !m->at[0]) &&
		  (!m->ghost || (m->ghost <= t->ghost_count && t->ghosts[m->ghost - 1]->super == m->super &&
				 !t->ghosts[m->ghost - 1]->hidden));

	if (ok && !STREQ(t->supers[m->super - 1]->type, "nsfs"))
		ok = STREQ(m->root, "/") || (m->root[0] && is_path(m->root));
	return ok ? 0 : bad(e, "mount", id);
}

static int check_group(const struct ckpt_tree *t, uint32_t id, struct err *e)
{
	const Ckpt__Group *g = t->groups[id - 1];
	bool ok = is_path(g->path) && (id == 1) == !g->path[0] && g->n_settings <= SETTINGS_MAX &&
		  g->n_xattrs <= SETTINGS_MAX && g->n_files <= SETTINGS_MAX;

	for (size_t i = 0; ok && i < g->n_settings; i++) {
		const char *name = g->settings[i]->name;

		ok = *name && *name != '.' && !strchr(name, '/') &&
		     g->settings[i]->value.len <= KIB(64) && ckpt_group_is_setting(name) &&
		     (id > 1 || STREQ(name, "cgroup.subtree_control"));
	}
	for (size_t i = 0; ok && i < g->n_files; i++)
		ok = id > 1 && *g->files[i]->name && *g->files[i]->name != '.' &&
		     !strchr(g->files[i]->name, '/');
	return ok ? 0 : bad(e, "control group", id);
}

static int check_entry(const struct ckpt_tree *t, size_t i, struct err *e)
{
	const Ckpt__TmpfsEntry *n = t->tmpfs[i], *of = NULL;

	if (n->shmem && (n->shmem > t->shmem_count || !t->shmems[n->shmem - 1]->tmpfs || !S_ISREG(n->mode) ||
			 n->data.len || n->link || n->size > CKPT_ADDRESS_MAX))
		return bad(e, "what lies in tmpfs, at", i + 1);
	if (n->link && n->link <= i)
		of = t->tmpfs[n->link - 1];
	if (n->super == 0 || n->super > t->super_count || !t->supers[n->super - 1]->contents ||
	    !is_path(n->path) || (!n->path[0] && !S_ISDIR(n->mode)) || n->n_xattrs > SETTINGS_MAX ||
	    (n->link &&
	     (!of || of->link || of->super != n->super || S_ISDIR(of->mode) || !of->path[0])))
		return bad(e, "what lies in tmpfs, at", i + 1);
	return 0;
}

static int check_thread(const struct ckpt_tree *t, const Ckpt__Thread *th, struct err *e)
{
	bool ok = (t->space_count ? is_list(th->n_spaces) : !th->n_spaces) &&
		  th->group <= t->group_count &&
		  (!th->n_outer_uids || (th->n_outer_uids == 4 && th->n_outer_gids == 4)) &&
		  th->n_outer_groups <= CKPT_GROUPS_MAX;

	for (size_t i = 0; ok && i < th->n_spaces; i++)
		ok = !th->spaces[i] || is_space(t, th->spaces[i], (enum ckpt_space_kind)i);
	if (ok && th->time_children)
		ok = th->n_spaces && is_space(t, th->time_children, CKPT_SPACE_TIME) &&
		     th->time_children != ckpt_space_main(t, CKPT_SPACE_TIME) &&
		     th->time_children != th->spaces[CKPT_SPACE_TIME];
	return ok ? 0 : bad(e, "namespaces of thread", th->tid);
}

bool ckpt_space_is_mnt(const struct ckpt_tree *t, uint32_t id)
{
	return !id || is_space(t, id, CKPT_SPACE_MNT);
}

static int check_task(const struct ckpt_tree *t, const struct ckpt_task *k, struct err *e)
{
	int r = 0;

	if (!ckpt_space_is_mnt(t, k->process->cwd_space) || !ckpt_space_is_mnt(t, k->process->root_space) ||
	    !ckpt_space_is_mnt(t, k->mm->exe_space))
		return bad(e, "places of process", k->process->pid);
	for (size_t i = 0; i < k->mm->n_area; i++)
		if (!ckpt_space_is_mnt(t, k->mm->area[i]->space))
			return bad(e, "memory area at", k->mm->area[i]->start);
	for (size_t i = 0; r == 0 && i < k->thread_count; i++)
		r = check_thread(t, k->threads[i], e);
	return r;
}

int ckpt_spaces_check(const struct ckpt_tree *t, struct err *e)
{
	const Ckpt__Thread *first = t->tasks[0].threads[0];
	int r = 0;

	for (uint32_t i = 1; r == 0 && i <= t->space_count; i++)
		r = check_space(t, i, e);
	for (uint32_t i = 1; r == 0 && i <= t->super_count; i++)
		r = check_super(t, i, e);
	for (uint32_t i = 1; r == 0 && i <= t->mount_count; i++)
		r = check_mount(t, i, e);
	for (uint32_t i = 1; r == 0 && i <= t->group_count; i++)
		r = check_group(t, i, e);
	for (size_t i = 0; r == 0 && i < t->tmpfs_count; i++)
		r = check_entry(t, i, e);
	for (size_t i = 0; r == 0 && i < t->task_count; i++)
		r = check_task(t, &t->tasks[i], e);
	for (size_t i = 0; r == 0 && i < t->file_count; i++)
		if ((t->files[i]->net && !is_space(t, t->files[i]->net, CKPT_SPACE_NET)) ||
		    (!ckpt_space_is_mnt(t, t->files[i]->space) &&
		     !is_space(t, t->files[i]->space, CKPT_SPACE_NET)) ||
		    (t->files[i]->socket && t->files[i]->socket->local &&
		     !ckpt_space_is_mnt(t, t->files[i]->socket->local->space)))
			r = bad(e, "namespace of file", i + 1);
	for (size_t i = 0; r == 0 && i < t->ghost_count; i++)
		if (!ckpt_space_is_mnt(t, t->ghosts[i]->space) || t->ghosts[i]->super > t->super_count ||
		    t->ghosts[i]->mount > t->mount_count ||
		    (t->ghosts[i]->hidden && !t->ghosts[i]->mount == !t->ghosts[i]->super))
			r = bad(e, "namespace of deleted file", i + 1);
	for (size_t i = 0; r == 0 && i < first->n_spaces; i++)
		if (first->spaces[i] != ckpt_space_main(t, (enum ckpt_space_kind)i))
			r = bad(e, "namespaces of process", 1);
	return r == 0 ? ckpt_pidspaces_check(t, e) : r;
}
