/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/path.h"

#include <fcntl.h>
#include <sys/stat.h>

/* The names of the folders of templates/ that have a build script. */
static void list_sources(char *list, size_t size)
{
	struct dirent **entries;
	char path[4096];
	size_t len = 0;
	int n;

	list[0] = '\0';
	if (path_data("templates", path, sizeof(path)) < 0)
		return;
	n = scandir(path, &entries, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;
		char script[4400];

		snprintf(script, sizeof(script), "%s/%s/build", path, name);
		if (len < size && name_is_valid(name) && access(script, X_OK) == 0)
			len += (size_t)snprintf(list + len, size - len, "%s%s", len ? ", " : "",
						name);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

static int find_source(const char *source, char *dir, size_t size, struct err *e)
{
	char name[128], script[4200], list[200];

	if (name_is_valid(source)) {
		snprintf(name, sizeof(name), "templates/%s", source);
		if (path_data(name, dir, size) == 0) {
			snprintf(script, sizeof(script), "%s/build", dir);
			if (access(script, X_OK) == 0)
				return 0;
		}
	}
	err_set(e, ERR_NOT_FOUND, "template source %.80s: not found", source);
	list_sources(list, sizeof(list));
	return err_hint(e, "there are: %s", list[0] ? list : "none");
}

/* What the source says of its trees before anything is found out. Not all say something. */
static int read_defaults(const char *dir, struct storage_template *t, struct err *e)
{
	cleanup_free char *text = NULL;
	char path[4200];
	int r;

	snprintf(path, sizeof(path), "%s/template", dir);
	r = fd_read_file_at(AT_FDCWD, path, 16384, &text, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_code(e, r, "read %s", path);
	return storage_meta_parse(text, path, t, e);
}

static bool package_is_valid(const char *s)
{
	/* As mirrors name them, with an optional version or architecture; never an option. */
	if (s[0] == '\0' || s[0] == '-' || strlen(s) > 200)
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			 ".+-:~=") == strlen(s);
}

static int run_build(const char *dir, const char *lib, const struct staging *s,
		     const char *const *include, struct tell *tell, struct err *e)
{
	cleanup_strv struct strv argv = { 0 };
	char script[4200], rootfs[700], tmp[700];
	int r;

	snprintf(script, sizeof(script), "%s/build", dir);
	snprintf(rootfs, sizeof(rootfs), "%s/templates/%s/rootfs", lib, s->name);
	snprintf(tmp, sizeof(tmp), "%s/templates/%s/tmp", lib, s->name);
	if (mkdirat(s->dir, "tmp", 0700) < 0)
		return err_sys(e, "make %s", tmp);
	r = strv_add(&argv, script);
	if (r == 0)
		r = strv_add(&argv, rootfs);
	for (size_t i = 0; r == 0 && include && include[i]; i++) {
		if (!package_is_valid(include[i]))
			return err_set(e, ERR_USAGE, "package %.200s: not a name", include[i]);
		r = strv_add(&argv, include[i]);
	}
	if (r < 0)
		return err_code(e, r, "run %s", script);
	r = storage_script_run((const char *const *)argv.item, dir, tmp, tell, e);
	if (r < 0)
		return r;
	r = path_remove_tree_at(s->dir, "tmp");
	return r < 0 ? err_code(e, r, "remove %s", tmp) : 0;
}

static int build_staged(struct staging *s, const char *lib, const char *dir,
			const char *const *include, struct tell *tell, struct storage_template *t,
			struct err *e)
{
	int r;

	if ((r = read_defaults(dir, t, e)) < 0 ||
	    (r = run_build(dir, lib, s, include, tell, e)) < 0 ||
	    (r = storage_meta_detect(s->root, t, e)) < 0)
		return r;
	return storage_staging_publish(s, t, tell, e);
}

int storage_template_build(const char *lib, const char *source, const char *as,
			   const char *const *include, storage_progress progress, void *ctx,
			   struct storage_template *ret, struct err *e)
{
	struct tell tell = { .fn = progress, .ctx = ctx };
	struct storage_template t = { 0 };
	struct staging s;
	char dir[4096];
	int r;

	if (!as || !as[0])
		as = source;
	if (!name_is_valid(as))
		return err_set(e, ERR_USAGE, "template %.80s: not a name", as);
	r = find_source(source, dir, sizeof(dir), e);
	if (r < 0)
		return r;
	snprintf(t.name, sizeof(t.name), "%s", as);
	r = storage_staging_open(lib, &s, e);
	if (r == 0)
		r = build_staged(&s, lib, dir, include, &tell, &t, e);
	storage_staging_done(&s);
	if (r == 0)
		*ret = t;
	return r;
}
