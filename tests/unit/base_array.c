/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/array.h"

#include "tests/unit/tap.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

TEST(grows)
{
	size_t room = 0, count = 0;
	uint64_t *list = NULL;
	bool same = true;

	for (; count < 100; count++) {
		if (array_grow(&list, count, &room, 3) < 0)
			break;
		list[count] = count;
		same &= count + 1 <= room;
	}
	for (size_t i = 0; i < count; i++)
		same &= list[i] == i;
	eq_int(count, 100, "all are in it");
	ok(same, "and are as they were");
	eq_int(room, 192, "it has doubled: 3, 6, 12, … 192");
	free(list);
}

TEST(no_room)
{
	size_t room = SIZE_MAX / 8, had = room;
	uint64_t one = 7, *list = &one;

#ifdef __SANITIZE_ADDRESS__
	skip("the sanitizer ends who asks for so much");
#endif
	eq_int(array_grow(&list, room, &room, 3), -ENOMEM, "more than there can be");
	ok(list == &one && room == had, "it is as it was");
}
