/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/stats.h"

#include "base/macro.h"
#include "base/parse.h"

#include <errno.h>
#include <inttypes.h>

static const char *const names[] = {
	[CGROUP_BEAN_MEMORY] = "memory",   [CGROUP_BEAN_SWAP] = "swap",
	[CGROUP_BEAN_PIDS] = "pids",       [CGROUP_BEAN_HUGETLB] = "hugetlb",
	[CGROUP_BEAN_GROUPS] = "groups",
};
_Static_assert(ARRAY_SIZE(names) == CGROUP_BEAN_COUNT, "a name for each row");

const char *cgroup_bean_name(enum cgroup_bean b)
{
	return names[b];
}

void cgroup_counters_restart(struct cgroup_counters *b)
{
	for (int i = 0; i < CGROUP_BEAN_COUNT; i++) {
		b->row[i].last = 0;
		b->row[i].held = 0;
	}
}

size_t cgroup_counters_format(const struct cgroup_counters *b, char out[CGROUP_COUNTERS_TEXT])
{
	size_t n = 0;

	/* A name and five numbers of at most 20 digits: 5 rows are far below the room. */
	out[0] = '\0';
	for (int i = 0; i < CGROUP_BEAN_COUNT; i++) {
		const struct cgroup_counter *r = &b->row[i];

		n += (size_t)snprintf(out + n, CGROUP_COUNTERS_TEXT - n,
				      "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
				      "\n", names[i], r->held, r->maxheld, r->limit, r->failcnt,
				      r->last);
	}
	return n;
}

static int parse_line(struct cgroup_counters *b, const char *line)
{
	uint64_t v[5];
	char word[32];
	int row = -1;

	for (int i = 0; i < CGROUP_BEAN_COUNT; i++)
		if (strncmp(line, names[i], strlen(names[i])) == 0 && line[strlen(names[i])] == ' ')
			row = i;
	line += strcspn(line, " \n");
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		size_t len;

		if (*line != ' ')
			return -EINVAL;
		line++;
		len = strcspn(line, " \n");
		if (len >= sizeof(word))
			return -EINVAL;
		memcpy(word, line, len);
		word[len] = '\0';
		if (parse_u64(word, &v[i]) < 0)
			return -EINVAL;
		line += len;
	}
	if (*line && *line != '\n')
		return -EINVAL;
	if (row >= 0)
		b->row[row] = (struct cgroup_counter){
			.held = v[0], .maxheld = v[1], .limit = v[2], .failcnt = v[3], .last = v[4],
		};
	return 0;
}

int cgroup_counters_parse(struct cgroup_counters *b, const char *text)
{
	*b = (struct cgroup_counters){ 0 };
	for (const char *l = text; *l; l += strcspn(l, "\n"), l += *l == '\n') {
		if (*l == '\n' || parse_line(b, l) < 0) {
			*b = (struct cgroup_counters){ 0 };
			return -EINVAL;
		}
	}
	return 0;
}
