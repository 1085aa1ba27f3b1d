/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/skbs.h"

#include "base/macro.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEN_MAX MIB(4) /* of a buffer */
#define FRAGS_MAX 64u  /* CONFIG_MAX_SKB_FRAGS is up to 45 */
#define LIST_MAX 4096u  /* buffers in one's list */
#define LIST_DEPTH 2u

/* Numbers of a structure, a row each. */
struct field {
	const char *member;
	unsigned size;
	uint64_t *ret;
};

static int read_fields(struct ckpt_kernel *k, uint64_t at, const char *type, const struct field *f, size_t count, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = ckpt_kernel_member(k, at, type, f[i].member, f[i].size, f[i].ret, e);
	return r;
}

/* A buffer's own memory, and what follows that in pages. */
struct parts {
	uint64_t len, in_pages, data, head, info; /* where its struct skb_shared_info is */
	uint64_t frags, list;
};

static int read_parts(struct ckpt_kernel *k, uint64_t skb, struct parts *p, struct err *e)
{
	uint64_t end = 0;
	const struct field of_skb[] = { { "len", 4, &p->len }, { "data_len", 4, &p->in_pages }, { "data", 8, &p->data },
					{ "head", 8, &p->head }, { "end", 4, &end } };
	const struct field of_info[] = { { "nr_frags", 1, &p->frags }, { "frag_list", 8, &p->list } };
	int r = read_fields(k, skb, "sk_buff", of_skb, ARRAY_SIZE(of_skb), e);

	p->info = p->head + end;
	if (r == 0)
		r = read_fields(k, p->info, "skb_shared_info", of_info, ARRAY_SIZE(of_info), e);
	if (r == 0 && (p->frags > FRAGS_MAX || p->len > LEN_MAX || p->in_pages > p->len))
		return err_set(e, ERR_UNSUPPORTED, "what is queued in a socket is laid out in a way that is not known");
	return r;
}

/* Of pages that belong together the first is named, and they follow one another. */
static int read_frag(struct ckpt_kernel *k, const struct parts *p, uint64_t frag, uint8_t *buf, size_t room, size_t *len,
		     struct err *e)
{
	uint64_t page = 0, off = 0, n = 0, at = 0;
	const struct field fields[] = { { "netmem", 8, &page }, { "len", 4, &n }, { "offset", 4, &off } };
	int r = read_fields(k, frag, "skb_frag", fields, ARRAY_SIZE(fields), e);

	/* A set last bit: memory of a device (net_iov). */
	if (r == 0 && ((page & 1) || n > room))
		return err_set(e, ERR_UNSUPPORTED, "what is queued in a socket is in memory that cannot be read");
	if (r == 0)
		r = ckpt_kernel_page(k, p->head, page, &at, e);
	*len = n;
	return r == 0 ? ckpt_kernel_bytes(k, at + off, buf, n, e) : r;
}

static int read_data(struct ckpt_kernel *k, const struct parts *p, unsigned depth, uint8_t *buf, struct err *e);

/* What an interface has put together of several packets is a buffer that has a list of others. */
static int read_list(struct ckpt_kernel *k, const struct parts *p, unsigned depth, uint8_t *buf, size_t at, struct err *e)
{
	uint64_t skb = p->list;
	struct parts in = { 0 };
	int r = 0;

	for (unsigned n = 0; r == 0 && skb && n < LIST_MAX && depth < LIST_DEPTH; n++) {
		r = read_parts(k, skb, &in, e);
		if (r == 0 && in.len > p->len - at)
			break;
		if (r == 0)
			r = read_data(k, &in, depth + 1, buf + at, e);
		at += in.len;
		if (r == 0)
			r = ckpt_kernel_member(k, skb, "sk_buff", "next", 8, &skb, e);
	}
	if (r == 0 && at != p->len)
		return err_set(e, ERR_UNSUPPORTED, "what is queued in a socket is laid out in a way that is not known");
	return r;
}

static int read_data(struct ckpt_kernel *k, const struct parts *p, unsigned depth, uint8_t *buf, struct err *e)
{
	size_t at = p->len - p->in_pages, n = 0;
	uint64_t frags = 0;
	uint32_t size = 0;
	int r = ckpt_kernel_bytes(k, p->data, buf, at, e);

	if (r < 0 || !p->in_pages)
		return r;
	r = ckpt_kernel_place(k, p->info, "skb_shared_info", "frags", &frags, e);
	if (r == 0)
		r = ckpt_kernel_size(k, "skb_frag", &size, e);
	for (uint64_t i = 0; r == 0 && i < p->frags; i++, at += n)
		r = read_frag(k, p, frags + i * size, buf + at, p->len - at, &n, e);
	return r < 0 ? r : read_list(k, p, depth, buf, at, e);
}

static int read_one(struct ckpt_kernel *k, uint64_t skb, bool bare, ckpt_skb_fn each, void *arg, struct err *e)
{
	struct parts p = { 0 };
	cleanup_free uint8_t *buf = NULL;
	int r = bare ? 0 : read_parts(k, skb, &p, e);

	if (r == 0 && !bare) {
		buf = malloc(p.len + 1);
		r = buf ? read_data(k, &p, 0, buf, e) : err_code(e, -ENOMEM, "read what is queued in a socket");
	}
	return r == 0 ? each(&(struct ckpt_skb){ skb, buf, p.len }, arg, e) : r;
}

int ckpt_skbs_each(struct ckpt_kernel *k, uint64_t queue, bool bare, ckpt_skb_fn each, void *arg, struct err *e)
{
	uint64_t skb = 0;
	int r = ckpt_kernel_member(k, queue, "sk_buff_head", "next", 8, &skb, e);

	for (unsigned n = 0; r == 0 && skb != queue; n++) {
		if (n == CKPT_SKBS_MAX || !skb)
			return err_set(e, ERR_UNSUPPORTED, "more is queued in a socket than can be read");
		r = read_one(k, skb, bare, each, arg, e);
		if (r == 0)
			r = ckpt_kernel_member(k, skb, "sk_buff", "next", 8, &skb, e);
	}
	return r;
}

int ckpt_skbs_sock(struct ckpt_kernel *k, int fd, uint64_t *ret, struct err *e)
{
	uint64_t socket = 0;
	int r = ckpt_kernel_file(k, fd, &socket, e);

	return r == 0 ? ckpt_kernel_member(k, socket, "socket", "sk", 8, ret, e) : r;
}
