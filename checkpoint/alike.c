/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/alike.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <xxhash.h>

#define LISTS_MAX 256 /* that are looked through for each connection */
#define SUM_MAX (32u << 20) /* options of all sockets of an image, shared or not */

struct ckpt_alike {
	struct ckpt_alike_list *list[LISTS_MAX];
	size_t count;
};

static uint64_t hash_of(Ckpt__SocketOption *const *option, size_t count)
{
	uint64_t h = count;

	for (size_t i = 0; i < count; i++) {
		const uint32_t what[2] = { option[i]->level, option[i]->name };

		h = XXH3_64bits_withSeed(what, sizeof(what), h);
		h = XXH3_64bits_withSeed(option[i]->value.data, option[i]->value.len, h);
	}
	return h;
}

static bool is_same(const struct ckpt_alike_list *l, Ckpt__SocketOption *const *option, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const Ckpt__SocketOption *a = l->option[i], *b = option[i];

		if (a->level != b->level || a->name != b->name || a->value.len != b->value.len ||
		    memcmp(a->value.data, b->value.data, a->value.len) != 0)
			return false;
	}
	return true;
}

static Ckpt__SocketOption **copy(struct ckpt_tree *t, Ckpt__SocketOption *const *option, size_t count)
{
	Ckpt__SocketOption **to = ckpt_alloc(&t->arena, count * sizeof(Ckpt__SocketOption *));

	for (size_t i = 0; to && i < count; i++) {
		to[i] = ckpt_memdup(&t->arena, option[i], sizeof(*option[i]));
		if (!to[i])
			return NULL;
		to[i]->value.data = ckpt_memdup(&t->arena, option[i]->value.data, option[i]->value.len);
		if (!to[i]->value.data)
			return NULL;
	}
	return to;
}

struct ckpt_alike_list *ckpt_alike_find(struct ckpt_tree *t, struct ckpt_alike **a, Ckpt__SocketOption *const *option,
					size_t count)
{
	Ckpt__SocketOption **kept;
	uint64_t hash = hash_of(option, count);
	struct ckpt_alike_list *l;

	if (!*a)
		*a = calloc(1, sizeof(**a));
	if (!*a)
		return NULL;
	for (size_t i = 0; i < (*a)->count; i++)
		if ((*a)->list[i]->hash == hash && (*a)->list[i]->count == count && is_same((*a)->list[i], option, count))
			return (*a)->list[i];
	kept = (*a)->count == LISTS_MAX ? NULL : copy(t, option, count);
	l = kept ? calloc(1, sizeof(*l)) : NULL;
	if (!l)
		return NULL;
	*l = (struct ckpt_alike_list){ kept, count, hash, 0 };
	return (*a)->list[(*a)->count++] = l;
}

static int number(struct ckpt_tree *t, struct ckpt_alike_list *l)
{
	Ckpt__SocketOptions *o = l->number ? NULL : ckpt_alloc(&t->arena, sizeof(*o));

	if (l->number)
		return 0;
	if (!o)
		return -ENOMEM;
	ckpt__socket_options__init(o);
	o->option = l->option;
	o->n_option = l->count;
	if (ckpt_push(&t->arena, &t->options, &t->options_count, o) < 0)
		return -ENOMEM;
	l->number = (uint32_t)t->options_count;
	return 0;
}

/* Those of a list behind its own. */
static int append(struct ckpt_tree *t, Ckpt__Socket *s, Ckpt__SocketOption *const *option, size_t count)
{
	Ckpt__SocketOption **all = ckpt_alloc(&t->arena, (s->n_option + count) * sizeof(Ckpt__SocketOption *));

	if (!all)
		return -ENOMEM;
	if (s->n_option)
		memcpy(all, s->option, s->n_option * sizeof(Ckpt__SocketOption *));
	memcpy(all + s->n_option, option, count * sizeof(Ckpt__SocketOption *));
	s->option = all;
	s->n_option += count;
	return 0;
}

int ckpt_alike_take(struct ckpt_tree *t, Ckpt__Socket *s, struct ckpt_alike_list *l, struct err *e)
{
	if (number(t, l) < 0 || append(t, s, l->option, l->count) < 0)
		return err_code(e, -ENOMEM, "collect sockets");
	s->options = l->number;
	return 0;
}

int ckpt_alike_share(struct ckpt_tree *t, struct ckpt_alike **a, Ckpt__Socket *s, size_t own, struct err *e)
{
	struct ckpt_alike_list *l = s->n_option > own ? ckpt_alike_find(t, a, s->option + own, s->n_option - own) : NULL;

	if (!l)
		return 0;
	s->n_option = own;
	return ckpt_alike_take(t, s, l, e);
}

void ckpt_alike_free(struct ckpt_alike *a)
{
	for (size_t i = 0; a && i < a->count; i++)
		free(a->list[i]);
	free(a);
}

int ckpt_alike_check(struct ckpt_tree *t, struct err *e)
{
	size_t sum = 0;

	for (size_t i = 0; i < t->options_count; i++)
		if (!t->options[i]->n_option || t->options[i]->n_option > CKPT_SOCKOPTS_MAX ||
		    !ckpt_sockopts_are_good(t->options[i]->option, t->options[i]->n_option))
			return err_set(e, ERR_FAIL, "the image is damaged: options %zu", i + 1);
	for (size_t i = 0; i < t->file_count; i++) {
		Ckpt__Socket *s = t->files[i]->socket;
		const Ckpt__SocketOptions *o;

		if (!s || !s->options)
			continue;
		if (s->options > t->options_count || !ckpt_socket_is_tcp(s))
			return err_set(e, ERR_FAIL, "the image is damaged: options of file %zu", i + 1);
		o = t->options[s->options - 1];
		sum += s->n_option + o->n_option;
		if (sum > SUM_MAX)
			return err_set(e, ERR_FAIL, "the image is damaged: options of very many sockets");
		if (append(t, s, o->option, o->n_option) < 0)
			return err_code(e, -ENOMEM, "read the image");
	}
	return 0;
}

struct ckpt_alike_logs {
	size_t count;
	struct {
		const Ckpt__File *first; /* that had these; NULL: none yet */
		unsigned phases; /* in which it was set */
		struct ckpt_sockopt_log log[CKPT_SOCKOPT_LAST + 1];
	} of[];
};

struct ckpt_alike_logs *ckpt_alike_logs_new(const struct ckpt_tree *t)
{
	struct ckpt_alike_logs *l = calloc(1, sizeof(*l) + t->options_count * sizeof(l->of[0]));

	if (l)
		l->count = t->options_count;
	return l;
}

void ckpt_alike_logs_free(struct ckpt_alike_logs *l)
{
	free(l);
}

/* Of a dual-stack socket's connections. */
static bool is_mapped(const Ckpt__Socket *s)
{
	const struct sockaddr_in6 *a = (const void *)s->peer.data;

	return s->family == AF_INET6 && s->peer.len >= sizeof(*a) && IN6_IS_ADDR_V4MAPPED(&a->sin6_addr);
}

/* A new one of either has the same options. */
static bool begin_alike(const Ckpt__File *a, const Ckpt__File *b)
{
	const Ckpt__Socket *s = a->socket, *t = b->socket;

	return a->space == b->space && s->family == t->family && s->type == t->type && s->protocol == t->protocol &&
	       s->state == TCP_ESTABLISHED && t->state == TCP_ESTABLISHED && is_mapped(s) == is_mapped(t);
}

int ckpt_alike_set(struct ckpt_alike_logs *l, int fd, const Ckpt__File *f, enum ckpt_sockopt_phase phase, struct err *e)
{
	uint32_t number = f->socket->options;

	if (!number || number > l->count)
		return ckpt_sockopts_set(fd, f->socket, phase, e);
	if (!l->of[number - 1].first)
		l->of[number - 1].first = f;
	if (!begin_alike(l->of[number - 1].first, f))
		return ckpt_sockopts_set(fd, f->socket, phase, e);
	if (l->of[number - 1].phases & 1u << phase)
		return ckpt_sockopts_set_again(fd, f->socket, phase, &l->of[number - 1].log[phase], e);
	l->of[number - 1].phases |= 1u << phase;
	return ckpt_sockopts_set_first(fd, f->socket, phase, &l->of[number - 1].log[phase], e);
}
