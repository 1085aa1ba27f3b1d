/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"
#include "tests/unit/cgroup_live.h"

#include <errno.h>

#define INIT(c, name)                                \
	do {                                         \
		if (!live_init(&(c), (name)))        \
			skip("%s", live_err.msg);    \
	} while (0)

static void sleeper(void)
{
	for (;;)
		pause();
}

static void bomb(void)
{
	signal(SIGTERM, SIG_IGN);
	for (;;)
		if (fork() < 0)
			sched_yield();
}

/* Lets the parent see that it has come up. */
static int ready_pipe[2];

static void family(void)
{
	for (int i = 0; i < 20; i++)
		if (fork() == 0)
			sleeper();
	if (write(ready_pipe[1], "r", 1) == 1)
		sleeper();
}

static void announced(void)
{
	if (write(ready_pipe[1], "r", 1) == 1)
		sleeper();
}

static void reap(pid_t pid)
{
	int status = 0;

	ok(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	   "the first process was killed");
}

TEST(create_and_remove)
{
	struct cgroup c;
	struct stat st;
	char path[PATH_MAX];

	INIT(c, "one");
	if (!good(cgroup_create(&c, 100000, 100001, &live_err), "makes the groups"))
		return;
	for (int h = CGROUP_V2; h < CGROUP_CONTROLLER_COUNT; h++)
		if (h == CGROUP_V2 || cgroup_v1_in_use(&live_host, h))
			ok(stat(cgroup_path(&c, h, path), &st) == 0, "%s", path);
	cgroup_path(&c, CGROUP_V2, path);
	ok(stat(path, &st) == 0 && st.st_uid == 100000 && st.st_gid == 100001,
	   "the payload belongs to the tenant");
	strcat(path, "/cgroup.procs");
	ok(stat(path, &st) == 0 && st.st_uid == 100000, "and its cgroup.procs");
	strcpy(strrchr(path, '/'), "/cgroup.max.depth");
	ok(stat(path, &st) == 0 && st.st_uid == 0, "but not its limits");
	eq_int(cgroup_create(&c, 0, 0, &live_err), -EEXIST, "not made twice");
	eq_int(live_err.code, ERR_EXISTS, "and says so");
	good(cgroup_remove(&c, &live_err), "removes them");
	ok(live_is_clean(&c), "nothing is left");
	good(cgroup_remove(&c, &live_err), "removing what is not there is fine");
	good(cgroup_kill(&c, &live_err), "killing too");
	good(cgroup_wait_empty(&c, 1000, &live_err), "waiting too");
}

TEST(bad_names)
{
	struct cgroup c;

	INIT(c, "../escape");
	eq_int(cgroup_create(&c, 0, 0, &live_err), -EINVAL, "a name with a slash");
	eq_int(cgroup_remove(&c, &live_err), -EINVAL, "nor removed");
	snprintf(c.name, sizeof(c.name), "..");
	eq_int(cgroup_create(&c, 0, 0, &live_err), -EINVAL, "dots");
	c.name[0] = '\0';
	eq_int(cgroup_remove(&c, &live_err), -EINVAL, "an empty name does not remove the parent");
}

/* A group of the same name in a late hierarchy makes creation fail; the early ones are undone, the
 * foreign one stays. */
TEST(undo)
{
	struct cgroup c;
	char path[PATH_MAX], late[PATH_MAX] = "", first[PATH_MAX];

	INIT(c, "undo");
	for (int h = 0; h < CGROUP_CONTROLLER_COUNT; h++)
		if (cgroup_v1_in_use(&live_host, h))
			cgroup_path(&c, h, late);
	if (!late[0])
		skip("no v1 hierarchy here");
	snprintf(path, sizeof(path), "%s", late);
	*strrchr(path, '/') = '\0';
	mkdir(path, 0755);
	mkdir(late, 0755);
	eq_int(cgroup_create(&c, 0, 0, &live_err), -EEXIST, "fails");
	ok(access(cgroup_path(&c, CGROUP_V2, first), F_OK) < 0, "v2 group undone");
	ok(access(late, F_OK) == 0, "the foreign group stays");
	rmdir(late);
	rmdir(path);
	ok(live_is_clean(&c), "nothing is left");
}

TEST(entered_everywhere)
{
	char path[64], want[256];
	cleanup_free char *text = NULL;
	struct cgroup c;
	unsigned in = 0, hierarchies = 1;
	pid_t pid;

	INIT(c, "enter");
	if (!good(cgroup_create(&c, 0, 0, &live_err), "makes the groups"))
		return;
	if (!ok(pipe(ready_pipe) == 0, "pipe"))
		return;
	pid = live_spawn(&c, family);
	ok(pid > 0 && read(ready_pipe[0], path, 1) == 1, "started inside");
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	ok(fd_read_file_at(AT_FDCWD, path, 65536, &text, NULL) == 0, "reads its groups");
	snprintf(want, sizeof(want), "%s/%s\n", c.parent, c.name);
	for (const char *p = text; p && (p = strstr(p, want)); p++)
		in++;
	for (int h = 0; h < CGROUP_CONTROLLER_COUNT; h++)
		hierarchies += cgroup_v1_in_use(&live_host, h);
	eq_int(in, hierarchies, "is in the group of every hierarchy in use");
	good(cgroup_kill(&c, &live_err), "kills");
	reap(pid);
	good(cgroup_wait_empty(&c, WAIT_US, &live_err), "becomes empty");
	good(cgroup_remove(&c, &live_err), "is removed");
	ok(live_is_clean(&c), "nothing is left");
	close(ready_pipe[0]);
	close(ready_pipe[1]);
}

TEST(freeze)
{
	struct cgroup c;
	char byte;
	pid_t pid;

	INIT(c, "freeze");
	if (!good(cgroup_create(&c, 0, 0, &live_err), "makes the groups"))
		return;
	if (!ok(pipe(ready_pipe) == 0, "pipe"))
		return;
	pid = live_spawn(&c, family);
	ok(pid > 0 && read(ready_pipe[0], &byte, 1) == 1, "started inside");
	eq_int(cgroup_is_frozen(&c, &live_err), 0, "not frozen");
	good(cgroup_freeze(&c, WAIT_US, &live_err), "freezes");
	eq_int(cgroup_is_frozen(&c, &live_err), 1, "is frozen");
	good(cgroup_thaw(&c, &live_err), "thaws");
	eq_int(cgroup_is_frozen(&c, &live_err), 0, "is not frozen");
	good(cgroup_freeze(&c, WAIT_US, &live_err), "freezes again");
	eq_int(cgroup_wait_empty(&c, 20000, &live_err), -ETIMEDOUT, "waiting for its end times out");
	eq_int(cgroup_remove(&c, &live_err), -EBUSY, "cannot be removed");
	eq_int(live_err.code, ERR_STATE, "and says why");
	good(cgroup_kill(&c, &live_err), "a frozen group is killed");
	reap(pid);
	good(cgroup_wait_empty(&c, WAIT_US, &live_err), "becomes empty");
	good(cgroup_remove(&c, &live_err), "is removed");
	ok(live_is_clean(&c), "nothing is left");
	close(ready_pipe[0]);
	close(ready_pipe[1]);
}

TEST(fork_bomb)
{
	struct cgroup c;
	pid_t pid;

	INIT(c, "bomb");
	if (!good(cgroup_create(&c, 0, 0, &live_err), "makes the groups"))
		return;
	if (live_host.ctl[CGROUP_PIDS].version) {
		int h = live_host.ctl[CGROUP_PIDS].version == 2 ? CGROUP_V2 : CGROUP_PIDS;
		cleanup_close int dir = cgroup_open_dir(&c, h);

		ok(fd_write_file_at(dir, "pids.max", "100") == 0, "bounded, for the neighbours");
	} else {
		good(cgroup_remove(&c, &live_err), "is removed");
		skip("no pids controller to bound the bomb with");
	}
	pid = live_spawn(&c, bomb);
	ok(pid > 0, "the bomb goes off");
	for (;;) {
		cleanup_free char *text = live_read(&c, CGROUP_V2, "cgroup.procs");
		size_t lines = 0;

		for (const char *p = text; p && *p; p++)
			lines += *p == '\n';
		if (lines >= 50 || !text)
			break;
		sched_yield();
	}
	good(cgroup_kill(&c, &live_err), "is killed");
	reap(pid);
	good(cgroup_wait_empty(&c, WAIT_US, &live_err), "becomes empty");
	good(cgroup_remove(&c, &live_err), "is removed");
	ok(live_is_clean(&c), "nothing is left");
}

/* What a tenant may leave: a wide level, and below it as deep as it was let. */
TEST(nested_tree)
{
	cleanup_close int top = -EBADF;
	struct cgroup c;
	char name[32];
	int depth = 0, fd, made = 0;

	INIT(c, "nested");
	if (!good(cgroup_create(&c, 0, 0, &live_err), "makes the groups"))
		return;
	top = cgroup_open_dir(&c, CGROUP_V2);
	fd_write_file_at(top, "cgroup.max.depth", "max");
	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "wide%d", i);
		made += mkdirat(top, name, 0755) == 0;
		if (i % 3 == 0) {
			strcat(name, "/below");
			made += mkdirat(top, name, 0755) == 0;
		}
	}
	eq_int(made, 2000, "two thousand groups");
	fd = dup(top);
	for (; depth < 300 && mkdirat(fd, "deep", 0755) == 0; depth++) {
		int sub = openat(fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		close(fd);
		fd = sub;
	}
	close(fd);
	eq_int(depth, 300, "three hundred levels");
	good(cgroup_remove(&c, &live_err), "all removed");
	ok(live_is_clean(&c), "nothing is left");
}

TEST(limits_on_groups)
{
	cleanup_close int fd = -EBADF;
	struct cgroup c;
	int depth = 0;

	INIT(c, "depth");
	if (!good(cgroup_create(&c, 0, 0, &live_err), "makes the groups"))
		return;
	fd = cgroup_open_dir(&c, CGROUP_V2);
	while (depth <= CGROUP_MAX_DEPTH && mkdirat(fd, "deep", 0755) == 0) {
		int sub = openat(fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		close(fd);
		fd = sub;
		depth++;
	}
	eq_int(depth, CGROUP_MAX_DEPTH, "the tenant nests no deeper");
	good(cgroup_remove(&c, &live_err), "all removed");
	ok(live_is_clean(&c), "nothing is left");
}

/* A process in a group below keeps the removal from finishing, and from walking for ever. */
TEST(remove_populated_below)
{
	cleanup_close int top = -EBADF;
	struct cgroup c;
	char number[16];
	pid_t pid;

	INIT(c, "busy");
	if (!good(cgroup_create(&c, 0, 0, &live_err), "makes the groups"))
		return;
	if (!ok(pipe(ready_pipe) == 0, "pipe"))
		return;
	pid = live_spawn(&c, announced);
	ok(pid > 0 && read(ready_pipe[0], number, 1) == 1, "started inside");
	close(ready_pipe[0]);
	close(ready_pipe[1]);
	top = cgroup_open_dir(&c, CGROUP_V2);
	mkdirat(top, "a", 0755);
	mkdirat(top, "a/b", 0755);
	mkdirat(top, "a/b/c", 0755);
	snprintf(number, sizeof(number), "%d", (int)pid);
	ok(fd_write_file_at(top, "a/b/cgroup.procs", number) == 0, "a process deep inside");
	eq_int(cgroup_remove(&c, &live_err), -EBUSY, "is not removed");
	good(cgroup_kill(&c, &live_err), "kills it");
	reap(pid);
	good(cgroup_wait_empty(&c, WAIT_US, &live_err), "becomes empty");
	good(cgroup_remove(&c, &live_err), "is removed");
	ok(live_is_clean(&c), "nothing is left");
}

/* Neighbours that come and go share the parent. */
TEST(parent_races)
{
	struct cgroup c;
	int bad = 0;
	pid_t pid[4];

	INIT(c, "racer");
	for (size_t i = 0; i < ARRAY_SIZE(pid); i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		snprintf(c.name, sizeof(c.name), "racer%zu", i);
		for (int n = 0; n < 50; n++)
			if (cgroup_create(&c, 0, 0, &live_err) < 0 ||
			    cgroup_remove(&c, &live_err) < 0) {
				diag("%s", live_err.msg);
				_exit(1);
			}
		_exit(0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(pid); i++) {
		int status;

		if (waitpid(pid[i], &status, 0) != pid[i] || status != 0)
			bad++;
	}
	eq_int(bad, 0, "all came and went");
	ok(live_is_clean(&c), "nothing is left");
}

/* A host that gets its systemd unit while a VPS runs: the group made before is found and removed. */
TEST(base_moves)
{
	static const char unit[] = "/vps-test-unit";
	char path[PATH_MAX], root[PATH_MAX];
	struct cgroup c;

	INIT(c, "old");
	if (live_host.v2_base[0])
		skip("this host has its unit already");
	if (!good(cgroup_create(&c, 0, 0, &live_err), "made at the root"))
		return;
	cgroup_path(&c, CGROUP_V2, root);
	snprintf(path, sizeof(path), "%s%s", live_host.v2, unit);
	ok(mkdir(path, 0755) == 0, "the unit comes");
	snprintf(live_host.v2_base, sizeof(live_host.v2_base), "%s", unit);
	eq_str(cgroup_path(&c, CGROUP_V2, path), root, "found where it was made");
	good(cgroup_remove(&c, &live_err), "removed there");
	ok(access(root, F_OK) < 0, "indeed");
	good(cgroup_create(&c, 0, 0, &live_err), "made anew");
	ok(strstr(cgroup_path(&c, CGROUP_V2, path), unit) != NULL, "below the unit");
	good(cgroup_remove(&c, &live_err), "removed");
	ok(live_is_clean(&c), "nothing is left");
	snprintf(path, sizeof(path), "%s%s", live_host.v2, unit);
	ok(rmdir(path) == 0, "the unit was empty");
}
