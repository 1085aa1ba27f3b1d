/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

int storage_templates_open(const char *lib, struct err *e)
{
	char path[512];
	int r, fd;

	snprintf(path, sizeof(path), "%s/templates", lib);
	r = path_mkdirs_at(AT_FDCWD, path, 0755);
	if (r < 0)
		return err_code(e, r, "make %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	/* The trees hold set-user-id programs of the host's own ids; no user of the host may get
	 * at them. */
	if (fchmod(fd, 0700) < 0) {
		r = err_sys(e, "close %s to others", path);
		close(fd);
		return r;
	}
	return fd;
}

/* A sweep holds the lock on lib/templates, so it cannot come between mkdir and flock. */
static int make_locked(struct staging *s, const char *lib, struct err *e)
{
	if (mkdirat(s->templates, s->name, 0700) < 0) {
		err_sys(e, "make %s/templates/%s", lib, s->name);
		s->name[0] = '\0';
		return err_errno((enum err_status)e->code);
	}
	s->dir = openat(s->templates, s->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0 || flock(s->dir, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, "lock %s/templates/%s", lib, s->name);
	return 0;
}

int storage_staging_open(const char *lib, struct staging *s, struct err *e)
{
	char uuid[37];
	int r;

	*s = (struct staging){ .templates = -EBADF, .dir = -EBADF, .root = -EBADF };
	s->templates = storage_templates_open(lib, e);
	if (s->templates < 0)
		return s->templates;
	r = proc_random_uuid(uuid);
	if (r < 0)
		return err_code(e, r, "name a staging directory");
	snprintf(s->name, sizeof(s->name), ".staging-%s", uuid);
	if (flock(s->templates, LOCK_EX) < 0)
		return err_sys(e, "lock the templates");
	r = make_locked(s, lib, e);
	flock(s->templates, LOCK_UN);
	if (r < 0)
		return r;
	if (mkdirat(s->dir, "rootfs", 0755) < 0)
		return err_sys(e, "make %s/templates/%s/rootfs", lib, s->name);
	s->root = openat(s->dir, "rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root < 0)
		return err_sys(e, "open %s/templates/%s/rootfs", lib, s->name);
	if (fchmod(s->root, 0755) < 0)
		return err_sys(e, "set the mode of %s/templates/%s/rootfs", lib, s->name);
	return 0;
}

void storage_staging_done(struct staging *s)
{
	fd_close(&s->root);
	if (s->templates >= 0 && s->name[0])
		path_remove_tree_at(s->templates, s->name);
	fd_close(&s->dir);
	fd_close(&s->templates);
}

static int write_meta(struct staging *s, const struct storage_template *t, struct err *e)
{
	cleanup_buf struct buf text = { 0 };
	int r = storage_meta_format(t, &text);

	if (r == 0)
		r = fd_replace_file_at(s->dir, "template", text.data, text.len, 0644, true);
	return r < 0 ? err_code(e, r, "write the metadata of template %s", t->name) : 0;
}

/* With lib/templates locked: from the rename to `current` the generation looks unused. */
static int make_current(struct staging *s, const struct storage_template *t, struct err *e)
{
	cleanup_close int dir = -EBADF;
	char line[80];
	int r;

	if (mkdirat(s->templates, t->name, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "make the directory of template %s", t->name);
	dir = openat(s->templates, t->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "open the directory of template %s", t->name);
	if (faccessat(dir, t->digest, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		if (renameat(s->templates, s->name, dir, t->digest) < 0)
			return err_sys(e, "publish template %s", t->name);
		s->name[0] = '\0';
	}
	if (fsync(dir) < 0 || fsync(s->templates) < 0)
		return err_sys(e, "write template %s to the disk", t->name);
	if (s->keep_current && faccessat(dir, "current", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	snprintf(line, sizeof(line), "%s\n", t->digest);
	r = fd_replace_file_at(dir, "current", line, strlen(line), 0644, true);
	return r < 0 ? err_code(e, r, "make template %s current", t->name) : 0;
}

int storage_staging_publish(struct staging *s, struct storage_template *t, struct tell *tell,
			    struct err *e)
{
	cleanup_strv struct strv paths = { 0 };
	int r;

	if ((r = storage_tree_list(s->root, &paths, tell, e)) < 0 ||
	    (r = storage_tree_clean(s->root, &paths, e)) < 0 ||
	    (r = storage_tree_digest(s->root, &paths, tell, t->digest, &t->size, e)) < 0)
		return r;
	if (s->digest && !STREQ(s->digest, t->digest))
		return err_set(e, ERR_USAGE, "template %s: its tree is not what its digest says",
			       t->name);
	t->created = (uint64_t)time(NULL);
	r = write_meta(s, t, e);
	if (r < 0)
		return r;
	r = storage_tell(tell, "sync", 0, 0, e);
	if (r < 0)
		return r;
	if (syncfs(s->root) < 0)
		return err_sys(e, "write template %s to the disk", t->name);
	if (flock(s->templates, LOCK_EX) < 0)
		return err_sys(e, "lock the templates");
	r = make_current(s, t, e);
	flock(s->templates, LOCK_UN);
	return r;
}
