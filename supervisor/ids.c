/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/ids.h"

#include "base/macro.h"

#include <stdbool.h>

#define IDS_COUNT ((IDS_END - IDS_FIRST) / IDS_SIZE)

uint32_t ids_start(const char *tag)
{
	const char *dash = strchr(tag, '-');

	/* The tag of another root than the default one ends in a hash of its path. */
	if (!dash)
		return IDS_FIRST;
	return IDS_FIRST + (uint32_t)(strtoul(dash + 1, NULL, 16) % IDS_COUNT) * IDS_SIZE;
}

int ids_alloc(uint32_t from, const uint32_t *used, size_t count, uint32_t *ret, struct err *e)
{
	cleanup_free unsigned char *taken = calloc(IDS_COUNT, 1);
	uint32_t first = (from - IDS_FIRST) / IDS_SIZE;

	if (!taken)
		return err_code(e, -ENOMEM, "find a free range of ids");
	for (size_t i = 0; i < count; i++) {
		/* A hand-written base need not be aligned: it then takes two. */
		uint64_t last = (uint64_t)used[i] + IDS_SIZE - 1;

		if (used[i] >= IDS_FIRST && used[i] < IDS_END)
			taken[(used[i] - IDS_FIRST) / IDS_SIZE] = 1;
		if (last >= IDS_FIRST && last < IDS_END)
			taken[(last - IDS_FIRST) / IDS_SIZE] = 1;
	}
	for (uint32_t i = 0; i < IDS_COUNT; i++) {
		uint32_t at = (first + i) % IDS_COUNT;

		if (!taken[at]) {
			*ret = IDS_FIRST + at * IDS_SIZE;
			return 0;
		}
	}
	err_set(e, ERR_NOSPACE, "all %u ranges of user ids are taken", IDS_COUNT);
	return err_hint(e, "destroy a VPS that is not needed any more");
}
