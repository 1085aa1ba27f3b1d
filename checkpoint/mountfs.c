/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/mountfs.h"

#include "base/macro.h"
#include "checkpoint/spaces.h"

static const char *const no_options[] = { NULL };
static const char *const tmpfs_options[] = { "size", "nr_blocks", "nr_inodes", "mode", "uid", "gid", "huge",
					     "inode32", "inode64", "noswap", NULL };
static const char *const ramfs_options[] = { "mode", NULL };
static const char *const proc_options[] = { "hidepid", "gid", "subset", NULL };
static const char *const devpts_options[] = { "uid", "gid", "mode", "ptmxmode", "max", NULL };
static const char *const overlay_options[] = { "lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir", "redirect_dir", "index",
					       "xino", "metacopy", "volatile", "userxattr", NULL };

static const struct ckpt_mountfs types[] = {
	{ "tmpfs",       tmpfs_options,   true,  -1 },
	{ "ramfs",       ramfs_options,   true,  -1 },
	{ "proc",        proc_options,    false, CKPT_SPACE_PID },
	{ "sysfs",       no_options,      false, CKPT_SPACE_NET },
	{ "cgroup2",     no_options,      false, CKPT_SPACE_CGROUP },
	{ "mqueue",      no_options,      false, CKPT_SPACE_IPC },
	{ "devpts",      devpts_options,  false, -1 },
	{ "overlay",     overlay_options, false, -1 },
	{ "binfmt_misc", no_options,      true,  -1 },
	{ "nsfs",        no_options,      false, -1 },
};

bool ckpt_mountfs_is_way(const char *option)
{
	static const char *const ways[] = { "lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir" };

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (STREQ(option, ways[i]))
			return true;
	return false;
}

const char *ckpt_mountfs_next_way(const char *option, const char *at, char *ret, size_t size)
{
	bool several = STREQ(option, "lowerdir");
	size_t n = 0;

	if (!at || !*at)
		return NULL;
	for (; *at && (!several || *at != ':') && n + 1 < size; ret[n++] = *at++)
		if (several && *at == '\\' && at[1])
			at++;
	ret[n] = '\0';
	return several && *at == ':' ? at + 1 : at;
}

const struct ckpt_mountfs *ckpt_mountfs_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (STREQ(types[i].name, name))
			return &types[i];
	return NULL;
}

bool ckpt_mountfs_has_option(const struct ckpt_mountfs *fs, const char *key)
{
	for (size_t i = 0; fs->options[i]; i++)
		if (STREQ(fs->options[i], key))
			return true;
	return false;
}
