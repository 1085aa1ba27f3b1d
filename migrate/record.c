/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/record.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"

#include <fcntl.h>

#define RECORD "migration"

static const char *const state_names[] = {
	[MIG_IS_FROZEN] = "frozen",
	[MIG_IS_PREPARED] = "prepared",
	[MIG_IS_COMMITTED] = "committed",
	[MIG_IS_MOVED] = "moved",
};

const char *mig_state_name(enum mig_state s)
{
	return state_names[s];
}

bool mig_id_is_valid(const char *id)
{
	return strlen(id) == 36 && strspn(id, "0123456789abcdef-") == 36;
}

json_t *mig_record_json(const struct mig_record *r)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "id", r->id,
			 "role", r->role == MIG_SOURCE ? "source" : "destination", "state",
			 state_names[r->state], "epoch", (int)r->epoch, "peer", r->peer, "keep",
			 r->keep, "live", r->live, "at_us", (json_int_t)r->at_us, "pause_us",
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
	json_t *j;

	if (r < 0)
		return r == -ENOENT ? r : -EBADMSG;
	j = json_loads(text, 0, NULL);
	r = mig_record_parse(j, ret);
	json_decref(j);
	return r;
}

int mig_record_write(int dir, struct mig_record *r, struct err *e)
{
	cleanup_free char *text = NULL;
	json_t *j;
	int ret;

	r->epoch++;
	r->at_us = now_realtime_us();
	j = mig_record_json(r);
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	ret = text ? fd_replace_file_at(dir, RECORD, text, strlen(text), 0600, true) : -ENOMEM;
	return ret < 0 ? err_code(e, ret, "write the record of the migration") : 0;
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

int mig_taken_write(const char *lib, const char *id, const char *name, struct err *e)
{
	cleanup_close int dir = open_taken(lib, e), top = -EBADF;
	int r;

	if (dir < 0)
		return dir;
	/* The directory may be new. */
	top = open(lib, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0 || fsync(top) < 0)
		return err_sys(e, "write %s", lib);
	r = fd_replace_file_at(dir, id, name, strlen(name), 0600, true);
	return r < 0 ? err_code(e, r, "write down that %s was taken over", name) : 0;
}

int mig_taken_has(const char *lib, const char *id, struct err *e)
{
	cleanup_close int dir = open_taken(lib, e);

	if (dir < 0)
		return dir;
	if (!mig_id_is_valid(id))
		return err_set(e, ERR_USAGE, "%.40s is not a migration", id);
	if (faccessat(dir, id, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : err_sys(e, "look for migration %s", id);
}
