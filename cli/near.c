/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

#define WORD_MAX 48

/* Insertions, removals and replacements between two short words. */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[WORD_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned corner = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned d = corner + (a[i - 1] != b[j - 1]);

			corner = row[j];
			if (corner + 1 < d)
				d = corner + 1;
			if (row[j - 1] + 1 < d)
				d = row[j - 1] + 1;
			row[j] = d;
		}
	}
	return row[lb];
}

void near_init(struct near *n, const char *word)
{
	*n = (struct near){ .word = word, .distance = (unsigned)strlen(word) / 3 + 2 };
}

void near_try(struct near *n, const char *candidate)
{
	size_t len = strlen(n->word);
	unsigned d;

	if (len > WORD_MAX || strlen(candidate) > WORD_MAX)
		return;
	d = edit_distance(n->word, candidate);
	/* A word cut short is nearer than its length says; one of which less than half is right is another. */
	if (len >= 2 && strncmp(n->word, candidate, len) == 0)
		d = 1;
	else if (d * 2 > len)
		return;
	if (d < n->distance && d < strlen(candidate)) {
		n->distance = d;
		n->best = candidate;
	}
}
