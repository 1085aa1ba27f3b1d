/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/maps.h"

#include "base/macro.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

FILE *ckpt_maps_open(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	return fopen(path, "re");
}

/* A number and the character behind it; true when both are there. */
static bool take_number(const char **at, int base, char behind, uint64_t *ret)
{
	char *end;

	*ret = strtoull(*at, &end, base);
	if (end == *at || *end != behind)
		return false;
	*at = end + 1;
	return true;
}

/* "START-END PERMS OFFSET MAJOR:MINOR INODE NAME"; sscanf(3) would take several times as long. */
static bool parse(const char *at, struct ckpt_map *ret)
{
	uint64_t major, minor;

	if (!take_number(&at, 16, '-', &ret->start) || !take_number(&at, 16, ' ', &ret->end) || strcspn(at, " ") != 4)
		return false;
	memcpy(ret->perms, at, 4);
	ret->perms[4] = '\0';
	at += 4 + (at[4] == ' ');
	if (!take_number(&at, 16, ' ', &ret->offset) || !take_number(&at, 16, ':', &major) ||
	    !take_number(&at, 16, ' ', &minor) || !take_number(&at, 10, ' ', &ret->ino))
		return false;
	ret->major = (unsigned)major;
	ret->minor = (unsigned)minor;
	snprintf(ret->name, sizeof(ret->name), "%s", at + strspn(at, " "));
	return true;
}

int ckpt_maps_next(FILE *f, struct ckpt_map *ret)
{
	char text[4600];

	if (!fgets(text, sizeof(text), f))
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return parse(text, ret) ? 1 : -EPROTO;
}

bool ckpt_map_is_vdso(const struct ckpt_map *m)
{
	return strncmp(m->name, "[vvar", 5) == 0 || STREQ(m->name, "[vdso]");
}

bool ckpt_map_is_private(const struct ckpt_map *m)
{
	return m->perms[3] == 'p' && !ckpt_map_is_vdso(m) && !STREQ(m->name, "[vsyscall]") &&
	       !STREQ(m->name, "[uprobes]");
}

bool ckpt_map_is_huge(const struct ckpt_map *m)
{
	return STREQ(m->name, "/anon_hugepage (deleted)");
}

bool ckpt_map_is_sysv(const struct ckpt_map *m)
{
	return strncmp(m->name, "/SYSV", 5) == 0;
}

bool ckpt_map_is_unnamed(const struct ckpt_map *m)
{
	return strncmp(m->name, "/memfd:", 7) == 0 || STREQ(m->name, "/dev/zero (deleted)") ||
	       ckpt_map_is_sysv(m) || ckpt_map_is_huge(m);
}

bool ckpt_map_is_anonymous(const struct ckpt_map *m)
{
	return !m->name[0] || STREQ(m->name, "[heap]") || strncmp(m->name, "[stack", 6) == 0 ||
	       strncmp(m->name, "[anon:", 6) == 0;
}
