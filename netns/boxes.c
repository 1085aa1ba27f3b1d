/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/boxes.h"

#include "base/macro.h"
#include "netns/internal.h"

/*
 * A sweep in three dimensions: each is cut at the borders of the rules that are active in the slab,
 * so that within a slice the same rules match throughout; neighbouring slices that come out the
 * same are joined again.
 */

typedef unsigned __int128 num;

enum { PROTO, PORT, FROM, DIMS };

struct span {
	num first[DIMS], last[DIMS];
	bool allow;
};

struct sweep {
	struct netns_box *box;
	size_t count, room;
	int family;
	struct netns_box slab; /* the outer dimensions of what is being emitted */
};

static num to_num(const uint8_t b[16], int family)
{
	num n = 0;

	for (int i = 0; i < (family == AF_INET ? 4 : 16); i++)
		n = n << 8 | b[i];
	return n;
}

static void from_num(num n, uint8_t b[16], int family)
{
	memset(b, 0, 16);
	for (int i = family == AF_INET ? 4 : 16; i-- > 0; n >>= 8)
		b[i] = (uint8_t)n;
}

static int by_num(const void *a, const void *b)
{
	num x = *(const num *)a, y = *(const num *)b;

	return x < y ? -1 : x > y;
}

/* Where slices of this dimension begin, ascending, each once. `cut` has room for 2 * n. */
static size_t find_cuts(const struct span *const *s, size_t n, int dim, num max, num *cut)
{
	size_t count = 0, out = 0;

	for (size_t i = 0; i < n; i++) {
		cut[count++] = s[i]->first[dim];
		if (s[i]->last[dim] != max)
			cut[count++] = s[i]->last[dim] + 1;
	}
	qsort(cut, count, sizeof(*cut), by_num);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || cut[i] != cut[out - 1])
			cut[out++] = cut[i];
	return out;
}

static int emit(struct sweep *w, num first, num last, bool allow, struct err *e)
{
	struct netns_box *b;

	if (w->count == NETNS_BOX_MAX)
		return err_set(e, ERR_USAGE,
			       "the firewall's rules cut each other into more than %d parts",
			       NETNS_BOX_MAX);
	if (w->count == w->room) {
		size_t room = w->room ? w->room * 2 : 16;

		b = realloc(w->box, room * sizeof(*b));
		if (!b)
			return err_code(e, -ENOMEM, "lay out the firewall's rules");
		w->box = b;
		w->room = room;
	}
	b = &w->box[w->count++];
	*b = w->slab;
	b->allow = allow;
	from_num(first, b->from_first, w->family);
	from_num(last, b->from_last, w->family);
	return 0;
}

/* The boxes from..mid and mid..end are the same but for this dimension. */
static bool same_slices(const struct sweep *w, size_t from, size_t mid, int dim)
{
	if (mid - from != w->count - mid)
		return false;
	for (size_t i = 0; i < mid - from; i++) {
		struct netns_box a = w->box[from + i];
		const struct netns_box *b = &w->box[mid + i];

		if (dim == PORT) {
			a.port_first = b->port_first;
			a.port_last = b->port_last;
		} else {
			a.proto_first = b->proto_first;
			a.proto_last = b->proto_last;
		}
		if (memcmp(&a, b, sizeof(a)) != 0)
			return false;
	}
	return true;
}

static void join_slices(struct sweep *w, size_t from, size_t mid, int dim)
{
	for (size_t i = from; i < mid; i++) {
		if (dim == PORT)
			w->box[i].port_last = w->slab.port_last;
		else
			w->box[i].proto_last = w->slab.proto_last;
	}
	w->count = mid;
}

static int cut_from(struct sweep *w, const struct span *const *s, size_t n, const num *cut,
		    size_t cuts, num max, struct err *e)
{
	const struct span *open = NULL;
	num since = 0;

	for (size_t c = 0; c <= cuts; c++) {
		const struct span *hit = NULL;

		for (size_t i = 0; c < cuts && i < n && !hit; i++)
			if (s[i]->first[FROM] <= cut[c] && cut[c] <= s[i]->last[FROM])
				hit = s[i];
		if (open && hit && open->allow == hit->allow)
			continue;
		if (open) {
			int r = emit(w, since, c < cuts ? cut[c] - 1 : max, open->allow, e);

			if (r < 0)
				return r;
		}
		open = hit;
		since = c < cuts ? cut[c] : 0;
	}
	return 0;
}

static void set_slab(struct netns_box *b, int dim, num first, num last)
{
	if (dim == PROTO) {
		b->proto_first = (uint8_t)first;
		b->proto_last = (uint8_t)last;
	} else {
		b->port_first = (uint16_t)first;
		b->port_last = (uint16_t)last;
	}
}

static int cut_dim(struct sweep *w, const struct span *const *s, size_t n, int dim, struct err *e)
{
	num full = w->family == AF_INET ? 0xffffffffU : ~(num)0;
	num max = dim == PROTO ? 255 : dim == PORT ? 65535 : full;
	cleanup_free num *cut = calloc(2 * n + 1, sizeof(*cut));
	cleanup_free const struct span **in = calloc(n + 1, sizeof(*in));
	size_t cuts, before = 0;
	num reached = 0; /* where the slice before ended, plus one */
	bool some = false;

	if (!cut || !in)
		return err_code(e, -ENOMEM, "lay out the firewall's rules");
	cuts = find_cuts(s, n, dim, max, cut);
	if (dim == FROM)
		return cut_from(w, s, n, cut, cuts, max, e);
	for (size_t c = 0; c < cuts; c++) {
		size_t k = 0, mid = w->count;
		int r;

		for (size_t i = 0; i < n; i++)
			if (s[i]->first[dim] <= cut[c] && cut[c] <= s[i]->last[dim])
				in[k++] = s[i];
		if (k == 0)
			continue;
		set_slab(&w->slab, dim, cut[c], c + 1 < cuts ? cut[c + 1] - 1 : max);
		r = cut_dim(w, in, k, dim + 1, e);
		if (r < 0)
			return r;
		set_slab(&w->slab, dim, cut[c], c + 1 < cuts ? cut[c + 1] - 1 : max);
		if (some && reached == cut[c] && same_slices(w, before, mid, dim))
			join_slices(w, before, mid, dim);
		else
			before = mid;
		some = true;
		reached = c + 1 < cuts ? cut[c + 1] : max;
	}
	return 0;
}

static size_t add_span(struct span *s, const struct netns_rule *r, unsigned proto_first,
		       unsigned proto_last, int family)
{
	uint8_t first[16], last[16];

	*s = (struct span){ .allow = r->allow };
	s->first[PROTO] = proto_first;
	s->last[PROTO] = proto_last;
	s->first[PORT] = r->port_first;
	s->last[PORT] = r->port_last;
	if (r->from.family) {
		netns_addr_range(&r->from, first, last);
		s->first[FROM] = to_num(first, family);
		s->last[FROM] = to_num(last, family);
	} else {
		s->last[FROM] = family == AF_INET ? 0xffffffffU : ~(num)0;
	}
	return 1;
}

int netns_boxes(const struct netns_rule *rules, size_t count, int family, struct netns_box **ret,
		size_t *ret_count, struct err *e)
{
	cleanup_free struct span *span = calloc(2 * count + 1, sizeof(*span));
	cleanup_free const struct span **all = calloc(2 * count + 1, sizeof(*all));
	struct sweep w = { .family = family };
	size_t n = 0;
	int r;

	*ret = NULL;
	*ret_count = 0;
	if (!span || !all)
		return err_code(e, -ENOMEM, "lay out the firewall's rules");
	for (size_t i = 0; i < count; i++) {
		const struct netns_rule *u = &rules[i];

		if (u->from.family && u->from.family != family)
			continue;
		if (u->proto == NETNS_TCP_UDP) {
			n += add_span(&span[n], u, IPPROTO_TCP, IPPROTO_TCP, family);
			n += add_span(&span[n], u, IPPROTO_UDP, IPPROTO_UDP, family);
		} else if (u->proto == IPPROTO_ICMP && family == AF_INET6) {
			n += add_span(&span[n], u, IPPROTO_ICMPV6, IPPROTO_ICMPV6, family);
		} else {
			n += add_span(&span[n], u, u->proto, u->proto ? u->proto : 255, family);
		}
	}
	for (size_t i = 0; i < n; i++)
		all[i] = &span[i];
	r = n ? cut_dim(&w, all, n, PROTO, e) : 0;
	if (r < 0) {
		free(w.box);
		return r;
	}
	*ret = w.box;
	*ret_count = w.count;
	return 0;
}
