/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"

#include <errno.h>

#define FILE_MAX MIB(1) /* io.stat has a line a disk */

int cgroup_keyed(const char *text, const char *key, uint64_t *ret)
{
	size_t len = strlen(key);

	for (const char *l = text; *l; l += strcspn(l, "\n"), l += *l == '\n') {
		if (strncmp(l, key, len) != 0 || l[len] != ' ')
			continue;
		if (l[len + 1] < '0' || l[len + 1] > '9')
			return -ENOENT;
		*ret = strtoull(l + len + 1, NULL, 10);
		return 0;
	}
	return -ENOENT;
}

int cgroup_read_text(int dir, const char *file, char **ret)
{
	return dir < 0 ? dir : fd_read_file_at(dir, file, FILE_MAX, ret, NULL);
}

int cgroup_read_number(int dir, const char *file, uint64_t *ret)
{
	cleanup_free char *text = NULL;
	int r = cgroup_read_text(dir, file, &text);

	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	if (STREQ(text, "max")) {
		*ret = UINT64_MAX;
		return 0;
	}
	return parse_u64(text, ret);
}

int cgroup_read_keyed(int dir, const char *file, const char *key, uint64_t *ret)
{
	cleanup_free char *text = NULL;
	int r = cgroup_read_text(dir, file, &text);

	return r < 0 ? r : cgroup_keyed(text, key, ret);
}

/* A line a disk: "M:m key=N key=N …". */
void cgroup_sum_io_stat(const char *text, struct cgroup_io *io)
{
	static const char *const keys[] = { "rbytes=", "wbytes=", "rios=", "wios=" };
	uint64_t *const sums[] = { &io->read_bytes, &io->write_bytes, &io->read_ops,
				   &io->write_ops };

	for (const char *p = text; *p; p += strcspn(p, " \n"), p += *p != '\0')
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			if (strncmp(p, keys[i], strlen(keys[i])) == 0)
				*sums[i] += strtoull(p + strlen(keys[i]), NULL, 10);
}

/* A line a disk and kind: "M:m Read N"; the last line is a total of all. */
void cgroup_sum_blkio(const char *text, uint64_t *reads, uint64_t *writes)
{
	for (const char *l = text; *l; l += strcspn(l, "\n"), l += *l == '\n') {
		const char *kind = l + strcspn(l, " \n");

		if (strncmp(kind, " Read ", 6) == 0)
			*reads += strtoull(kind + 6, NULL, 10);
		else if (strncmp(kind, " Write ", 7) == 0)
			*writes += strtoull(kind + 7, NULL, 10);
	}
}

/* "N.NN" as hundredths. */
static unsigned hundredths(const char *s)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	v = v > 1000 ? 100000 : v * 100;
	if (*end == '.' && end[1] >= '0' && end[1] <= '9')
		v += (unsigned long)(end[1] - '0') * 10;
	if (*end == '.' && end[1] >= '0' && end[1] <= '9' && end[2] >= '0' && end[2] <= '9')
		v += (unsigned long)(end[2] - '0');
	return (unsigned)v;
}

static void parse_stall(const char *line, struct cgroup_stall *ret)
{
	for (const char *p = line; *p && *p != '\n'; p += strcspn(p, " \n"), p += *p == ' ') {
		if (strncmp(p, "avg10=", 6) == 0)
			ret->avg10 = hundredths(p + 6);
		else if (strncmp(p, "avg60=", 6) == 0)
			ret->avg60 = hundredths(p + 6);
		else if (strncmp(p, "avg300=", 7) == 0)
			ret->avg300 = hundredths(p + 7);
		else if (strncmp(p, "total=", 6) == 0)
			ret->total_us = strtoull(p + 6, NULL, 10);
	}
}

bool cgroup_parse_pressure(const char *text, struct cgroup_pressure *ret)
{
	*ret = (struct cgroup_pressure){ 0 };
	for (const char *l = text; *l; l += strcspn(l, "\n"), l += *l == '\n') {
		if (strncmp(l, "some ", 5) == 0) {
			ret->known = true;
			parse_stall(l + 5, &ret->some);
		} else if (strncmp(l, "full ", 5) == 0) {
			parse_stall(l + 5, &ret->full);
		}
	}
	return ret->known;
}
