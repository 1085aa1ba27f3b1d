/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/in.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <unistd.h>

/* The image of a VPS that is suspended: a file, sent as it is, and looked through before the destination takes
 * the VPS over. */

#define PIECE (256u << 10)

int mig_send_image(struct mig_sending *s, struct err *e)
{
	cleanup_free char *piece = malloc(PIECE);
	uint64_t left = s->o->offer.image;
	int r = piece ? 0 : err_code(e, -ENOMEM, "send its image");

	s->status = (struct mig_status){ .stage = "image", .total = s->c->sent + left };
	while (r == 0 && left) {
		ssize_t n = read(s->o->image, piece, left < PIECE ? left : PIECE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? err_sys(e, "read its image") : err_set(e, ERR_FAIL, "its image was cut");
		r = mig_send(s->c, MIG_IMAGE, piece, (size_t)n, e);
		left -= (uint64_t)n;
		s->status.done = s->c->sent;
		if (r == 0)
			r = mig_send_tell(s, e);
	}
	return r;
}

int mig_in_image_piece(struct mig_receiving *r, struct err *e)
{
	int ret = 0;

	if (r->frame.len > r->i->offer.image - r->image_len)
		return mig_in_bad(e);
	if (r->image < 0)
		ret = r->image = r->i->arrival->image_file(r->i->ctx, r->dir, e);
	if (ret < 0)
		return ret;
	ret = fd_write_full(r->image, r->frame.data, r->frame.len);
	r->image_len += r->frame.len;
	return ret < 0 ? err_code(e, ret, "write its image") : 0;
}

static int looked(void *arg, uint64_t done, uint64_t total)
{
	return mig_in_told(arg, "image", done, total);
}

/* A bad one is refused as long as the source has it. */
int mig_in_image_end(struct mig_receiving *r, struct err *e)
{
	const struct ckpt_progress progress = { looked, r };
	struct ckpt_facts facts;
	int ret;

	if (r->image_len != r->i->offer.image)
		return mig_in_bad(e);
	if (lseek(r->image, 0, SEEK_SET) < 0)
		return err_sys(e, "read its image");
	ret = ckpt_verify(r->image, &progress, &facts, e);
	if (ret == 0 && lseek(r->image, 0, SEEK_CUR) != (off_t)r->image_len)
		ret = mig_in_bad(e);
	return ret < 0 ? ret : r->i->arrival->suspended(r->i->ctx, r->dir, &facts, r->image_len, e);
}
