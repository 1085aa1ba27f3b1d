/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a process can have that is neither saved nor seen elsewhere. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>

static const struct {
	const char *link, *what;
} namespaces[] = {
	{ "ns/cgroup", "cgroup" }, { "ns/ipc", "ipc" },
	{ "ns/mnt", "mount" },     { "ns/net", "network" },
	{ "ns/pid_for_children", "pid" }, { "ns/time_for_children", "time" },
	{ "ns/user", "user" },     { "ns/uts", "uts" },
};

static int check_namespaces(pid_t init, pid_t pid, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
		char path[64], mine[64] = { 0 }, its[64] = { 0 };

		snprintf(path, sizeof(path), "/proc/%d/%s", (int)init, namespaces[i].link);
		if (readlink(path, mine, sizeof(mine) - 1) < 0)
			continue; /* a kernel without it */
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, namespaces[i].link);
		if (readlink(path, its, sizeof(its) - 1) < 0)
			return err_sys(e, "read %s", path);
		if (!STREQ(mine, its))
			return err_set(e, ERR_UNSUPPORTED, "process %d has a %s namespace of its own, which "
				       "cannot be saved yet", (int)pid, namespaces[i].what);
	}
	return 0;
}

/* Groups that the VPS made below its own are not made again yet. */
static int check_cgroup(pid_t init, pid_t pid, struct err *e)
{
	cleanup_free char *mine = NULL, *its = NULL;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)init);
	r = fd_read_file_at(AT_FDCWD, path, 65536, &mine, NULL);
	if (r == 0) {
		snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
		r = fd_read_file_at(AT_FDCWD, path, 65536, &its, NULL);
	}
	if (r < 0)
		return err_code(e, r, "read %s", path);
	if (!STREQ(mine, its))
		return err_set(e, ERR_UNSUPPORTED, "process %d is in a control group that the VPS made, which "
			       "cannot be saved yet", (int)pid);
	return 0;
}

/* Memory that is locked, or is not inherited, or wiped, by a child: flags that are only in smaps. */
static int check_areas(pid_t pid, struct err *e)
{
	static const char *const flags[] = { " dc", " wf", " um", " ht", " io", " ss", " sl" };
	char path[64], line[4600];
	cleanup_fclose FILE *f = NULL;
	unsigned long start = 0, end;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return err_sys(e, "open %s", path);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from;

		if (sscanf(line, "%lx-%lx ", &from, &end) == 2) {
			start = strstr(line, "[v") ? 0 : from;
			continue;
		}
		for (size_t i = 0; start && i < ARRAY_SIZE(flags); i++)
			if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, flags[i]))
				return err_set(e, ERR_UNSUPPORTED, "the memory of process %d at %#lx has the flag"
					       "%s, which cannot be saved yet", (int)pid, start, flags[i]);
	}
	return 0;
}

/* What the runtime mounts, with all below for those that it masks parts of. */
static bool is_runtime_mount(const char *at, const struct rt_spec *spec)
{
	static const char *const whole[] = { "/proc", "/sys", "/dev" };

	if (STREQ(at, "/") || STREQ(at, "/run"))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(whole); i++)
		if (strncmp(at, whole[i], strlen(whole[i])) == 0 &&
		    (at[strlen(whole[i])] == '/' || !at[strlen(whole[i])]))
			return true;
	for (size_t i = 0; i < spec->mount_count; i++)
		if (STREQ(at, spec->mounts[i].guest))
			return true;
	return false;
}

int ckpt_refuse_mounts(pid_t init, const struct rt_spec *spec, struct err *e)
{
	cleanup_fclose FILE *f = NULL;
	char path[64], line[8192], at[4096];

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)init);
	f = fopen(path, "re");
	if (!f)
		return err_sys(e, "open %s", path);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %*s %*s %*s %4095s", at) == 1 && !is_runtime_mount(at, spec))
			return err_set(e, ERR_UNSUPPORTED, "the VPS has mounted something on %s, which cannot be "
				       "saved yet", at);
	return 0;
}

int ckpt_refuse(pid_t init, const struct ckpt_process *p, struct err *e)
{
	int r = check_namespaces(init, p->pid, e);
	if (r == 0)
		r = check_cgroup(init, p->pid, e);
	return r == 0 ? check_areas(p->pid, e) : r;
}
