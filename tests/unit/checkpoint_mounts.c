/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Lines of mountinfo; and that nothing of what an image says of namespaces, mounts, groups and tmpfs gets past
 * the check when it does not hold together or leads elsewhere. */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/mountfs.h"
#include "checkpoint/mountinfo.h"
#include "checkpoint/spaces.h"
#include "tests/unit/tap.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static struct err e;

TEST(mountinfo_lines)
{
	char text[] =
		"67 42 0:40 / / rw,nodev,relatime - overlay overlay rw,lowerdir=/a:/b\n"
		"93 67 8:1 /sub\\040dir /mnt/a\\134b ro,nosuid,noexec,nodiratime shared:15 master:7 propagate_from:2 - "
		"ext4 /dev/sda1 rw\n"
		"94 93 0:5 / /x rw unbindable - tmpfs none rw,size=5k\n";
	struct ckpt_mountinfo *m;
	size_t n;

	eq_int(ckpt_mountinfo_parse(text, &m, &n, &e), 0, "parsed");
	eq_int((int)n, 3, "three mounts");
	eq_int((int)m[0].attributes, MOUNT_ATTR_NODEV | MOUNT_ATTR_RELATIME, "attributes of the first");
	ok(m[1].dev == makedev(8, 1) && m[1].parent == 67 && m[1].peers == 15 && m[1].master == 7, "numbers");
	eq_str(m[1].root, "/sub dir", "an escaped space");
	eq_str(m[1].at, "/mnt/a\\b", "an escaped backslash");
	eq_int((int)m[1].attributes, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODIRATIME |
	       MOUNT_ATTR_STRICTATIME, "attributes of the second");
	ok(m[2].unbindable && !m[2].peers, "not to be bound");
	eq_str(m[2].options, "rw,size=5k", "options of the file system");
	eq_int((int)ckpt_mountinfo_find(m, n, 93), 1, "found by its number");
	eq_int((int)ckpt_mountinfo_find(m, n, 1), -1, "not found");
	free(m);
}

TEST(mountinfo_garbage)
{
	static const char *const bad[] = {
		"67", "a b c:d / / rw - x y z", "67 42 0:40 / / rw", "67 42 0:40 / / rw - overlay",
		"67 42 0:40 / / rw - overlay none",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char text[64];
		struct ckpt_mountinfo *m;
		size_t n;

		snprintf(text, sizeof(text), "%s\n", bad[i]);
		ok(ckpt_mountinfo_parse(text, &m, &n, &e) < 0, "\"%s\" is refused", bad[i]);
	}
}

TEST(paths_below)
{
	eq_str(ckpt_path_below("/a/b", "/a"), "/b", "below");
	eq_str(ckpt_path_below("/a/b", "/"), "/a/b", "below the root");
	eq_str(ckpt_path_below("/a", "/a"), "", "itself");
	eq_str(ckpt_path_below("/", "/"), "", "the root itself");
	ok(!ckpt_path_below("/ab", "/a"), "only begins like it");
	ok(!ckpt_path_below("/", "/a"), "above");
}

TEST(file_systems)
{
	ok(ckpt_mountfs_find("tmpfs")->contents && !ckpt_mountfs_find("proc")->contents, "what is in memory");
	ok(ckpt_mountfs_has_option(ckpt_mountfs_find("tmpfs"), "size"), "an option");
	ok(!ckpt_mountfs_has_option(ckpt_mountfs_find("proc"), "size"), "of another");
	ok(!ckpt_mountfs_find("ext4") && !ckpt_mountfs_find("fuse") && !ckpt_mountfs_find("nfs"),
	   "what no tenant mounts");
}

/* An image that is good, to be spoiled in one place. */
static struct good {
	struct ckpt_tree tree;
	Ckpt__Process process;
	Ckpt__Mm mm;
	Ckpt__Thread thread, *threads[1];
	struct ckpt_task task;
	Ckpt__Space space[CKPT_SPACE_COUNT + 1], *spaces[CKPT_SPACE_COUNT + 1];
	Ckpt__Super super[2], *supers[2];
	Ckpt__Mount mount[2], *mounts[2];
	Ckpt__Group group[2], *groups[2];
	Ckpt__TmpfsEntry entry[3], *entries[3];
	Ckpt__File file, *files[1];
	Ckpt__Setting setting, *settings[1];
	uint32_t ids[CKPT_SPACE_COUNT];
} g;

/* Nothing writes into it. */
static char *str(const char *s)
{
	return (char *)(uintptr_t)s; /* NOLINT */
}

static void be_good(void)
{
	static const char *const names[] = { "", "/a", "/b" };

	memset(&g, 0, sizeof(g));
	ckpt__process__init(&g.process);
	ckpt__mm__init(&g.mm);
	ckpt__thread__init(&g.thread);
	ckpt__file__init(&g.file);
	ckpt__setting__init(&g.setting);
	for (unsigned i = 0; i <= CKPT_SPACE_COUNT; i++) {
		ckpt__space__init(&g.space[i]);
		g.spaces[i] = &g.space[i];
		g.space[i].kind = i % CKPT_SPACE_COUNT;
	}
	g.space[CKPT_SPACE_COUNT].kind = CKPT_SPACE_MNT;
	g.space[CKPT_SPACE_COUNT].owner = 1;
	for (int i = 0; i < 2; i++) {
		ckpt__super__init(&g.super[i]);
		ckpt__mount__init(&g.mount[i]);
		ckpt__group__init(&g.group[i]);
		g.supers[i] = &g.super[i];
		g.mounts[i] = &g.mount[i];
		g.groups[i] = &g.group[i];
		g.mount[i].super = (uint32_t)i + 1;
		g.mount[i].space = CKPT_SPACE_MNT + 1;
		g.mount[i].root = str("/");
	}
	g.super[0].type = str("overlay");
	g.super[1].type = str("tmpfs");
	g.super[1].contents = 1;
	g.mount[1].parent = 1;
	g.mount[1].at = str("/tmp");
	g.group[1].path = str("/a");
	for (int i = 0; i < 3; i++) {
		ckpt__tmpfs_entry__init(&g.entry[i]);
		g.entries[i] = &g.entry[i];
		g.entry[i].super = 2;
		g.entry[i].path = str(names[i]);
		g.entry[i].mode = i ? S_IFREG | 0600 : S_IFDIR | 0755;
	}
	g.entry[2].link = 2;
	for (uint32_t i = 0; i < CKPT_SPACE_COUNT; i++)
		g.ids[i] = i + 1;
	g.thread.spaces = g.ids;
	g.thread.n_spaces = CKPT_SPACE_COUNT;
	g.threads[0] = &g.thread;
	g.task = (struct ckpt_task){ .process = &g.process, .mm = &g.mm, .threads = g.threads, .thread_count = 1 };
	g.files[0] = &g.file;
	g.settings[0] = &g.setting;
	g.setting.name = str("cgroup.max.depth");
	g.tree = (struct ckpt_tree){
		.tasks = &g.task, .task_count = 1, .spaces = g.spaces, .space_count = CKPT_SPACE_COUNT + 1,
		.supers = g.supers, .super_count = 2, .mounts = g.mounts, .mount_count = 2, .groups = g.groups,
		.group_count = 2, .tmpfs = g.entries, .tmpfs_count = 3, .files = g.files, .file_count = 1,
	};
}

#define SPOILED(change, what)                                                         \
	do {                                                                          \
		be_good();                                                            \
		change;                                                               \
		ok(ckpt_spaces_check(&g.tree, &e) < 0 && e.msg[0], "refused: " what); \
	} while (0)

TEST(good_image)
{
	be_good();
	eq_int(ckpt_spaces_check(&g.tree, &e), 0, "a good one passes");
	be_good();
	g.group[1].settings = g.settings;
	g.group[1].n_settings = 1;
	eq_int(ckpt_spaces_check(&g.tree, &e), 0, "with a setting, too");
}

TEST(hostile_namespaces)
{
	SPOILED(g.space[CKPT_SPACE_COUNT].owner = CKPT_SPACE_COUNT + 1, "a namespace that owns itself");
	SPOILED(g.space[CKPT_SPACE_COUNT].owner = 2, "one owned by what is no user namespace");
	SPOILED(g.space[CKPT_SPACE_COUNT].owner = 0, "a second one of nobody's");
	SPOILED(g.space[3].kind = 99, "a kind that is none");
	SPOILED(g.space[CKPT_SPACE_COUNT].group = str("/../up"), "a group outside");
	SPOILED(g.ids[2] = 2, "a thread in a namespace of another kind");
	SPOILED(g.ids[1] = CKPT_SPACE_COUNT + 1, "process 1 elsewhere");
	SPOILED(g.ids[1] = 1000, "a namespace that is not there");
	SPOILED(g.thread.n_spaces = 3, "too few");
	SPOILED(g.thread.group = 3, "a group that is not there");
	SPOILED(g.process.cwd_space = 1, "a directory in a user namespace");
	SPOILED(g.file.space = 99, "a file nowhere");
	SPOILED((g.setting.name = str("kernel/core_pattern"), g.space[4].sysctls = g.settings,
		 g.space[4].n_sysctls = 1),
		"a sysctl of others");
}

TEST(hostile_mounts)
{
	SPOILED(g.mount[0].parent = 2, "a mount in a later one");
	SPOILED(g.mount[1].parent = 2, "a mount in itself");
	SPOILED(g.mount[1].super = 3, "a file system that is not there");
	SPOILED(g.mount[1].space = 1, "in what is no mount namespace");
	SPOILED(g.mount[1].at = str("/../etc"), "a place outside");
	SPOILED(g.mount[1].at = str("etc"), "a place that is relative");
	SPOILED(g.mount[1].root = str("/a/./b"), "a part with a dot");
	SPOILED(g.mount[1].root = str(""), "no part");
	SPOILED(g.mount[1].attributes = MOUNT_ATTR_IDMAP, "ids of its own");
	SPOILED(g.mount[0].at = str("/x"), "a root with a place");
	SPOILED(g.super[0].contents = 1, "contents of an overlay");
	SPOILED((g.setting.name = str("lowerdir"), g.super[1].options = g.settings, g.super[1].n_options = 1),
		"an option of another file system");
	SPOILED((g.setting.name = str("size"), g.setting.value.data = (uint8_t *)str("1"), g.setting.value.len = 1,
		 g.super[1].options = g.settings, g.super[1].n_options = 1), "a value that does not end");
	SPOILED(g.super[1].type = str("nsfs"), "a namespace's file without one");
}

TEST(hostile_groups)
{
	SPOILED(g.group[1].path = str("/../../host"), "a group outside");
	SPOILED(g.group[1].path = str(""), "the VPS's own twice");
	SPOILED(g.group[0].path = str("/x"), "not the VPS's own first");
	SPOILED((g.setting.name = str("../memory.max"), g.group[1].settings = g.settings, g.group[1].n_settings = 1),
		"a setting of the group above");
	SPOILED((g.setting.name = str("cgroup.procs"), g.group[1].settings = g.settings, g.group[1].n_settings = 1),
		"what is no setting");
	SPOILED((g.setting.name = str("memory.max"), g.group[0].settings = g.settings, g.group[0].n_settings = 1),
		"the host's limit");
}

TEST(hostile_tmpfs)
{
	SPOILED(g.entry[1].path = str("/a/../../b"), "a path that leads up");
	SPOILED(g.entry[1].path = str("a"), "a relative path");
	SPOILED(g.entry[1].super = 1, "a file in an overlay");
	SPOILED(g.entry[1].super = 9, "a file system that is not there");
	SPOILED(g.entry[2].link = 3, "another name of itself");
	SPOILED(g.entry[2].link = 1, "another name of a directory");
	SPOILED(g.entry[0].mode = S_IFREG, "a root that is a file");
}
