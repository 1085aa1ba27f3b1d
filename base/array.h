/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_ARRAY_H
#define BASE_ARRAY_H

#include <stddef.h>

/*
 * Room for one more in a list on the heap that has `count` and grows: to `first` at first, then to twice what it had.
 * `list` and `room` are their addresses. 0, or -ENOMEM, and the list is as it was.
 */
#define array_grow(list, count, room, first) \
	((count) < *(room) ? 0 : array_grow_to((list), (room), sizeof(**(list)), (first)))

int array_grow_to(void *list, size_t *room, size_t size, size_t first);

#endif
