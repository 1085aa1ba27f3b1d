/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The file systems that mounts are of. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/mountfs.h"
#include "checkpoint/mounts_internal.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

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

		if (value) {
			*value++ = '\0';
			ckpt_mountinfo_unescape(value);
		}
		if (ckpt_mountfs_has_option(fs, word))
			n = add_option(d, s, word, value);
	}
	return n;
}

/* From where such a way began the kernel does not tell. */
static bool has_relative_way(const Ckpt__Super *s)
{
	for (size_t i = 0; i < s->n_options; i++) {
		const char *at = (const char *)s->options[i]->value.data;
		char path[4096];

		while (ckpt_mountfs_is_way(s->options[i]->name) &&
		       (at = ckpt_mountfs_next_way(s->options[i]->name, at, path, sizeof(path))))
			if (path[0] && path[0] != '/')
				return true;
	}
	return false;
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

static int open_space(struct ckpt_dump *d, uint32_t space, const struct ckpt_mountinfo *m,
		      struct err *e)
{
	struct opening o = { m->at, -EBADF };
	size_t len = strcspn(m->root, ":");
	int kind = 0, id = ckpt_within(&d->spaces.space[space - 1].fd, 1, open_it, &o, e);

	while (kind < CKPT_SPACE_COUNT &&
	       (strncmp(ckpt_space_types[kind].name, m->root, len) != 0 ||
		ckpt_space_types[kind].name[len]))
		kind++;
	if (id == 0 && kind == CKPT_SPACE_COUNT)
		id = err_set(e, ERR_UNSUPPORTED,
			     "the namespace %s, which is mounted on %s, cannot be saved", m->root,
			     m->at);
	if (id == 0)
		id = ckpt_spaces_add(d, (enum ckpt_space_kind)kind, o.fd, 0, e);
	fd_close(&o.fd);
	return id;
}

static int nsfs_space(struct ckpt_dump *d, uint32_t space, const struct ckpt_mountinfo *m,
		      Ckpt__Super *s, struct err *e)
{
	int id = known_space(d, m->root);

	if (!id)
		id = open_space(d, space, m, e);
	if (id < 0)
		return id;
	s->n_spaces = 1;
	s->spaces = ckpt_alloc(&d->tree.arena, sizeof(*s->spaces));
	if (s->spaces)
		s->spaces[0] = (uint32_t)id;
	return s->spaces ? 0 : err_code(e, -ENOMEM, "collect mounts");
}

/* Such a file system shows what its mounter was in: taken to be what who lives among these
 * mounts is in. */
static int mounter_spaces(struct ckpt_dump *d, uint32_t space, Ckpt__Super *s, struct err *e)
{
	pid_t pid = d->spaces.space[space - 1].pid;
	Ckpt__Thread t;

	if (!pid)
		return 0;
	ckpt__thread__init(&t);
	if (ckpt_spaces_of_thread(d, pid, &t, e) < 0)
		return -EIO;
	s->spaces = t.spaces;
	s->n_spaces = t.n_spaces;
	return 0;
}

/* What /proc shows is told by process 1 in it, when that can be looked at: an fd of its pid namespace, or -EBADF.
 * From outside, and nothing else that lies in the way is believed. */
static int proc_first(const struct ckpt_dump *d, uint32_t space, const struct ckpt_mountinfo *m)
{
	cleanup_close int dir = -EBADF, fd = -EBADF;
	char path[4200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/1/ns", m->at);
	dir = path_open_no_links(ckpt_space_root(d, space), path, O_PATH | O_DIRECTORY, 0, false);
	if (dir < 0 || fstat(dir, &st) < 0 || st.st_dev != m->dev)
		return -EBADF;
	fd = openat(dir, "pid", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWPID ? TAKE_FD(fd) : -EBADF;
}

static int proc_space(struct ckpt_dump *d, uint32_t space, const struct ckpt_mountinfo *m,
		      Ckpt__Super *s, struct err *e)
{
	cleanup_close int first = -EBADF;
	uint32_t main = d->spaces.main[CKPT_SPACE_PID];
	int n = mounter_spaces(d, space, s, e), id = 0;

	if (n == 0 && STREQ(m->root, "/"))
		first = proc_first(d, space, m);
	if (first >= 0)
		id = ckpt_spaces_add(d, CKPT_SPACE_PID, first, 0, e);
	if (n < 0 || id < 0)
		return n < 0 ? n : id;
	if (!s->n_spaces)
		return id && (uint32_t)id != main ?
			       ckpt_mount_refuse(m, e,
						 "which is of a pid namespace that nobody is in") :
			       0;
	if (id)
		s->spaces[CKPT_SPACE_PID] = (uint32_t)id;
	/* It belongs to whom that belongs to, whoever has mounted it. */
	id = (int)s->spaces[CKPT_SPACE_PID];
	s->owner = (uint32_t)id == main ? 0 : d->tree.spaces[id - 1]->owner;
	if (s->owner == d->spaces.main[CKPT_SPACE_USER])
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
			       ckpt_push(&d->tree.arena, &d->tree.supers, &d->tree.super_count,
					 s) == 0 ?
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

int ckpt_super_collect(struct ckpt_dump *d, uint32_t space, struct ckpt_mountinfo *m, uint32_t *ret,
		       struct err *e)
{
	const struct ckpt_mountfs *fs = ckpt_mountfs_find(m->type);
	Ckpt__Super *s;
	int n = 0;
	bool nsfs = STREQ(m->type, "nsfs"); /* all of them in one file system */

	*ret = nsfs ? 0 : find_super(d, m->dev);
	if (*ret)
		return 0;
	if (!fs && !ckpt_mount_is_given(d, space, m) && !is_mask(m))
		return ckpt_mount_refuse(m, e, "which cannot be saved");
	s = new_super(d, m->dev, m->type, m->source);
	if (!s)
		return err_code(e, -ENOMEM, "collect mounts");
	s->contents = fs && fs->contents;
	/* Seen among mounts of a nested user namespace first, it is taken to be its own. */
	if (d->tree.spaces[space - 1]->owner != d->spaces.main[CKPT_SPACE_USER])
		s->owner = d->tree.spaces[space - 1]->owner;
	if (fs && !STREQ(m->at, "/"))
		n = add_options(d, fs, s, m->options);
	if (n < 0)
		return err_code(e, -ENOMEM, "collect mounts");
	if (fs && has_relative_way(s))
		return ckpt_mount_refuse(m, e, "of directories that were given by relative paths, which cannot be saved");
	*ret = (uint32_t)d->tree.super_count;
	if (nsfs)
		return nsfs_space(d, space, m, s, e);
	if (fs && fs->space == CKPT_SPACE_PID)
		return proc_space(d, space, m, s, e);
	return fs && fs->space >= 0 ? mounter_spaces(d, space, s, e) : 0;
}
