/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/maps.h"

#include "base/macro.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

FILE *ckpt_maps_open(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	return fopen(path, "re");
}

int ckpt_maps_next(FILE *f, struct ckpt_map *ret)
{
	char text[4600];
	int at = 0;

	if (!fgets(text, sizeof(text), f))
		return 0;
	text[strcspn(text, "\n")] = '\0';
	if (sscanf(text, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %x:%x %" SCNu64 "%n", &ret->start, &ret->end,
		   ret->perms, &ret->offset, &ret->major, &ret->minor, &ret->ino, &at) != 7 || !at)
		return -EPROTO;
	snprintf(ret->name, sizeof(ret->name), "%s", text + at + strspn(text + at, " "));
	return 1;
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

bool ckpt_map_is_unnamed(const struct ckpt_map *m)
{
	return strncmp(m->name, "/memfd:", 7) == 0 || STREQ(m->name, "/dev/zero (deleted)") ||
	       strncmp(m->name, "/SYSV", 5) == 0 || ckpt_map_is_huge(m);
}

bool ckpt_map_is_anonymous(const struct ckpt_map *m)
{
	return !m->name[0] || STREQ(m->name, "[heap]") || strncmp(m->name, "[stack", 6) == 0 ||
	       strncmp(m->name, "[anon:", 6) == 0;
}
