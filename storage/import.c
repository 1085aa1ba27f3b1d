/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/macro.h"
#include "base/parse.h"

#include <sys/stat.h>

int storage_meta_check(const struct storage_template *meta, struct err *e)
{
	cleanup_buf struct buf text = { 0 }, again = { 0 };
	struct storage_template back = { 0 };
	char where[80];
	int r;

	if (!name_is_valid(meta->name))
		return err_set(e, ERR_USAGE, "template %.80s: not a name", meta->name);
	snprintf(where, sizeof(where), "template %s", meta->name);
	if (storage_meta_format(meta, &text) < 0)
		return err_code(e, -ENOMEM, "%s", where);
	r = storage_meta_parse(text.data, where, &back, e);
	if (r < 0)
		return r;
	if (storage_meta_format(&back, &again) < 0)
		return err_code(e, -ENOMEM, "%s", where);
	if (!STREQ(text.data, again.data))
		return err_set(e, ERR_USAGE, "%s: a value does not fit on a line", where);
	return 0;
}

static int fill(struct staging *s, int fd, struct tell *tell, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at what to import");
	if (S_ISDIR(st.st_mode))
		return storage_tree_copy(fd, s->root, tell, e);
	return storage_tar_extract(fd, s->root, tell, e);
}

int storage_template_import(const char *lib, int fd, const struct storage_template *meta,
			    storage_progress progress, void *ctx,
			    struct storage_template *ret, struct err *e)
{
	struct tell tell = { .fn = progress, .ctx = ctx };
	struct storage_template t = *meta;
	struct staging s;
	int r = storage_meta_check(meta, e);

	if (r < 0)
		return r;
	r = storage_staging_open(lib, &s, e);
	if (r == 0)
		r = fill(&s, fd, &tell, e);
	if (r == 0)
		r = storage_meta_detect(s.root, &t, e);
	if (r == 0)
		r = storage_staging_publish(&s, &t, &tell, e);
	storage_staging_done(&s);
	if (r == 0)
		*ret = t;
	return r;
}
