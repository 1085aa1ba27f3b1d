/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/server_internal.h"

#include "base/macro.h"

int frames_feed(struct frames *f, const void *data, size_t len, const int *fds, size_t nfds)
{
	const char *last;
	uint64_t begin;
	int r;

	r = f->buf.len + len > SERVER_INPUT_MAX + 1 ? -EMSGSIZE : buf_add(&f->buf, data, len);
	if (r == 0 && nfds > SERVER_FDS_MAX - f->nfds)
		r = -EMSGSIZE;
	if (r < 0) {
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		return r;
	}
	if (!nfds || !len)
		return 0;
	/* The last message that begins in these bytes begins after the last NUL before their
	 * last byte (which may be the NUL that ends it). */
	last = memrchr(f->buf.data, '\0', f->buf.len - 1);
	begin = f->base + (last ? (uint64_t)(last + 1 - f->buf.data) : 0);
	for (size_t i = 0; i < nfds; i++)
		f->fds[f->nfds++] = (struct frame_fd){ .fd = fds[i], .at = begin };
	return 0;
}

bool frames_ready(struct frames *f)
{
	char *nul = NULL;

	if (f->scanned < f->buf.len)
		nul = memchr(f->buf.data + f->scanned, '\0', f->buf.len - f->scanned);
	f->scanned = nul ? (size_t)(nul - f->buf.data) : f->buf.len;
	return nul != NULL;
}

int frames_next(struct frames *f, struct frame *ret)
{
	size_t kept = 0;

	*ret = (struct frame){ 0 };
	if (!frames_ready(f))
		return 0;
	ret->text = f->buf.data;
	ret->len = f->scanned;
	for (size_t i = 0; i < f->nfds; i++)
		if (f->fds[i].at <= f->base + ret->len)
			ret->fds[ret->nfds++] = f->fds[i].fd;
		else
			f->fds[kept++] = f->fds[i];
	f->nfds = kept;
	return 1;
}

void frames_drop(struct frames *f, const struct frame *frame)
{
	size_t n = frame->len + 1;

	memmove(f->buf.data, f->buf.data + n, f->buf.len - n);
	f->buf.len -= n;
	f->base += n;
	f->scanned = 0;
	if (!f->buf.len) /* one long message shall not be paid for as long as the client stays */
		buf_done(&f->buf);
}

void frames_done(struct frames *f)
{
	for (size_t i = 0; i < f->nfds; i++)
		close(f->fds[i].fd);
	f->nfds = 0;
	buf_done(&f->buf);
}
