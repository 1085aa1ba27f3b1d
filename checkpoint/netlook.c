/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The switches of a network as they were before a restore sets them: so few need be read again. */
#include "base/array.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/netstate_internal.h"

#include <errno.h>
#include <stdlib.h>

struct ckpt_netlook {
	struct look {
		char *path, *value;
	} *item;
	size_t count, room;
};

void ckpt_netlook_free(struct ckpt_netlook *l)
{
	for (size_t i = 0; l && i < l->count; i++) {
		free(l->item[i].path);
		free(l->item[i].value);
	}
	if (l)
		free(l->item);
	free(l);
}

static int note(const char *path, const char *value, void *arg)
{
	struct ckpt_netlook *l = arg;
	struct look *it;

	if (array_grow(&l->item, l->count, &l->room, 512) < 0)
		return -ENOMEM;
	it = &l->item[l->count++];
	*it = (struct look){ strdup(path), strdup(value) };
	return it->path && it->value ? 0 : -ENOMEM;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct look *)a)->path, ((const struct look *)b)->path);
}

static int look_at_all(void *arg, struct err *e)
{
	return net_switches(NULL, note, arg, e);
}

struct ckpt_netlook *ckpt_netlook_new(int netns_fd, struct err *e)
{
	struct ckpt_netlook *l = calloc(1, sizeof(*l));

	if (!l) {
		err_code(e, -ENOMEM, "look at the VPS's network");
		return NULL;
	}
	if (ckpt_visit(CKPT_SPACE_NET, netns_fd, look_at_all, l, e) < 0) {
		ckpt_netlook_free(l);
		return NULL;
	}
	if (l->count)
		qsort(l->item, l->count, sizeof(*l->item), by_path);
	return l;
}

bool net_switch_is(const struct ckpt_netlook *l, const char *path, const char *value)
{
	const struct look key = { .path = (char *)(uintptr_t)path }; /* only read */
	const struct look *it = l && l->count ? bsearch(&key, l->item, l->count, sizeof(key), by_path) : NULL;

	return it && STREQ(it->value, value);
}
