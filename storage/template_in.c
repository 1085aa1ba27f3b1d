/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"
#include "storage/delta.h"

#include "base/macro.h"
#include "base/path.h"

#include <fcntl.h>
#include <sys/stat.h>

struct storage_template_in {
	struct storage_template meta;
	struct staging staging;
	int limbo;
	struct storage_receive *receive;
};

#define LIMBO "limbo"

static bool is_digest(const char *s)
{
	return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static int open_limbo(struct storage_template_in *t, struct err *e)
{
	if (mkdirat(t->staging.dir, LIMBO, 0700) < 0)
		return err_sys(e, "receive template %s", t->meta.name);
	t->limbo = openat(t->staging.dir, LIMBO, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return t->limbo < 0 ? err_sys(e, "receive template %s", t->meta.name) : 0;
}

int storage_template_in_new(const char *lib, const struct storage_template *meta,
			    struct storage_template_in **ret, struct err *e)
{
	static const struct storage_ids ids = { 0, TEMPLATE_ID_MAX + 1 };
	struct storage_template_in *t;
	int r = storage_meta_check(meta, e);

	if (r < 0)
		return r;
	if (!is_digest(meta->digest))
		return err_set(e, ERR_USAGE, "template %s: no digest", meta->name);
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_code(e, -ENOMEM, "receive template %s", meta->name);
	t->meta = *meta;
	t->limbo = -EBADF;
	r = storage_staging_open(lib, &t->staging, e);
	t->staging.digest = t->meta.digest;
	t->staging.keep_current = true;
	if (r == 0)
		r = open_limbo(t, e);
	if (r == 0)
		r = storage_receive_new(t->staging.root, t->limbo, &ids, STORAGE_TEMPLATE, &t->receive,
					e);
	if (r < 0) {
		storage_template_in_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

int storage_template_in_put(struct storage_template_in *t, const void *record, size_t len,
			    struct err *e)
{
	return storage_receive_put(t->receive, record, len, e);
}

int storage_template_in_done(struct storage_template_in *t, storage_progress progress, void *ctx,
			     struct err *e)
{
	struct tell tell = { .fn = progress, .ctx = ctx };
	struct storage_template made = t->meta;

	if (!storage_receive_is_whole(t->receive))
		return err_set(e, ERR_USAGE, "template %s: a part of it is missing", t->meta.name);
	if (unlinkat(t->staging.dir, LIMBO, AT_REMOVEDIR) < 0)
		return err_sys(e, "receive template %s", t->meta.name);
	return storage_staging_publish(&t->staging, &made, &tell, e);
}

void storage_template_in_free(struct storage_template_in *t)
{
	if (!t)
		return;
	storage_receive_free(t->receive);
	fd_close(&t->limbo);
	storage_staging_done(&t->staging);
	free(t);
}
