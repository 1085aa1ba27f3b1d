/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/record.h"
#include "tests/unit/tap.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>

static struct err e;
static char place[256];

static int place_open(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(place, sizeof(place), "%s/vps-record-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(place))
		abort();
	return open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void place_close(int dir)
{
	int top = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	close(dir);
	if (path_remove_tree_at(top, place + 1) < 0 || access(place, F_OK) == 0)
		diag("%s stays behind", place);
	close(top);
}

#define ID "0c6d1b3e-0000-4000-8000-000000000001"

TEST(records) {
	struct mig_record rec = { .id = ID, .state = MIG_IS_FROZEN, .peer = "root@b", .keep = true,
				  .bytes = 7, .pause_us = 8 };
	struct mig_record got;
	int dir = place_open();

	eq_int(mig_record_read(dir, &got), -ENOENT, "there is none");
	eq_int(mig_record_write(dir, &rec, &e), 0, "written: %s", e.msg);
	eq_int(mig_record_read(dir, &got), 0, "read");
	ok(STREQ(got.id, ID) && got.state == MIG_IS_FROZEN && STREQ(got.peer, "root@b") && got.keep &&
	   got.bytes == 7 && got.pause_us == 8 && got.epoch == 1, "it is what was written");
	for (int s = MIG_IS_FROZEN; s <= MIG_IS_MOVED; s++) {
		eq_int(mig_record_turn(dir, (enum mig_state)s, &e), 0, "turned to %s",
		       mig_state_name((enum mig_state)s));
		ok(mig_record_read(dir, &got) == 0 && got.state == (enum mig_state)s && got.bytes == 7,
		   "it says so, and all else as before");
	}
	ok(mig_record_write(dir, &rec, &e) == 0 && mig_record_read(dir, &got) == 0 && got.epoch == 2,
	   "the epoch rises");
	fd_replace_file_at(dir, "migration", "Cxx", 3, 0600, false);
	eq_int(mig_record_read(dir, &got), -EBADMSG, "half a record is damage, not absence");
	fd_replace_file_at(dir, "migration", "", 0, 0600, false);
	eq_int(mig_record_read(dir, &got), -EBADMSG, "so is an empty one");
	eq_int(mig_record_remove(dir, &e), 0, "removed");
	eq_int(mig_record_remove(dir, &e), 0, "twice");
	eq_int(mig_record_read(dir, &got), -ENOENT, "it is gone");
	place_close(dir);
}

TEST(words) {
	int dir = place_open();

	eq_int(mig_taken_has(place, ID, &e), 0, "no word");
	ok(mig_taken_give(place, ID, &e) < 0, "what was not prepared is not given");
	eq_int(mig_taken_has(place, ID, &e), 0, "still no word");
	eq_int(mig_taken_prepare(place, ID, "web1", &e), 0, "prepared: %s", e.msg);
	eq_int(mig_taken_has(place, ID, &e), 0, "that is no word");
	mig_taken_drop(place, ID);
	ok(mig_taken_give(place, ID, &e) < 0, "what was dropped is not given");
	eq_int(mig_taken_prepare(place, ID, "web1", &e), 0, "prepared again");
	eq_int(mig_taken_give(place, ID, &e), 0, "given");
	eq_int(mig_taken_has(place, ID, &e), 1, "the word stands");
	ok(mig_taken_prepare(place, ID, "web1", &e) < 0 && e.code == ERR_EXISTS,
	   "it is given once: %s", e.msg);
	eq_int(mig_taken_has(place, ID, &e), 1, "and still stands");
	ok(mig_taken_has(place, "../../etc/passwd", &e) < 0, "no path is an id");
	place_close(dir);
}
