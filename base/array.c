/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int array_grow_to(void *list, size_t *room, size_t size, size_t first)
{
	size_t more = *room ? 2 * *room : first;
	void *old, *bigger;

	memcpy(&old, list, sizeof(old));
	bigger = reallocarray(old, more, size);
	if (!bigger)
		return -ENOMEM;
	memcpy(list, &bigger, sizeof(bigger));
	*room = more;
	return 0;
}
