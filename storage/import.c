/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include <sys/stat.h>

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
