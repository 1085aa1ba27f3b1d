/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/rawcall.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/image.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define WARM_NS 2000000 /* less than a grace period lasts */
#define WARM_MOST 500
#define STACK 16384

/* The directory of a group; its path has been checked, and this file system has no links. */
static int open_group(int root, const Ckpt__Group *g, struct err *e)
{
	int fd = g->path[0] ?
			 path_open_no_links(root, g->path + 1, O_RDONLY | O_DIRECTORY, 0, true) :
			 openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_code(e, fd, "open the control group %s", g->path) : fd;
}

static const Ckpt__Setting *find(const Ckpt__Group *g, const char *name)
{
	for (size_t i = 0; i < g->n_settings; i++)
		if (STREQ(g->settings[i]->name, name))
			return g->settings[i];
	return NULL;
}

static bool says(const Ckpt__Setting *s, const char *text)
{
	size_t len = strlen(text);

	return s && s->value.len >= len && memcmp(s->value.data, text, len) == 0;
}

static int set_owners(int dir, const Ckpt__Group *g, const char *prefix, struct err *e)
{
	for (size_t i = 0; i < g->n_files; i++) {
		const Ckpt__GroupFile *f = g->files[i];

		if (strncmp(f->name, prefix, strlen(prefix)) == 0 &&
		    (fchownat(dir, f->name, f->uid, f->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		     fchmodat(dir, f->name, f->mode & 07777, 0) < 0))
			return err_sys(e, "give %s of the control group %s its owner", f->name, g->path);
	}
	return 0;
}

static int make_one(int root, const Ckpt__Group *g, struct err *e)
{
	cleanup_close int dir = -EBADF;

	if (mkdirat(root, g->path + 1, 0755) < 0)
		return err_sys(e, "make the control group %s", g->path);
	dir = open_group(root, g, e);
	if (dir < 0)
		return dir;
	if (fchown(dir, g->uid, g->gid) < 0 || fchmod(dir, g->mode & 07777) < 0)
		return err_sys(e, "give the control group %s its owner", g->path);
	for (size_t i = 0; i < g->n_xattrs; i++) {
		const Ckpt__Setting *x = g->xattrs[i];

		if (fsetxattr(dir, x->name, x->value.data, x->value.len, 0) < 0)
			return err_sys(e, "set %s of the control group %s", x->name, g->path);
	}
	/* Those that are there already, which files are opened by (opener.h). */
	if (set_owners(dir, g, "cgroup.", e) < 0)
		return -EPERM;
	/* The only type that is asked for; the others follow from it. */
	if (says(find(g, "cgroup.type"), "threaded") &&
	    fd_write_file_at(dir, "cgroup.type", "threaded") < 0)
		return err_sys(e, "make the control group %s threaded", g->path);
	return 0;
}

int ckpt_groups_make(const struct ckpt_tree *t, int root, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < t->group_count; i++)
		if (t->groups[i]->path[0])
			n = make_one(root, t->groups[i], e);
	return n;
}

struct ckpt_warm {
	pid_t pid;
	int fd, len;
	char text[16];
	_Alignas(16) uint8_t stack[STACK];
};

/* Another thread group of the same memory: bare system calls, as errno is that of who goes on meanwhile. */
static int stay_warm(void *arg)
{
	const struct ckpt_warm *w = arg;
	struct timespec ts = { 0, WARM_NS };

	/* Process 1, to where it is. With an end for one whose parent dies. */
	for (int i = 0; i < WARM_MOST && SYS(pwrite64, w->fd, w->text, w->len, 0) == w->len; i++)
		SYS(nanosleep, &ts, 0);
	SYS(exit_group, 0);
	return 0;
}

struct ckpt_warm *ckpt_groups_warm(const struct ckpt_tree *t, int group, pid_t init)
{
	struct ckpt_warm *w = t->group_count > 1 ? malloc(sizeof(*w)) : NULL;

	if (!w)
		return NULL;
	w->len = snprintf(w->text, sizeof(w->text), "%d", (int)init);
	w->fd = openat(group, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	w->pid = w->fd < 0 ? -1 : clone(stay_warm, w->stack + STACK, CLONE_VM | SIGCHLD, w);
	if (w->fd >= 0)
		close(w->fd); /* it has its own, of this number */
	if (w->pid > 0)
		return w;
	free(w);
	return NULL;
}

void ckpt_groups_await(struct ckpt_warm *w)
{
	if (!w)
		return;
	kill(w->pid, SIGKILL);
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	free(w);
}

struct work {
	const struct ckpt_tree *tree;
	int group;
};

static int move(const struct work *w, uint32_t group, const char *file, pid_t task, struct err *e)
{
	const Ckpt__Group *g = w->tree->groups[group - 1];
	cleanup_close int dir = open_group(w->group, g, e);
	char text[16];
	int n;

	if (dir < 0)
		return dir;
	snprintf(text, sizeof(text), "%d", (int)task);
	n = fd_write_file_at(dir, file, text);
	return n < 0 ? err_code(e, n, "put task %d into the control group %s", (int)task, g->path) :
		       0;
}

static int place(void *arg, struct err *e)
{
	const struct work *w = arg;
	int n = 0;

	for (size_t i = 0; n == 0 && i < w->tree->task_count; i++) {
		const struct ckpt_task *k = &w->tree->tasks[i];

		if (k->threads[0]->group > 1) /* born in the first */
			n = move(w, k->threads[0]->group, "cgroup.procs", k->pid, e);
	}
	return n;
}

static int place_threads(void *arg, struct err *e)
{
	const struct work *w = arg;
	int n = 0;

	for (size_t i = 0; n == 0 && i < w->tree->task_count; i++) {
		const struct ckpt_task *k = &w->tree->tasks[i];

		for (size_t j = 1; n == 0 && j < k->thread_count; j++)
			if (k->threads[j]->group && k->threads[j]->group != k->threads[0]->group)
				n = move(w, k->threads[j]->group, "cgroup.threads", k->tids[j], e);
	}
	return n;
}

/* Where all are in the VPS's own group, which has its settings from the host, there is nothing to do. */
static bool has_more(const struct ckpt_tree *t)
{
	return t->group_count > 1;
}

int ckpt_groups_place(const struct ckpt_tree *t, int group, int user, struct err *e)
{
	struct work w = { t, group };

	return has_more(t) ? ckpt_within(&user, 1, place, &w, e) : 0;
}

int ckpt_groups_place_threads(const struct ckpt_tree *t, int group, int user, struct err *e)
{
	struct work w = { t, group };

	return has_more(t) ? ckpt_within(&user, 1, place_threads, &w, e) : 0;
}

/* "+cpu" for each controller; one that this host does not have there is an error. */
static int enable(int dir, const Ckpt__Group *g, const char *value, struct err *e)
{
	cleanup_free char *copy = strdup(value);
	char *save = NULL, text[64];

	for (char *w = copy ? strtok_r(copy, " \n", &save) : NULL; w;
	     w = strtok_r(NULL, " \n", &save)) {
		int n;

		snprintf(text, sizeof(text), "+%.60s", w);
		n = fd_write_file_at(dir, "cgroup.subtree_control", text);
		if (n < 0)
			return err_code(e, n, "give the groups below %s the controller %s",
					g->path[0] ? g->path : "/", w);
	}
	return copy ? 0 : err_code(e, -ENOMEM, "restore control groups");
}

static int enable_all(void *arg, struct err *e)
{
	const struct work *w = arg;
	int n = 0;

	for (size_t i = 0; n == 0 && i < w->tree->group_count; i++) {
		const Ckpt__Group *g = w->tree->groups[i];
		const Ckpt__Setting *s = find(g, "cgroup.subtree_control");
		cleanup_free char *value =
			s && s->value.len ? strndup((const char *)s->value.data, s->value.len) : NULL;
		cleanup_close int dir = -EBADF;

		if (!s || !s->value.len)
			continue;
		if (!value)
			return err_code(e, -ENOMEM, "restore control groups");
		dir = open_group(w->group, g, e);
		n = dir < 0 ? dir : enable(dir, g, value, e);
	}
	return n;
}

static bool has_controllers(const struct ckpt_tree *t)
{
	bool any = false;

	for (size_t i = 0; i < t->group_count; i++) {
		const Ckpt__Setting *s = find(t->groups[i], "cgroup.subtree_control");

		any = any || (s && s->value.len);
	}
	return any;
}

int ckpt_groups_enable(const struct ckpt_tree *t, int group, int user, struct err *e)
{
	struct work w = { t, group };

	return has_controllers(t) ? ckpt_within(&user, 1, enable_all, &w, e) : 0;
}

/* Line by line, as such files are written; "" is an empty list. */
static int write_lines(int dir, const char *name, const char *value)
{
	cleanup_free char *copy = strdup(value);
	char *save = NULL, *line;
	int n = 0;

	if (!copy)
		return -ENOMEM;
	line = strtok_r(copy, "\n", &save);
	if (!line)
		return fd_write_file_at(dir, name, "\n");
	for (; n == 0 && line; line = strtok_r(NULL, "\n", &save))
		n = fd_write_file_at(dir, name, line);
	return n;
}

static int set_one(int dir, const Ckpt__Group *g, const Ckpt__Setting *s, struct err *e)
{
	/* An empty one has no data. */
	cleanup_free char *now = NULL,
			  *value = strndup(s->value.len ? (const char *)s->value.data : "",
					   s->value.len);
	int n;

	if (!value)
		return err_code(e, -ENOMEM, "restore control groups");
	if (STREQ(s->name, "cgroup.type") || STREQ(s->name, "cgroup.subtree_control"))
		return 0;
	n = fd_read_file_at(dir, s->name, KIB(64), &now, NULL);
	if (n == 0 && STREQ(now, value))
		return 0;
	n = write_lines(dir, s->name, value);
	return n < 0 ? err_code(e, n, "set %s of the control group %s", s->name, g->path) : 0;
}

static int set(void *arg, struct err *e)
{
	const struct work *w = arg;
	int n = 0;

	for (size_t i = 0; n == 0 && i < w->tree->group_count; i++) {
		const Ckpt__Group *g = w->tree->groups[i];
		cleanup_close int dir = open_group(w->group, g, e);

		n = dir < 0 ? dir : 0;
		for (size_t k = 0; n == 0 && k < g->n_settings; k++)
			n = set_one(dir, g, g->settings[k], e);
		if (n == 0)
			n = set_owners(dir, g, "", e);
	}
	return n;
}

int ckpt_groups_set(const struct ckpt_tree *t, int group, int user, struct err *e)
{
	struct work w = { t, group };

	return has_more(t) ? ckpt_within(&user, 1, set, &w, e) : 0;
}

static int freeze(void *arg, struct err *e)
{
	const struct work *w = arg;
	int n = 0;

	for (size_t i = 1; n == 0 && i < w->tree->group_count; i++) {
		const Ckpt__Group *g = w->tree->groups[i];
		cleanup_close int dir = g->frozen ? open_group(w->group, g, e) : -EBADF;

		if (!g->frozen)
			continue;
		n = dir < 0 ? dir : fd_write_file_at(dir, "cgroup.freeze", "1");
		if (dir >= 0 && n < 0)
			err_code(e, n, "freeze the control group %s", g->path);
	}
	return n;
}

int ckpt_groups_stir(int group, struct err *e)
{
	int n = fd_write_file_at(group, "cgroup.freeze", "1");

	if (n == 0)
		n = fd_write_file_at(group, "cgroup.freeze", "0");
	return n < 0 ? err_code(e, n, "tell of the control groups") : 0;
}

int ckpt_groups_freeze(const struct ckpt_tree *t, int group, int user, struct err *e)
{
	struct work w = { t, group };
	bool any = false;

	for (size_t i = 0; i < t->group_count; i++)
		any |= t->groups[i]->frozen;
	return any ? ckpt_within(&user, 1, freeze, &w, e) : 0;
}
