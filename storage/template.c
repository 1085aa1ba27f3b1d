/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/proc.h"

#include <fcntl.h>
#include <sys/file.h>

#define META_MAX 16384
#define STAGING_PREFIX ".staging-"

static bool digest_is_valid(const char *s)
{
	return strspn(s, "0123456789abcdef") == 64 && s[64] == '\0';
}

static bool is_staging(const char *name)
{
	return strncmp(name, STAGING_PREFIX, strlen(STAGING_PREFIX)) == 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The entries of a directory, sorted. */
static int list_dir(int dirfd, const char *name, struct strv *names)
{
	cleanup_closedir DIR *dir = path_opendir_at(dirfd, name);
	struct dirent *d;

	if (!dir)
		return -errno;
	while ((d = readdir(dir)))
		if (!STREQ(d->d_name, ".") && !STREQ(d->d_name, "..") &&
		    strv_add(names, d->d_name) < 0)
			return -ENOMEM;
	if (names->count)
		qsort(names->item, names->count, sizeof(*names->item), by_name);
	return 0;
}

/* lib/templates as it is; -ENOENT when no template was ever made. */
static int open_templates(const char *lib)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/templates", lib);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The digest of the current generation of `name`; -ENOENT when there is none. */
static int read_current(int templates, const char *name, char digest[65])
{
	cleanup_free char *text = NULL;
	char path[128];
	int r;

	snprintf(path, sizeof(path), "%s/current", name);
	r = fd_read_file_at(templates, path, 128, &text, NULL);
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	if (!digest_is_valid(text))
		return -EBADMSG;
	memcpy(digest, text, 65);
	return 0;
}

static int not_found(int templates, const char *name, struct err *e)
{
	cleanup_strv struct strv names = { 0 };
	char list[200] = "", digest[65];
	size_t len = 0;

	err_set(e, ERR_NOT_FOUND, "template %s: not found", name);
	if (templates >= 0)
		list_dir(templates, ".", &names);
	for (size_t i = 0; i < names.count && len < sizeof(list); i++)
		if (name_is_valid(names.item[i]) &&
		    read_current(templates, names.item[i], digest) == 0)
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
						len ? ", " : "", names.item[i]);
	if (!len)
		return err_hint(e, "there is none yet; `vps template build` makes one");
	return err_hint(e, "there are: %s", list);
}

static int load(int templates, const char *name, const char *digest, struct storage_template *ret,
		struct err *e)
{
	cleanup_free char *text = NULL;
	char path[160], where[224];
	int r;

	*ret = (struct storage_template){ 0 };
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	snprintf(ret->digest, sizeof(ret->digest), "%s", digest);
	snprintf(path, sizeof(path), "%s/%s/template", name, digest);
	r = fd_read_file_at(templates, path, META_MAX, &text, NULL);
	if (r == -ENOENT)
		return err_set(e, ERR_NOT_FOUND, "template %s: generation %.12s is not there", name,
			       digest);
	if (r < 0)
		return err_code(e, r, "read the metadata of template %s", name);
	snprintf(where, sizeof(where), "templates/%s", path);
	return storage_meta_parse(text, where, ret, e);
}

int storage_template_find(const char *lib, const char *name, const char *digest,
			  struct storage_template *ret, struct err *e)
{
	cleanup_close int templates = -EBADF;
	char current[65];
	int r;

	if (!name_is_valid(name))
		return err_set(e, ERR_USAGE, "template %.80s: not a name", name);
	if (digest && !digest_is_valid(digest))
		return err_set(e, ERR_USAGE, "template %s: %.80s is not a digest", name, digest);
	templates = open_templates(lib);
	if (templates < 0 && templates != -ENOENT)
		return err_code(e, templates, "open %s/templates", lib);
	if (!digest) {
		r = templates < 0 ? -ENOENT : read_current(templates, name, current);
		if (r == -ENOENT || r == -ENOTDIR)
			return not_found(templates, name, e);
		if (r < 0)
			return err_code(e, r, "read which generation of template %s is current",
					name);
		digest = current;
	} else if (templates < 0) {
		return not_found(templates, name, e);
	}
	return load(templates, name, digest, ret, e);
}

const char *storage_template_rootfs(const char *lib, const struct storage_template *t, char *buf,
				    size_t size)
{
	snprintf(buf, size, "%s/templates/%s/%s/rootfs", lib, t->name, t->digest);
	return buf;
}

int storage_template_list(const char *lib, struct storage_template **ret, size_t *ret_count,
			  struct err *e)
{
	cleanup_close int templates = open_templates(lib);
	cleanup_strv struct strv names = { 0 };
	cleanup_free struct storage_template *list = NULL;
	size_t count = 0;
	int r;

	*ret = NULL;
	*ret_count = 0;
	if (templates == -ENOENT)
		return 0;
	r = templates < 0 ? templates : list_dir(templates, ".", &names);
	if (r < 0)
		return err_code(e, r, "list %s/templates", lib);
	list = calloc(names.count + 1, sizeof(*list));
	if (!list)
		return err_code(e, -ENOMEM, "list %s/templates", lib);
	for (size_t i = 0; i < names.count; i++) {
		char digest[65];
		struct err bad;

		if (!name_is_valid(names.item[i]))
			continue;
		r = read_current(templates, names.item[i], digest);
		if (r == -ENOENT)
			continue;
		if (r < 0) {
			log_warn("template %s: `current` names no generation", names.item[i]);
			continue;
		}
		if (load(templates, names.item[i], digest, &list[count], &bad) < 0)
			log_warn("%s", bad.msg);
		else
			count++;
	}
	*ret = TAKE_PTR(list);
	*ret_count = count;
	return 0;
}

/* Takes a tree out of the catalogue by one rename, so that no half of it is ever found there, and
 * then removes it. */
static int discard(int templates, int dirfd, const char *name)
{
	char uuid[37], moved[64];
	int r = proc_random_uuid(uuid);

	if (r < 0)
		return r;
	snprintf(moved, sizeof(moved), STAGING_PREFIX "%s", uuid);
	if (renameat(dirfd, name, templates, moved) < 0)
		return -errno;
	return path_remove_tree_at(templates, moved);
}

int storage_template_remove(const char *lib, const char *name, const char *const *used,
			    struct err *e)
{
	cleanup_close int templates = -EBADF;
	size_t len = strlen(name);
	int r;

	if (!name_is_valid(name))
		return err_set(e, ERR_USAGE, "template %.80s: not a name", name);
	for (size_t i = 0; used && used[i]; i++)
		if (strncmp(used[i], name, len) == 0 && used[i][len] == '/') {
			err_set(e, ERR_STATE, "template %s: in use", name);
			return err_hint(e, "vps list -o name,template says by whom");
		}
	templates = open_templates(lib);
	if (templates < 0 && templates != -ENOENT)
		return err_code(e, templates, "open %s/templates", lib);
	if (templates < 0 || faccessat(templates, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return not_found(templates, name, e);
	if (flock(templates, LOCK_EX) < 0)
		return err_sys(e, "lock the templates");
	r = discard(templates, templates, name);
	return r < 0 ? err_code(e, r, "remove template %s", name) : 0;
}

/* A staging directory is somebody's while it is locked. */
static int sweep_staging(int templates, const char *name)
{
	cleanup_close int dir =
		openat(templates, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir >= 0 && flock(dir, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : -errno;
	return path_remove_tree_at(templates, name);
}

static bool is_used(const char *const *used, const char *name, const char *digest)
{
	char both[160];

	snprintf(both, sizeof(both), "%s/%s", name, digest);
	for (size_t i = 0; used && used[i]; i++)
		if (STREQ(used[i], both))
			return true;
	return false;
}

static int sweep_template(int templates, const char *name, const char *const *used)
{
	cleanup_strv struct strv generations = { 0 };
	cleanup_close int dir = -EBADF;
	char current[65] = "";
	int r = read_current(templates, name, current);

	/* Better to keep too much than to remove what a damaged file no longer names. */
	if (r < 0 && r != -ENOENT)
		return r;
	dir = openat(templates, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	r = list_dir(dir, ".", &generations);
	for (size_t i = 0; r == 0 && i < generations.count; i++) {
		const char *digest = generations.item[i];

		if (digest_is_valid(digest) && !STREQ(digest, current) &&
		    !is_used(used, name, digest))
			r = discard(templates, dir, digest);
	}
	if (!current[0])
		unlinkat(templates, name, AT_REMOVEDIR); /* fails unless it is empty */
	return r;
}

int storage_template_sweep(const char *lib, const char *const *used, struct err *e)
{
	cleanup_close int templates = open_templates(lib);
	cleanup_strv struct strv names = { 0 };
	int r, first = 0;

	if (templates == -ENOENT)
		return 0;
	r = templates < 0 ? templates : list_dir(templates, ".", &names);
	if (r < 0)
		return err_code(e, r, "list %s/templates", lib);
	if (flock(templates, LOCK_EX) < 0)
		return err_sys(e, "lock the templates");
	for (size_t i = 0; i < names.count; i++) {
		const char *name = names.item[i];

		r = is_staging(name) ? sweep_staging(templates, name) :
		    name_is_valid(name) ? sweep_template(templates, name, used) : 0;
		if (r < 0 && first == 0)
			first = err_code(e, r, "sweep %s/templates/%s", lib, name);
	}
	return first;
}
