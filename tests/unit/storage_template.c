/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/path.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define DIGEST_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct err e;
static char lib[128];

static void begin(void)
{
	const char *tmp = getenv("TMPDIR");

	memset(&e, 0, sizeof(e));
	snprintf(lib, sizeof(lib), "%s/vps-template-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(lib))
		abort();
}

static void end(void)
{
	if (path_remove_tree_at(AT_FDCWD, lib) < 0)
		diag("%s stays behind", lib);
}

static const char *in_lib(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", lib, name);
	return path;
}

static bool there(const char *name)
{
	return access(in_lib(name), F_OK) == 0;
}

/* Writes a file below lib, with the directories that lead to it. */
static void put(const char *name, const char *text, mode_t mode)
{
	char dir[512];
	int fd;

	snprintf(dir, sizeof(dir), "%s", in_lib(name));
	*strrchr(dir, '/') = '\0';
	if (path_mkdirs_at(AT_FDCWD, dir, 0755) < 0)
		abort();
	fd = open(in_lib(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || fd_write_full(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0)
		abort();
	close(fd);
}

static const char metadata[] = "distribution = tiny\nversion = 3\narch = x86_64\n"
			       "init = /sbin/init --x\nstop_signal = SIGUSR2\n"
			       "size = 42\ncreated = 1700000000\n";

static void two_generations(void)
{
	put("templates/one/" DIGEST_A "/template", metadata, 0644);
	put("templates/one/" DIGEST_A "/rootfs/x", "", 0644);
	put("templates/one/" DIGEST_B "/template", metadata, 0644);
	put("templates/one/current", DIGEST_B "\n", 0644);
	put("templates/two/" DIGEST_A "/template", metadata, 0644);
	put("templates/two/current", DIGEST_A "\n", 0644);
}

TEST(metadata_round_trip)
{
	cleanup_buf struct buf text = { 0 };
	struct storage_template t = { 0 };

	eq_int(storage_meta_parse(metadata, "file", &t, &e), 0, "parse");
	eq_str(t.init, "/sbin/init --x", "init");
	eq_int(t.created, 1700000000, "created");
	eq_int(storage_meta_format(&t, &text), 0, "format");
	eq_str(text.data, metadata, "says the same");
}

TEST(metadata_as_people_write_it)
{
	struct storage_template t = { .version = "kept" };

	eq_int(storage_meta_parse("# comment\n\n  arch=i686  \r\n\tinit\t= /init\nfuture = x\n",
				  "file", &t, &e), 0, "parse");
	eq_str(t.arch, "i686", "blanks around do not count");
	eq_str(t.init, "/init", "nor tabs");
	eq_str(t.version, "kept", "what is not named stays");
}

TEST(metadata_that_is_wrong)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{ "arch = x\nnonsense\n", "file:2: not of the form `key = value`" },
		{ "init = sbin/init\n", "file:1: sbin/init is not a value of `init`" },
		{ "init = /a\x1b[2J\n", "file:1: this is not a value of `init`" },
		{ "stop_signal = SIGNOT\n", "file:1: SIGNOT is not a value of `stop_signal`" },
		{ "size = -1\n", "file:1: -1 is not a value of `size`" },
		{ "size = \n", "file:1: this is not a value of `size`" },
		{ "version = a b\n", "file:1: a b is not a value of `version`" },
		{ "arch = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "file:1: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is not a value of `arch`" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct storage_template t = { 0 };

		eq_int(storage_meta_parse(rows[i].text, "file", &t, &e), -EINVAL, "row %zu", i);
		eq_str(e.msg, rows[i].says, "row %zu says", i);
	}
}

TEST(find)
{
	struct storage_template t;
	char path[512];

	begin();
	eq_int(storage_template_find(lib, "one", NULL, &t, &e), -ENOENT, "before any was made");
	eq_str(e.msg, "template one: not found", "says");
	ok(strstr(e.hint, "vps template build") != NULL, "hint: %s", e.hint);
	two_generations();
	eq_int(storage_template_find(lib, "one", NULL, &t, &e), 0, "the current one");
	eq_str(t.digest, DIGEST_B, "its digest");
	eq_str(t.distribution, "tiny", "its metadata");
	eq_int(storage_template_find(lib, "one", DIGEST_A, &t, &e), 0, "an older one");
	eq_str(storage_template_rootfs(lib, &t, path, sizeof(path)),
	       in_lib("templates/one/" DIGEST_A "/rootfs"), "its tree");
	eq_int(storage_template_find(lib, "three", NULL, &t, &e), -ENOENT, "an unknown one");
	eq_str(e.hint, "there are: one, two", "the hint names those there are");
	eq_int(storage_template_find(lib, "../lib", NULL, &t, &e), -EINVAL, "a path");
	eq_int(storage_template_find(lib, "one", "../x", &t, &e), -EINVAL, "a path as digest");
	put("templates/one/current", "../../etc\n", 0644);
	ok(storage_template_find(lib, "one", NULL, &t, &e) < 0, "a damaged `current`");
	put("templates/two/" DIGEST_A "/template", "garbage", 0644);
	eq_int(storage_template_find(lib, "two", NULL, &t, &e), -EINVAL, "damaged metadata");
	ok(strstr(e.msg, "templates/two/" DIGEST_A "/template:1:") != NULL, "%s", e.msg);
	end();
}

TEST(list)
{
	struct storage_template *list;
	size_t count = 7;

	begin();
	eq_int(storage_template_list(lib, &list, &count, &e), 0, "of none");
	eq_int(count, 0, "is empty");
	free(list);
	two_generations();
	put("templates/.staging-x/rootfs/x", "", 0644);
	put("templates/Not A Name/current", DIGEST_A, 0644);
	put("templates/half/" DIGEST_A "/template", metadata, 0644);
	eq_int(storage_template_list(lib, &list, &count, &e), 0, "of some");
	eq_int(count, 2, "has those with a current generation");
	eq_str(list[0].name, "one", "sorted");
	eq_str(list[1].name, "two", "sorted");
	free(list);
	end();
}

TEST(remove)
{
	static const char *const used[] = { "two/" DIGEST_A, "oneness/" DIGEST_A, NULL };

	begin();
	two_generations();
	eq_int(storage_template_remove(lib, "two", used, &e), -EBUSY, "one that is used");
	eq_int(e.code, ERR_STATE, "status");
	ok(there("templates/two/" DIGEST_A), "stays");
	eq_int(storage_template_remove(lib, "one", used, &e), 0, "one that is not");
	ok(!there("templates/one"), "is gone");
	eq_int(storage_template_remove(lib, "one", used, &e), -ENOENT, "again");
	eq_int(storage_template_remove(lib, "../x", used, &e), -EINVAL, "a path");
	end();
}

TEST(sweep)
{
	static const char *const used[] = { "one/" DIGEST_A, NULL };
	int locked;

	begin();
	eq_int(storage_template_sweep(lib, NULL, &e), 0, "of nothing");
	two_generations();
	put("templates/.staging-old/rootfs/x", "", 0644);
	put("templates/.staging-live/rootfs/x", "", 0644);
	put("templates/half/" DIGEST_A "/template", metadata, 0644);
	locked = open(in_lib("templates/.staging-live"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	flock(locked, LOCK_EX);
	eq_int(storage_template_sweep(lib, used, &e), 0, "sweep");
	ok(!there("templates/.staging-old"), "a staging directory of nobody is gone");
	ok(there("templates/.staging-live/rootfs/x"), "one that is being filled stays");
	ok(!there("templates/half"), "a template without current generation is gone");
	ok(there("templates/one/" DIGEST_A) && there("templates/one/" DIGEST_B),
	   "the used and the current one stay");
	eq_int(storage_template_sweep(lib, NULL, &e), 0, "sweep with nothing in use");
	ok(!there("templates/one/" DIGEST_A), "the old one is gone");
	ok(there("templates/one/" DIGEST_B) && there("templates/two/" DIGEST_A),
	   "the current ones stay");
	put("templates/one/current", "damaged", 0644);
	ok(storage_template_sweep(lib, NULL, &e) < 0 && there("templates/one/" DIGEST_B),
	   "nothing is removed on the word of a damaged `current`");
	close(locked);
	end();
}

struct told {
	char stages[512];
	unsigned calls, cancel_at;
};

static int note(void *ctx, const char *stage, uint64_t done, uint64_t total)
{
	struct told *t = ctx;
	size_t len = strlen(t->stages);

	(void)done, (void)total;
	snprintf(t->stages + len, sizeof(t->stages) - len, "%s;", stage);
	return ++t->calls == t->cancel_at;
}

static int run_script(const char *text, struct told *told)
{
	struct tell tell = { .fn = note, .ctx = told };
	char script[512];
	const char *argv[] = { script, "first", "second", NULL };

	put("script", text, 0755);
	snprintf(script, sizeof(script), "%s", in_lib("script"));
	memset(&e, 0, sizeof(e));
	return storage_script_run(argv, lib, lib, &tell, &e);
}

TEST(script)
{
	struct told told = { 0 };
	struct stat st;

	if (geteuid() != 0)
		skip("not root");
	begin();
	setenv("VPS_SECRET", "x", 1);
	eq_int(run_script("#!/bin/sh\n"
			  "[ \"$1 $2\" = 'first second' ] || exit 10\n"
			  "[ $$ = 1 ] || exit 11\n"
			  "[ -z \"$VPS_SECRET\" ] || exit 12\n"
			  "[ \"$TMPDIR\" = \"$PWD\" ] || exit 13\n"
			  "[ ! -t 0 ] && [ ! -e /proc/self/fd/4 ] || exit 14\n"
			  "echo one >&3; mkdir m; mount -t tmpfs tmpfs m; : >m/file\n"
			  "echo two >&3; : >done\n", &told), 0, "runs");
	diag("%s %s", e.msg, told.stages);
	ok(there("done"), "to its end");
	ok(!there("m/file") && stat(in_lib("m"), &st) == 0, "what it mounted is gone");
	memset(&told, 0, sizeof(told));
	eq_int(run_script("#!/bin/sh\necho first >&2; echo why >&2; echo what >&2; exit 1\n",
			  &told), -EIO, "fails");
	eq_str(e.msg, "what", "the last line is the message");
	eq_str(e.hint, "why", "the one before the hint");
	eq_int(run_script("#!/bin/sh\nexit 3\n", &told), -EIO, "fails without a word");
	ok(strstr(e.msg, "exit status 3") != NULL, "%s", e.msg);
	eq_int(run_script("#!/bin/sh\nprintf 'a\\033[2J\\n' >&2; exit 2\n", &told), -EINVAL,
	       "status 2 is the user's fault");
	ok(str_is_printable(e.msg), "escape codes are left out");
	eq_int(run_script("#!/nonexistent\n", &told), -EIO, "no interpreter");
	ok(strstr(e.msg, "No such file") != NULL, "%s", e.msg);
	end();
}

TEST(script_cancelled)
{
	struct told told = { .cancel_at = 2 };
	int fd;

	if (geteuid() != 0)
		skip("not root");
	begin();
	/* The grandchild holds a lock on the file for as long as it lives. */
	eq_int(run_script("#!/bin/sh\n(exec 9>lock; flock 9; exec sleep 1000) &\n"
			  "while flock -n lock true; do :; done; echo going >&3; wait\n", &told),
	       -ECANCELED, "cancelled");
	eq_int(e.code, ERR_CANCELLED, "status");
	fd = open(in_lib("lock"), O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	ok(flock(fd, LOCK_EX | LOCK_NB) == 0, "what it started has ended with it");
	close(fd);
	ok(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD, "no child is left");
	end();
}

TEST(build_busybox)
{
	struct storage_template t, again;
	static const char *const include[] = { "nginx", NULL };
	static const char *const option[] = { "--help", NULL };
	struct told told = { 0 };
	struct stat st;
	char path[600];

	if (geteuid() != 0)
		skip("not root");
	if (access("/bin/busybox", X_OK) < 0)
		skip("busybox-static is not installed");
	begin();
	if (!ok(storage_template_build(lib, "busybox", "bb", NULL, note, &told, &t, &e) == 0,
		"build"))
		diag("%s (%s)", e.msg, e.hint);
	eq_str(t.name, "bb", "its name");
	eq_str(t.distribution, "busybox", "its distribution");
	eq_str(t.init, "/sbin/init", "its init");
	eq_str(t.stop_signal, "SIGINT", "its stop signal");
	ok(t.version[0] >= '1' && t.version[0] <= '9', "its version: %s", t.version);
	ok(strstr(told.stages, "configuration;") && strstr(told.stages, "digest;"), "stages: %s",
	   told.stages);
	snprintf(path, sizeof(path), "templates/bb/%s/rootfs/sbin/init", t.digest);
	ok(lstat(in_lib(path), &st) == 0 && S_ISLNK(st.st_mode), "there is an init");
	ok(stat(in_lib("templates"), &st) == 0 && (st.st_mode & 077) == 0,
	   "no user of the host can get at it");
	eq_int(storage_template_build(lib, "busybox", NULL, NULL, NULL, NULL, &again, &e), 0,
	       "build under its own name");
	eq_str(again.digest, t.digest, "gives the same tree");
	eq_int(storage_template_build(lib, "busybox", "bb", include, NULL, NULL, &again, &e),
	       -EINVAL, "packages it does not have");
	eq_str(e.msg, "the busybox template takes no packages", "says so");
	eq_int(storage_template_build(lib, "busybox", "bb", option, NULL, NULL, &again, &e),
	       -EINVAL, "an option is no package");
	eq_int(storage_template_build(lib, "none", "bb", NULL, NULL, NULL, &again, &e), -ENOENT,
	       "an unknown source");
	ok(strstr(e.hint, "busybox, debian"), "hint: %s", e.hint);
	eq_int(storage_template_build(lib, "../busybox", "bb", NULL, NULL, NULL, &again, &e),
	       -ENOENT, "a path is no source");
	eq_int(storage_template_find(lib, "bb", NULL, &again, &e), 0, "and the template stays");
	end();
}

static void digest_of(const char *tree, char digest[65])
{
	cleanup_strv struct strv paths = { 0 };
	struct tell tell = { 0 };
	uint64_t size;
	int root = open(in_lib(tree), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	digest[0] = '\0';
	if (storage_tree_list(root, &paths, &tell, &e) < 0 ||
	    storage_tree_digest(root, &paths, &tell, digest, &size, &e) < 0)
		diag("%s", e.msg);
	close(root);
}

/* Each of these must give another digest, and undoing it the first one again. */
TEST(digest)
{
	char first[65], other[65];

	begin();
	put("tree/a/x", "content", 0644);
	put("tree/a-b", "", 0644);
	digest_of("tree", first);
	eq_int(strlen(first), 64, "has 64 digits");
	put("tree/a/x", "kontent", 0644);
	digest_of("tree", other);
	ok(strcmp(other, first) != 0, "content counts");
	put("tree/a/x", "content", 0600);
	digest_of("tree", other);
	ok(strcmp(other, first) != 0, "mode counts");
	put("tree/a/x", "content", 0644);
	digest_of("tree", other);
	eq_str(other, first, "times and inode numbers do not");
	if (symlink("t", in_lib("tree/l")) < 0)
		abort();
	digest_of("tree", first);
	if (unlink(in_lib("tree/l")) < 0 || symlink("u", in_lib("tree/l")) < 0)
		abort();
	digest_of("tree", other);
	ok(strcmp(other, first) != 0, "the target of a link counts");
	if (geteuid() == 0) {
		digest_of("tree", first);
		if (lchown(in_lib("tree/l"), 5, 0) < 0)
			abort();
		digest_of("tree", other);
		ok(strcmp(other, first) != 0, "the owner counts");
	}
	end();
}
