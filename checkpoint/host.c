/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/host.h"

#include "base/macro.h"
#include "checkpoint/batch.h"
#include "checkpoint/dump.h"
#include "checkpoint/image/image.h"

#include <errno.h>

int ckpt_host_of(const Ckpt__Header *h, struct ckpt_host *ret, struct err *e)
{
	*ret = (struct ckpt_host){ .page_size = h->page_size, .has_vdso = h->vdso_digest.len == sizeof(ret->vdso) };
	snprintf(ret->kernel, sizeof(ret->kernel), "%s", h->kernel);
	if (ret->has_vdso)
		memcpy(ret->vdso, h->vdso_digest.data, sizeof(ret->vdso));
	for (size_t i = 0; i + 1 < h->n_huge; i += 2)
		if (h->huge[i] < CKPT_HUGE_SIZES)
			ret->huge[h->huge[i]] = h->huge[i + 1];
	return ckpt_xstate_parse(h->xsave_mask, h->xstate, h->n_xstate, &ret->xstate, e);
}

int ckpt_host_read(int fd, struct ckpt_host *ret, struct err *e)
{
	struct ckpt_reader *r = ckpt_reader_new(fd, e);
	struct ckpt_record rec;
	int n;

	if (!r)
		return -EIO;
	n = ckpt_read(r, &rec, e);
	if (n > 0 && rec.type == CKPT_REC_HEADER && rec.message)
		n = ckpt_host_of(rec.message, ret, e);
	else if (n >= 0)
		n = err_set(e, ERR_FAIL, "the image does not begin with what it is");
	ckpt_reader_free(r);
	return n < 0 ? n : 0;
}

int ckpt_host_check(const struct ckpt_host *h, struct err *e)
{
	uint8_t digest[16];
	int r;

	if (h->has_vdso && ckpt_vdso_digest(digest) == 0 && memcmp(digest, h->vdso, sizeof(digest)) != 0) {
		err_set(e, ERR_UNSUPPORTED, "the image is of another kernel (%.64s): its vdso is not this one's",
			h->kernel);
		return err_hint(e, "both hosts need the same kernel and the same model of processor");
	}
	if (h->page_size != CKPT_PAGE)
		return err_set(e, ERR_UNSUPPORTED, "the image has pages of %u bytes", h->page_size);
	r = ckpt_xstate_check(&h->xstate, ckpt_xstate_here(), e);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < CKPT_HUGE_SIZES; i++)
		if (h->huge[i] && ckpt_huge_room(i, h->huge[i], e) < 0)
			return -ENOMEM;
	return 0;
}
