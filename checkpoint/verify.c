/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/verify.h"

#include "base/macro.h"
#include "checkpoint/tree.h"

#include <sys/stat.h>

static void take_facts(const struct ckpt_tree *t, struct ckpt_facts *f)
{
	const Ckpt__Header *h = t->header;

	snprintf(f->id, sizeof(f->id), "%s", h->id);
	snprintf(f->uuid, sizeof(f->uuid), "%s", h->uuid);
	snprintf(f->vps, sizeof(f->vps), "%s", h->vps);
	f->files = h->files;
	f->realtime_ns = h->realtime_ns;
	f->processes = t->task_count;
	f->open_files = t->file_count;
	for (size_t i = 0; i < t->task_count; i++)
		f->threads += t->tasks[i].thread_count;
}

static int read_pages(struct ckpt_reader *r, struct ckpt_record *rec, int more, uint64_t total,
		      const struct ckpt_progress *progress, struct ckpt_facts *f, struct err *e)
{
	uint64_t done = 0;

	while (more > 0) {
		struct ckpt_pages p;
		int n = rec->type == CKPT_REC_PAGES ? ckpt_read_pages(r, rec, &p, e) : 0;

		if (n < 0)
			return n;
		f->pages += rec->type == CKPT_REC_PAGES ? p.count : 0;
		done += rec->length;
		if (progress && progress->tell(progress->arg, done, total))
			return err_set(e, ERR_CANCELLED, "cancelled");
		more = ckpt_read(r, rec, e);
	}
	return more;
}

int ckpt_verify(int fd, const struct ckpt_progress *progress, struct ckpt_facts *ret, struct err *e)
{
	struct ckpt_reader *r = ckpt_reader_new(fd, e);
	struct ckpt_tree t = { 0 };
	struct ckpt_record rec;
	struct stat st;
	uint64_t total;
	int n;

	*ret = (struct ckpt_facts){ 0 };
	if (!r)
		return -EIO;
	total = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	n = ckpt_tree_read(&t, r, &rec, e);
	if (n >= 0) {
		take_facts(&t, ret);
		n = read_pages(r, &rec, n, total, progress, ret, e);
	}
	ckpt_tree_done(&t);
	ckpt_reader_free(r);
	return n;
}
