/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/counters.h"

#include "base/fd.h"
#include "base/macro.h"

#include "tests/unit/tap.h"

#include <fcntl.h>
#include <sys/stat.h>

static void write_file(const char *dir, const char *text)
{
	char path[128];
	cleanup_close int fd = -EBADF;

	snprintf(path, sizeof(path), "%s/counters", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	fd_write_full(fd, text, strlen(text));
}

TEST(kept)
{
	char dir[] = "/tmp/counters.XXXXXX", path[128];
	struct cgroup_counters b = { 0 }, got;
	struct stat st;

	ok(mkdtemp(dir) != NULL, "a directory");
	counters_load(dir, &got);
	ok(memcmp(&got, &b, sizeof(b)) == 0, "no file is zero");
	b.row[CGROUP_BEAN_PIDS] = (struct cgroup_counter){ .held = 3, .maxheld = 40, .limit = 40,
							   .failcnt = 7, .last = 2 };
	b.row[CGROUP_BEAN_MEMORY].limit = UINT64_MAX;
	eq_int(counters_save(dir, &b), 0, "saved");
	counters_load(dir, &got);
	ok(memcmp(&got, &b, sizeof(b)) == 0, "and read again");
	snprintf(path, sizeof(path), "%s/counters", dir);
	ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "for root alone");
	write_file(dir, "pids 3 40 4");
	counters_load(dir, &got);
	eq_int((long long)got.row[CGROUP_BEAN_PIDS].maxheld, 0, "half a file is zero");
	write_file(dir, "");
	counters_load(dir, &got);
	eq_int((long long)got.row[CGROUP_BEAN_PIDS].failcnt, 0, "so is an empty one");
	unlink(path);
	ok(symlink("/etc/passwd", path) == 0, "a link");
	counters_load(dir, &got);
	eq_int((long long)got.row[CGROUP_BEAN_PIDS].failcnt, 0, "is not followed");
	ok(counters_save(dir, &b) == 0 && lstat(path, &st) == 0 && S_ISREG(st.st_mode),
	   "and is replaced");
	unlink(path);
	rmdir(dir);
	ok(counters_save(dir, &b) < 0, "a directory that is gone");
}
