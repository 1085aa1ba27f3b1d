/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A tenant that does anything to its files, between passes and beside them. */
#include "tests/unit/tap.h"

#include "tests/unit/storage_pair.h"

static unsigned long state = 88172645463325252;

static unsigned any(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 33) % below;
}

static void any_path(char buf[64])
{
	static const char *const dirs[] = { "", "p/", "q/", "p/q/", "q/p/", "p/q/r/" };

	snprintf(buf, 64, "%s%c", dirs[any(6)], "abcpqr"[any(6)]);
}

/* Most fail, for want of a directory or because the name is taken: the rest is a busy tenant. */
static void any_change(int dir)
{
	char a[64], b[64], data[300];
	int fd;

	any_path(a);
	any_path(b);
	switch (any(10)) {
	case 0:
	case 1:
		mkdirat(dir, a, 0700 + any(64));
		break;
	case 2:
		renameat(dir, a, dir, b);
		break;
	case 3:
		renameat2(dir, a, dir, b, RENAME_EXCHANGE);
		break;
	case 4:
		maybe(linkat(dir, a, dir, b, 0));
		break;
	case 5:
		if (unlinkat(dir, a, 0) < 0)
			path_remove_tree_at(dir, a);
		break;
	case 6:
		maybe(symlinkat(b, dir, a));
		break;
	default:
		fd = openat(dir, a, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600 + any(64));
		if (fd < 0)
			break;
		memset(data, (int)any(256), sizeof(data));
		if (any(3) == 0)
			maybe(ftruncate(fd, any(200000)));
		maybe(pwrite(fd, data, any(sizeof(data)), any(200000)));
		if (any(3) == 0)
			fsetxattr(fd, "user.x", data, any(9), 0);
		else if (any(3) == 0)
			fremovexattr(fd, "user.x");
		close(fd);
	}
}

static void change_some(struct pair *p, bool last)
{
	(void)last;
	for (unsigned k = any(4); k > 0; k--)
		any_change(p->from);
}

static void anything_goes(void)
{
	bool good = true;
	struct pair p;

	pair_init(&p);
	for (int i = 0; i < 150 && good; i++) {
		for (unsigned k = any(30); k > 0; k--)
			any_change(p.from);
		good = pass(&p, NULL, 0) == 0 && is_equal(&p);
	}
	ok(good, "150 passes over a tree that changes in every way, the same after each");
	pair_done(&p);
}

static unsigned long seed_of_run(void)
{
	const char *seed = getenv("VPS_TEST_SEED");

	return seed ? strtoul(seed, NULL, 0) << 16 : 0;
}

static void changes_between_records(void)
{
	bool good = true;
	struct pair p;

	state ^= seed_of_run();
	for (int round = 0; round < 20 && good; round++) {
		pair_init(&p);
		p.between = change_some;
		for (int i = 0; i < 20 && good; i++)
			good = storage_send_pass(p.send, NULL, false, &p.pass, &e) == 0;
		if (!good)
			diag("%s", e.msg);
		p.between = NULL;
		good = good && pass(&p, NULL, 0) == 0 && is_equal(&p);
		pair_done(&p);
	}
	ok(good, "20 times 20 passes with changes between records, the same after the last");
}

/* The passes before the last run beside the tenant, which has changed something before each. */
static void a_tree_that_changes_meanwhile(void)
{
	unsigned long *changes = mmap(NULL, sizeof(*changes), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r = 0, status;
	struct pair p;
	pid_t pid;

	state ^= seed_of_run();
	pair_init(&p);
	pid = fork();
	if (pid == 0) {
		for (;; __atomic_add_fetch(changes, 1, __ATOMIC_RELAXED))
			any_change(p.from);
	}
	for (int i = 0; i < 100 && r == 0; i++) {
		unsigned long seen = __atomic_load_n(changes, __ATOMIC_RELAXED);

		while (__atomic_load_n(changes, __ATOMIC_RELAXED) - seen < 20)
			sched_yield();
		r = storage_send_pass(p.send, NULL, false, &p.pass, &e);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	eq_int(r, 0, "100 passes beside changes: %s", r < 0 ? e.msg : "");
	eq_int(pass(&p, NULL, 0), 0, "the last pass");
	ok(is_equal(&p), "both trees are the same");
	pair_done(&p);
	munmap(changes, sizeof(*changes));
}

TEST(changes_of_all_kinds) {
	anything_goes();
	changes_between_records();
	a_tree_that_changes_meanwhile();
}

/* ---- passes that look at what was changed ---- */

TEST(changes_of_all_kinds_that_are_noted) {
	if (!can_watch())
		skip("%s", e.msg);
	watching = true;
	anything_goes();
	changes_between_records();
	a_tree_that_changes_meanwhile();
	watching = false;
}
