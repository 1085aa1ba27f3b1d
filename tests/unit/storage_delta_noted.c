/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Passes that look at what was changed alone. */
#include "tests/unit/tap.h"

#include "tests/unit/storage_pair.h"

static void watched_init(struct pair *p)
{
	watching = true;
	pair_init(p);
	watching = false;
}

/* Others may change so much on the same file system just then that it cannot all be noted. */
static bool is_part(const struct pair *p)
{
	return p->pass.part != p->pass.lost;
}

TEST(a_part_of_a_large_tree) {
	char name[32];
	struct pair p;

	if (!can_watch())
		skip("%s", e.msg);
	watched_init(&p);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		must(mkdirat(p.from, name, 0755));
		for (int k = 0; k < 50; k++) {
			snprintf(name, sizeof(name), "d%d/f%d", i, k);
			put(p.from, name, 0, name, sizeof(name));
		}
	}
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	ok(!p.pass.part && p.pass.entries == 20 * 51 + 1, "looks at all");
	eq_int(pass(&p, NULL, 0), 0, "a second pass");
	ok(is_part(&p) && (p.pass.lost || p.pass.entries < 3), "looks at nothing");
	put(p.from, "d3/f7", 0, "changed", 7);
	must(renameat(p.from, "d5", p.from, "d4/moved"));
	must(linkat(p.from, "d6/f1", p.from, "d7/g", 0));
	eq_int(pass(&p, NULL, 0), 0, "a third pass");
	ok(is_part(&p) && (p.pass.lost || p.pass.entries < 80), "looks at what was changed (%d entries)", (int)p.pass.entries);
	ok(is_equal(&p), "both trees are the same");
	pair_done(&p);
}

static bool is_there(const struct pair *p, const char *path)
{
	return faccessat(p->to, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A file that was written through by a name that is gone has still another. */
TEST(a_name_that_is_gone) {
	struct stat st;
	struct pair p;
	int fd;

	if (!can_watch())
		skip("%s", e.msg);
	watched_init(&p);
	must(mkdirat(p.from, "gone", 0755));
	put(p.from, "gone/f", 0, "before", 6);
	must(linkat(p.from, "gone/f", p.from, "kept", 0));
	fd = openat(p.from, "gone/f", O_RDWR | O_CLOEXEC);
	must(unlinkat(p.from, "gone/f", 0));
	must(unlinkat(p.from, "gone", AT_REMOVEDIR));
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	must(pwrite(fd, "after!", 6, 0));
	eq_int(pass(&p, NULL, 0), 0, "a second pass");
	ok(is_part(&p) && is_equal(&p), "sees what was written by the other name");
	fstat(fd, &st);
	close(fd);
	pair_done(&p);
}

/* From the first record of a pass until its end. */
static void a_is_away(struct pair *p, bool last)
{
	if (last)
		renameat(p->from, "elsewhere", p->from, "a");
	else
		renameat(p->from, "a", p->from, "elsewhere");
}

/* That it went and came changes neither the directory nor what lies in it. */
TEST(a_directory_that_is_away_for_a_moment) {
	struct pair p;

	if (!can_watch()) {
		skip("%s", e.msg);
		return;
	}
	watching = true;
	pair_init(&p);
	watching = false;
	must(mkdirat(p.from, "a", 0755));
	put(p.from, "0", 0, "before", 6);
	put(p.from, "a/f", 0, "before", 6);
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	/* What is changed in a tick of the clock is looked at again in any case. */
	usleep(50000);
	eq_int(pass(&p, NULL, 0), 0, "a second pass");
	put(p.from, "0", 0, "after!", 6);
	put(p.from, "a/f", 0, "after!", 6);
	put(p.from, "a/new", 0, "after!", 6);
	usleep(50000);
	p.between = a_is_away;
	eq_int(storage_send_pass(p.send, NULL, false, &p.pass, &e), 0, "a pass that does not meet it");
	p.between = NULL;
	ok(!is_there(&p, "a/new"), "does not have what is in it");
	eq_int(pass(&p, NULL, 0), 0, "the next pass");
	ok(is_part(&p) && is_equal(&p), "has it");
	pair_done(&p);
}

/* What sendfile(2) writes is told of when the file is closed: one that is open is looked at all the same. */
TEST(files_that_are_open) {
	struct storage_writers w = { .all = true };
	struct pair p;
	struct stat st;
	uint64_t ino;
	int from, to;

	if (!can_watch())
		skip("%s", e.msg);
	watched_init(&p);
	put(p.from, "source", 0, "written by the kernel", 21);
	put(p.from, "target", 0, "", 0);
	from = openat(p.from, "source", O_RDONLY | O_CLOEXEC);
	to = openat(p.from, "target", O_WRONLY | O_CLOEXEC);
	fstat(to, &st);
	ino = st.st_ino;
	eq_int(pass(&p, NULL, 0), 0, "a first pass");
	must(sendfile(to, from, NULL, 21));
	w.open = &ino;
	w.open_count = 1;
	eq_int(storage_send_pass(p.send, &w, true, &p.pass, &e), 0, "a pass that is told what is open");
	ok(is_part(&p) && is_equal(&p), "sees it");
	w.all = false;
	eq_int(storage_send_pass(p.send, &w, true, &p.pass, &e), 0, "one that is not told all");
	ok(!p.pass.part && is_equal(&p), "looks at all");
	close(from);
	close(to);
	pair_done(&p);
}
