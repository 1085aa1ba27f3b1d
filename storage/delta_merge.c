/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the receiver has after a pass over a part: the whole, with the part as it is now in its place. */
#include "storage/delta_touched.h"

#include "storage/catalogue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int merge_items(struct delta_touched *t, const struct delta_catalogue *now)
{
	struct delta_catalogue *c = t->has;
	size_t room = c->count + now->count + 1, n = 0, k = 0;
	struct delta_item *item = calloc(room, sizeof(*item));

	if (!item)
		return -ENOMEM;
	for (size_t i = 0; i < c->count; i++) {
		if (t->in[i] & DELTA_IN_PART) {
			free(c->item[i].path);
			continue;
		}
		while (k < now->count && strcmp(now->item[k].path, c->item[i].path) < 0)
			item[n++] = now->item[k++];
		item[n++] = c->item[i];
	}
	while (k < now->count)
		item[n++] = now->item[k++];
	free(c->item);
	c->item = item;
	c->count = n;
	c->room = room;
	return 0;
}

/* Files of the part are in it with all their names, and so are not the whole's any more; nor are those that have none. */
static int merge_files(struct delta_touched *t, struct delta_catalogue *now)
{
	struct delta_catalogue *c = t->has;
	size_t room = c->files + now->files + 1, n = 0, k = 0;
	struct delta_file **file = calloc(room, sizeof(*file));

	if (!file)
		return -ENOMEM;
	for (size_t i = 0; i < c->files; i++) {
		size_t first = c->file[i]->first;

		if (!first || t->in[first - 1] & DELTA_IN_PART) {
			free(c->file[i]->block);
			free(c->file[i]);
			continue;
		}
		while (k < now->files && delta_by_ino(&now->file[k], &c->file[i]) < 0)
			file[n++] = now->file[k++];
		file[n++] = c->file[i];
	}
	while (k < now->files)
		file[n++] = now->file[k++];
	free(c->file);
	c->file = file;
	c->files = n;
	c->files_room = room;
	return 0;
}

int delta_touched_merge(struct delta_touched *t, struct delta_catalogue *now, struct err *e)
{
	/* Files first: they are found by their items. */
	int r = merge_files(t, now);

	now->files = r == 0 ? 0 : now->files;
	if (r == 0)
		r = merge_items(t, now);
	now->count = r == 0 ? 0 : now->count;
	if (r == 0)
		r = delta_index(t->has);
	delta_catalogue_done(now);
	delta_touched_done(t);
	return r < 0 ? err_code(e, r, "list the tree") : 0;
}
