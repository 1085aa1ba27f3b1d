/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a process can have that is neither saved nor seen elsewhere. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>

static int check_timers(pid_t pid, struct err *e)
{
	cleanup_free char *text = NULL;
	char path[64];
	size_t len = 0;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/timers", (int)pid);
	r = fd_read_file_at(AT_FDCWD, path, MIB(1), &text, &len);
	if (r < 0)
		return err_code(e, r, "read %s", path);
	if (len)
		return err_set(e, ERR_UNSUPPORTED, "process %d has timers (timer_create), which cannot be "
			       "saved yet", (int)pid);
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

int ckpt_refuse(struct ckpt_dump *d, const struct ckpt_process *p, struct err *e)
{
	static int (*const checks[])(pid_t pid, struct err *e) = { check_timers, check_areas };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(checks); i++)
		r = ckpt_note(d, checks[i](p->pid, e), p->pid, -1, e);
	return r;
}
