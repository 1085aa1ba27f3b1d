/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/checkpoint/stuck.h"

#include "base/macro.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 16

/* What a file says on its first line; "" when it cannot be read. */
static const char *said(const char *task, const char *name, char *buf, size_t size)
{
	char path[128];
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", task, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (fd >= 0)
		close(fd);
	buf[n > 0 ? n : 0] = '\0';
	if (!STREQ(name, "stack") && !STREQ(name, "children"))
		buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

static void tell_process(long pid, unsigned depth);

static void tell_thread(const char *task, unsigned depth)
{
	char comm[64], wchan[64], call[256], text[4096], stat[512], *save = NULL;
	const char *state = strrchr(said(task, "stat", stat, sizeof(stat)), ')');

	printf("# thread %s: %s%.2s in %s, call %s\n", strrchr(task, '/') + 1, said(task, "comm", comm, sizeof(comm)),
	       state ? state + 1 : "", said(task, "wchan", wchan, sizeof(wchan)),
	       said(task, "syscall", call, sizeof(call)));
	said(task, "stack", text, sizeof(text));
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		printf("#    %s\n", l);
	said(task, "children", text, sizeof(text));
	save = NULL;
	for (char *c = strtok_r(text, " \n", &save); c; c = strtok_r(NULL, " \n", &save))
		tell_process(strtol(c, NULL, 10), depth + 1);
}

static void tell_process(long pid, unsigned depth)
{
	char path[64], task[128];
	struct dirent *de;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%ld/task", pid);
	d = depth > DEPTH_MAX ? NULL : opendir(path);
	while (d && (de = readdir(d))) {
		snprintf(task, sizeof(task), "%s/%.20s", path, de->d_name);
		if (de->d_name[0] != '.')
			tell_thread(task, depth);
	}
	if (d)
		closedir(d);
}

void stuck_tell(pid_t pid)
{
	tell_process(pid, 0);
}
