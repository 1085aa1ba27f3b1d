/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/record.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/str.h"

#include <fcntl.h>

#define RECORD "migration"

static const char *const state_names[] = {
	[MIG_IS_FROZEN] = "frozen",
	[MIG_IS_PREPARED] = "prepared",
	[MIG_IS_COMMITTED] = "committed",
	[MIG_IS_MOVED] = "moved",
};

/* The first byte of the file. What is not one of these was being written when the host went down, which
 * nobody can tell from MIG_IS_COMMITTED. */
static const char state_letters[] = { [MIG_IS_FROZEN] = 'F', [MIG_IS_PREPARED] = 'P',
				      [MIG_IS_COMMITTED] = 'C', [MIG_IS_MOVED] = 'M' };

const char *mig_state_name(enum mig_state s)
{
	return state_names[s];
}

json_t *mig_record_json(const struct mig_record *r)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:s, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "id", r->id,
			 "role", r->role == MIG_SOURCE ? "source" : "destination", "state",
			 state_names[r->state], "epoch", (int)r->epoch, "peer", r->peer, "keep",
			 r->keep, "live", r->live, "paused", r->paused, "at_us", (json_int_t)r->at_us, "pause_us",
			 (json_int_t)r->pause_us, "total_us", (json_int_t)r->total_us, "bytes",
			 (json_int_t)r->bytes, "rounds", (json_int_t)r->rounds);
}

static uint64_t number(json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));

	return v > 0 ? (uint64_t)v : 0;
}

int mig_record_parse(json_t *j, struct mig_record *ret)
{
	const char *id = json_string_value(json_object_get(j, "id"));
	const char *role = json_string_value(json_object_get(j, "role"));
	const char *state = json_string_value(json_object_get(j, "state"));
	const char *peer = json_string_value(json_object_get(j, "peer"));
	size_t s = 0;

	*ret = (struct mig_record){ 0 };
	while (state && s < ARRAY_SIZE(state_names) && !STREQ(state, state_names[s]))
		s++;
	if (!id || !mig_id_is_valid(id) || !role || !state || s == ARRAY_SIZE(state_names))
		return -EBADMSG;
	snprintf(ret->id, sizeof(ret->id), "%s", id);
	snprintf(ret->peer, sizeof(ret->peer), "%s", peer ? peer : "");
	ret->role = STREQ(role, "destination") ? MIG_DESTINATION : MIG_SOURCE;
	ret->state = (enum mig_state)s;
	ret->epoch = (unsigned)number(j, "epoch");
	ret->keep = json_is_true(json_object_get(j, "keep"));
	ret->live = json_is_true(json_object_get(j, "live"));
	ret->paused = json_is_true(json_object_get(j, "paused"));
	ret->at_us = number(j, "at_us");
	ret->pause_us = number(j, "pause_us");
	ret->total_us = number(j, "total_us");
	ret->bytes = number(j, "bytes");
	ret->rounds = number(j, "rounds");
	return 0;
}

int mig_record_read(int dir, struct mig_record *ret)
{
	cleanup_free char *text = NULL;
	int r = fd_read_file_at(dir, RECORD, 16384, &text, NULL);
	const char *letter;
	json_t *j;

	if (r < 0)
		return r == -ENOENT ? r : -EBADMSG;
	letter = text[0] ? memchr(state_letters, text[0], sizeof(state_letters)) : NULL;
	j = letter ? json_loads(text + 1, 0, NULL) : NULL;
	r = mig_record_parse(j, ret);
	json_decref(j);
	if (r == 0)
		ret->state = (enum mig_state)(letter - state_letters);
	return r;
}

int mig_record_write(int dir, struct mig_record *r, struct err *e)
{
	cleanup_buf struct buf text = { 0 };
	cleanup_free char *json = NULL;
	json_t *j;
	int ret;

	r->epoch++;
	r->at_us = now_realtime_us();
	j = mig_record_json(r);
	json = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	ret = json ? buf_addf(&text, "%c %s\n", state_letters[r->state], json) : -ENOMEM;
	if (ret == 0)
		ret = fd_replace_file_at(dir, RECORD, text.data, text.len, 0600, true);
	return ret < 0 ? err_code(e, ret, "write the record of the migration") : 0;
}

/* The file is there, whole and on the disk: a write in its first block waits for no journal. */
static int turn(int dir, const char *name, char letter)
{
	cleanup_close int fd = openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	if (pwrite(fd, &letter, 1, 0) != 1 || fdatasync(fd) < 0)
		return -errno;
	return 0;
}

int mig_record_turn(int dir, enum mig_state state, struct err *e)
{
	int r = turn(dir, RECORD, state_letters[state]);

	return r < 0 ? err_code(e, r, "write the record of the migration") : 0;
}

int mig_record_remove(int dir, struct err *e)
{
	if (unlinkat(dir, RECORD, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove the record of the migration");
	return fsync(dir) < 0 ? err_sys(e, "remove the record of the migration") : 0;
}

static int open_taken(const char *lib, struct err *e)
{
	char path[512];
	int fd, r;

	snprintf(path, sizeof(path), "%s/migrations", lib);
	r = path_mkdirs_at(AT_FDCWD, path, 0700);
	if (r < 0)
		return err_code(e, r, "make %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}

#define NOT_GIVEN '-'
#define GIVEN '+'

int mig_taken_prepare(const char *lib, const char *id, const char *name, struct err *e)
{
	cleanup_close int dir = open_taken(lib, e), top = -EBADF;
	char text[80];
	int r;

	if (dir < 0)
		return dir;
	/* The directory may be new. */
	top = open(lib, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0 || fsync(top) < 0)
		return err_sys(e, "write %s", lib);
	r = mig_taken_has(lib, id, e);
	if (r != 0)
		return r < 0 ? r : err_set(e, ERR_EXISTS, "migration %s was taken over already", id);
	snprintf(text, sizeof(text), "%c %s\n", NOT_GIVEN, name);
	r = fd_replace_file_at(dir, id, text, strlen(text), 0600, true);
	return r < 0 ? err_code(e, r, "prepare to take %s over", name) : 0;
}

int mig_taken_give(const char *lib, const char *id, struct err *e)
{
	cleanup_close int dir = open_taken(lib, e);
	int r = dir < 0 ? dir : turn(dir, id, GIVEN);

	return r < 0 && dir >= 0 ? err_code(e, r, "write down that it was taken over") : r;
}

void mig_taken_drop(const char *lib, const char *id)
{
	struct err ignored;
	cleanup_close int dir = open_taken(lib, &ignored);

	if (dir >= 0)
		unlinkat(dir, id, 0);
}

int mig_taken_has(const char *lib, const char *id, struct err *e)
{
	cleanup_close int dir = open_taken(lib, e);
	cleanup_free char *text = NULL;
	int r;

	if (dir < 0)
		return dir;
	if (!mig_id_is_valid(id))
		return err_set(e, ERR_USAGE, "%.40s is not a migration", id);
	r = fd_read_file_at(dir, id, 1024, &text, NULL);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_code(e, r, "look for migration %s", id) : text[0] == GIVEN;
}

bool mig_id_is_valid(const char *id)
{
	return strlen(id) == 36 && strspn(id, "0123456789abcdef-") == 36;
}
