/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"

#include <fcntl.h>
#include <sys/stat.h>

int storage_tell(struct tell *tell, const char *stage, uint64_t done, uint64_t total,
		 struct err *e)
{
	uint64_t now;

	if (!tell->fn)
		return 0;
	now = now_monotonic_us();
	if (STREQ(tell->stage, stage) && now < tell->next_us)
		return 0;
	snprintf(tell->stage, sizeof(tell->stage), "%s", stage);
	tell->next_us = now + 100000;
	if (tell->fn(tell->ctx, stage, done, total) == 0)
		return 0;
	return err_set(e, ERR_CANCELLED, "cancelled");
}

static bool is_below_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

bool storage_xattr_kept(const char *name)
{
	return STREQ(name, "security.capability") || STREQ(name, "system.posix_acl_access") ||
	       STREQ(name, "system.posix_acl_default") || is_below_prefix(name, "user.");
}


static int add_path(struct strv *paths, const char *dir, const char *name, struct err *e)
{
	char path[TEMPLATE_PATH_MAX + 1];
	int n = snprintf(path, sizeof(path), "%s%s%s", dir, dir[0] ? "/" : "", name);

	if (n < 0 || (size_t)n >= sizeof(path))
		return err_set(e, ERR_USAGE, "%.200s…: the path has more than %d bytes", dir,
			       TEMPLATE_PATH_MAX);
	if (paths->count >= TEMPLATE_ENTRIES_MAX)
		return err_set(e, ERR_USAGE, "the tree has more than %d entries",
			       TEMPLATE_ENTRIES_MAX);
	return strv_add(paths, path) < 0 ? err_code(e, -ENOMEM, "list the tree") : 0;
}

/* Adds what is in the directory `path` ("": the top). Not a directory: nothing to add. */
static int list_one(int rootfd, const char *path, struct strv *paths, struct err *e)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *d;
	int fd;

	fd = path_open_no_links(rootfd, path[0] ? path : ".",
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK, 0, true);
	if (fd == -EXDEV && path[0])
		return 0;
	if (fd < 0)
		return err_code(e, fd, "open %s", path[0] ? path : "the tree");
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return err_code(e, -ENOMEM, "list %s", path);
	}
	while ((d = readdir(dir))) {
		int r;

		if (STREQ(d->d_name, ".") || STREQ(d->d_name, ".."))
			continue;
		r = add_path(paths, path, d->d_name, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int storage_tree_list(int rootfd, struct strv *paths, struct tell *tell, struct err *e)
{
	struct parent_cache cache = { .fd = -EBADF };
	int r = list_one(rootfd, "", paths, e);

	/* The list is its own queue: breadth first, and no directory stays open. */
	for (size_t i = 0; r == 0 && i < paths->count; i++) {
		const char *name;
		struct stat st;
		int parent;

		parent = storage_parent(&cache, rootfd, paths->item[i], &name, e);
		if (parent < 0)
			r = parent;
		else if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			r = err_sys(e, "look at %s", paths->item[i]);
		else if (S_ISDIR(st.st_mode))
			r = list_one(rootfd, paths->item[i], paths, e);
		if (r == 0 && i % 1024 == 0)
			r = storage_tell(tell, "list", 0, 0, e);
	}
	storage_parent_done(&cache);
	return r;
}

int storage_parent(struct parent_cache *c, int rootfd, const char *path, const char **ret_name,
		   struct err *e)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	int fd;

	*ret_name = slash ? slash + 1 : path;
	if (c->fd >= 0 && strlen(c->path) == len && memcmp(c->path, path, len) == 0)
		return c->fd;
	storage_parent_done(c);
	if (len >= sizeof(c->path))
		return err_code(e, -ENAMETOOLONG, "open the directory of %.200s…", path);
	memcpy(c->path, path, len);
	c->path[len] = '\0';
	fd = path_open_no_links(rootfd, len ? c->path : ".",
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK, 0, true);
	if (fd < 0)
		return err_code(e, fd, "open %s", len ? c->path : "the tree");
	c->fd = fd;
	return fd;
}

void storage_parent_done(struct parent_cache *c)
{
	fd_close(&c->fd);
}

/* 1: it stays, 0: it was removed. */
static int clean_one(int parent, const char *name, const char *path, struct err *e)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "look at %s", path);
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) || S_ISSOCK(st.st_mode)) {
		if (unlinkat(parent, name, 0) < 0)
			return err_sys(e, "remove %s", path);
		return 0;
	}
	if (st.st_uid > TEMPLATE_ID_MAX || st.st_gid > TEMPLATE_ID_MAX)
		return err_set(e, ERR_USAGE, "%s: its owner %u:%u is past %u", path, st.st_uid,
			       st.st_gid, TEMPLATE_ID_MAX);
	return 1;
}

int storage_tree_clean(int rootfd, struct strv *paths, struct err *e)
{
	struct parent_cache cache = { .fd = -EBADF };
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < paths->count; i++) {
		if (r >= 0) {
			const char *name;

			r = storage_parent(&cache, rootfd, paths->item[i], &name, e);
			if (r >= 0)
				r = clean_one(r, name, paths->item[i], e);
		}
		if (r == 0)
			free(paths->item[i]);
		else
			paths->item[kept++] = paths->item[i];
	}
	paths->count = kept;
	storage_parent_done(&cache);
	return r < 0 ? r : 0;
}
