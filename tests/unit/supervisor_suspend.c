/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/disk.h"
#include "supervisor/suspend.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include "tests/unit/tap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static char dir[64];
static struct err e;

static int open_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/suspend.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void remove_dir(void)
{
	cleanup_close int tmp = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);

	path_remove_tree_at(tmp, dir + strlen("/tmp/"));
}

static void make(int lib, const char *name)
{
	ok(fd_replace_file_at(lib, name, "x", 1, 0600, false) == 0, "make %s", name);
}

static bool there(int lib, const char *name)
{
	return faccessat(lib, name, F_OK, 0) == 0;
}

/* As the worker leaves it, and the monitor commits it. */
static void suspend(int lib)
{
	json_t *record = json_pack("{s:s, s:i}", "id", "an id", "bytes", 1);

	make(lib, SUSPEND_IMAGE);
	eq_int(suspend_commit(lib, record, &e), 0, "committed");
	json_decref(record);
}

TEST(there_and_back)
{
	cleanup_close int lib = open_dir();
	json_t *record;

	ok(!suspend_is(lib), "not suspended");
	suspend(lib);
	ok(suspend_is(lib), "suspended");
	record = suspend_record(lib);
	ok(record && STREQ(json_string_value(json_object_get(record, "id")), "an id"), "in that image");
	json_decref(record);
	suspend_abort(lib);
	ok(suspend_is(lib) && there(lib, SUSPEND_IMAGE), "what is committed is not undone");
	eq_int(suspend_resume(lib, &e), 0, "resumed");
	ok(!suspend_is(lib) && there(lib, SUSPEND_IMAGE), "no longer suspended, the image is there");
	suspend_resumed(lib);
	ok(!there(lib, SUSPEND_IMAGE) && !there(lib, SUSPEND_RESUMING), "and gone");
	eq_int(suspend_resume(lib, &e), 0, "one that is not suspended has nothing to take back");
	remove_dir();
}

TEST(an_image_without_a_record_is_none)
{
	cleanup_close int lib = open_dir();

	make(lib, SUSPEND_IMAGE);
	make(lib, SUSPEND_TMP);
	make(lib, CHECKPOINT_TMP);
	make(lib, CHECKPOINT_FILE);
	eq_int(suspend_recover(lib, true, &e), 0, "looked at");
	ok(!suspend_is(lib) && !there(lib, SUSPEND_IMAGE) && !there(lib, SUSPEND_TMP), "removed");
	ok(!there(lib, CHECKPOINT_TMP) && there(lib, CHECKPOINT_FILE), "a checkpoint is not");
	remove_dir();
}

TEST(who_resumed_it_has_died)
{
	cleanup_close int lib = open_dir();

	suspend(lib);
	suspend_resume(lib, &e);
	eq_int(suspend_recover(lib, true, &e), 0, "nothing has run");
	ok(suspend_is(lib) && there(lib, SUSPEND_IMAGE), "so it is suspended");
	suspend_resume(lib, &e);
	eq_int(suspend_recover(lib, false, &e), 0, "or something may have");
	ok(!suspend_is(lib) && !there(lib, SUSPEND_IMAGE) && !there(lib, SUSPEND_RESUMING), "so it is not");
	remove_dir();
}

TEST(given_up)
{
	cleanup_close int lib = open_dir();

	suspend(lib);
	eq_int(suspend_discard(lib, &e), 0, "given up");
	ok(!suspend_is(lib) && !there(lib, SUSPEND_IMAGE), "nothing is left");
	remove_dir();
}

TEST(damaged_records)
{
	static const char *const texts[] = { "", "{", "[]", "{\"id\":7}", "{\"at\":1}" };
	cleanup_close int lib = open_dir();

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		fd_replace_file_at(lib, SUSPEND_RECORD, texts[i], strlen(texts[i]), 0600, false);
		ok(suspend_is(lib) && !suspend_record(lib), "'%s' is no record", texts[i]);
	}
	remove_dir();
}

static int read_back(int fd)
{
	lseek(fd, 0, SEEK_SET);
	return disk_load(fd, NULL, NULL, &e);
}

/* A tree with a file in it, as the files behind an image. */
static int write_files(void)
{
	struct storage_root root = { .id_base = 0, .id_count = 65536 };
	int lib = open_dir(), fd = memfd_create("files", MFD_CLOEXEC), file;
	struct disk_save *s = NULL;

	snprintf(root.dir, sizeof(root.dir), "%s", dir);
	mkdirat(lib, "upper", 0755);
	file = openat(lib, "upper/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ok(write(file, "contents", 8) == 8, "a file");
	close(file);
	ok(disk_save_new(&root, lib, NULL, &s, &e) == 0 && disk_save_pass(s, true, &e) == 0 &&
	   disk_save_append(s, fd, &e) == 0, "written");
	disk_save_free(s);
	close(lib);
	remove_dir();
	return fd;
}

TEST(files)
{
	int fd = write_files();
	off_t len = lseek(fd, 0, SEEK_END);
	uint8_t c;

	eq_int(read_back(fd), 0, "whole");
	for (off_t at = 0; at < len; at += 7) {
		ok(pread(fd, &c, 1, at) == 1, "a byte");
		c ^= 0x41;
		ok(pwrite(fd, &c, 1, at) == 1 && read_back(fd) < 0, "changed at %lld", (long long)at);
		c ^= 0x41;
		ok(pwrite(fd, &c, 1, at) == 1, "and back");
	}
	eq_int(read_back(fd), 0, "whole again");
	for (off_t cut = len - 1; cut > 0; cut = cut * 3 / 4)
		ok(ftruncate(fd, cut) == 0 && read_back(fd) < 0, "%lld bytes of it are not", (long long)cut);
	close(fd);
}
