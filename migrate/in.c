/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/in.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/step.h"

#include <fcntl.h>
#include <sys/stat.h>

/*
 * What comes is put into lib/vps/.receiving-NAME and gets its name last. The peer is not trusted:
 * the config is vpsd's own text by now, files are applied as storage/delta.h says, the files beside
 * the config have names that we know and bounds.
 */

static int tell(struct mig_receiving *r, const char *stage, uint64_t done, uint64_t total, struct err *e)
{
	struct mig_status st = { .stage = stage, .done = done, .total = total };

	return r->i->tell && r->i->tell(r->i->ctx, &st) ? err_set(e, ERR_CANCELLED, "cancelled") : 0;
}

int mig_in_bad(struct err *e)
{
	return err_set(e, ERR_USAGE, "what comes is not in the order of a VPS");
}

int mig_in_next(struct mig_receiving *r, struct err *e)
{
	int ret = mig_recv(r->c, &r->frame, e);

	if (ret == 0 && r->frame.type == MIG_TYPE_COUNT)
		ret = err_set(e, ERR_USAGE, "the stream ends before the VPS is whole");
	return ret;
}

static int place_up(void *ctx, struct err *e)
{
	struct mig_receiving *r = ctx;
	int ret = path_remove_tree_at(r->vps, r->entry);

	if (ret < 0)
		return err_code(e, ret, "remove %s", r->entry);
	if (mkdirat(r->vps, r->entry, 0700) < 0)
		return err_sys(e, "make %s", r->entry);
	r->dir = mig_open_dir(r->vps, r->entry, e);
	return r->dir < 0 ? r->dir : 0;
}

static void place_down(void *ctx)
{
	struct mig_receiving *r = ctx;

	/* What has its name vpsd removes, after what runs of it. */
	if (!r->taken)
		mig_taken_drop(r->i->lib, r->i->offer.id);
	if (!r->taken && !r->named)
		path_remove_tree_at(r->vps, r->entry);
}

int mig_in_told(void *ctx, const char *stage, uint64_t done, uint64_t total)
{
	struct mig_receiving *r = ctx;
	uint64_t now = now_monotonic_us();
	struct err e;

	/* The source hears that we go on; why it does not shows when we read from it. */
	if (r->i->offer.mode != MIG_STREAM && now - r->told_us > 5000000) {
		r->told_us = now;
		if (mig_send(r->c, MIG_ALIVE, NULL, 0, &e) == 0)
			mig_flush(r->c, &e);
	}
	return tell(r, stage, done, total, &e);
}

/* A template that is here already may come all the same, in a plain stream: it is passed over. */
static int template_up(void *ctx, struct err *e)
{
	struct mig_receiving *r = ctx;
	bool here = mig_in_has_template(r->i);
	int ret = mig_in_next(r, e);

	if (ret < 0)
		return ret;
	if (r->frame.type != MIG_TEMPLATE)
		return here ? 0 : mig_in_bad(e);
	if (!here)
		ret = storage_template_in_new(r->i->lib, &r->i->offer.template, &r->template, e);
	while (ret == 0 && r->frame.type == MIG_TEMPLATE) {
		if (r->template)
			ret = storage_template_in_put(r->template, r->frame.data, r->frame.len, e);
		if (ret == 0)
			ret = tell(r, "template", r->c->received, r->i->offer.template.size, e);
		if (ret == 0)
			ret = mig_in_next(r, e);
	}
	if (ret == 0 && r->template)
		ret = storage_template_in_done(r->template, mig_in_told, r, e);
	return ret;
}

static int open_parts(struct mig_receiving *r, struct err *e)
{
	const struct storage_ids ids = { r->root.id_base, r->root.id_count };

	if (mkdirat(r->dir, "limbo", 0700) < 0)
		return err_sys(e, "make %s/limbo", r->entry);
	r->limbo = mig_open_dir(r->dir, "limbo", e);
	if (r->limbo < 0)
		return r->limbo;
	r->upper = mig_open_dir(r->dir, "root/upper", e);
	if (r->upper < 0)
		return r->upper;
	return storage_receive_new(r->upper, r->limbo, &ids, STORAGE_UPPER, &r->files, e);
}

static int root_up(void *ctx, struct err *e)
{
	struct mig_receiving *r = ctx;
	const struct storage_backend *b = storage_backend_find(r->root.backend, e);
	struct storage_template t;
	int ret;

	if (!b)
		return -EINVAL;
	ret = storage_template_find(r->i->lib, r->i->offer.template.name, r->i->offer.template.digest,
				    &t, e);
	if (ret < 0)
		return ret;
	storage_template_rootfs(r->i->lib, &t, r->root.lower, sizeof(r->root.lower));
	ret = b->create(&r->root, e);
	return ret < 0 ? ret : open_parts(r, e);
}

static int put_side(struct mig_receiving *r, struct err *e)
{
	const char *name = r->frame.data; /* NUL-terminated at the latest where the frame ends */
	size_t head = strlen(name) + 1, k = 0;
	cleanup_close int fd = -EBADF;
	struct stat st;
	int ret;

	while (k < mig_side_count && !STREQ(name, mig_sides[k]))
		k++;
	if (k == mig_side_count || head > r->frame.len)
		return mig_in_bad(e);
	fd = openat(r->dir, name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "write %s", name);
	if ((uint64_t)st.st_size + r->frame.len - head > MIG_SIDE_MAX)
		return mig_in_bad(e);
	ret = fd_write_full(fd, r->frame.data + head, r->frame.len - head);
	return ret < 0 ? err_code(e, ret, "write %s", name) : 0;
}

int mig_in_give_name(int vps, const char *entry, const char *name, struct err *e)
{
	if (renameat2(vps, entry, vps, name, RENAME_NOREPLACE) < 0) {
		if (errno == EEXIST)
			return err_set(e, ERR_EXISTS, "there is a directory of that name already");
		return err_sys(e, "give it its name");
	}
	return fsync(vps) < 0 ? err_sys(e, "write lib/vps") : 0;
}

int mig_in_write_config(struct mig_receiving *r, struct err *e)
{
	int ret = fd_replace_file_at(r->dir, "config", r->i->config, strlen(r->i->config), 0600, true);

	return ret < 0 ? err_code(e, ret, "write the config") : 0;
}

/* Each file may have to be on the disk before the next one is taken. */
static int heard(struct mig_receiving *r, struct err *e)
{
	return mig_in_told(r, "files", r->c->received, r->i->offer.bytes) ? err_set(e, ERR_CANCELLED, "cancelled") : 0;
}

static int content_up(void *ctx, struct err *e)
{
	struct mig_receiving *r = ctx;
	int ret = 0;

	while (ret == 0 && r->frame.type != MIG_PREPARE) {
		if (r->frame.type == MIG_FILES)
			ret = storage_receive_put(r->files, r->frame.data, r->frame.len, e);
		else if (r->frame.type == MIG_SIDE)
			ret = put_side(r, e);
		else if (r->frame.type == MIG_IMAGE)
			ret = r->i->offer.image ? mig_in_image_piece(r, e) : mig_in_image(r, e);
		else if (r->frame.type == MIG_BEGIN || r->frame.type == MIG_SYNC)
			ret = mig_in_ready(r, e);
		else
			ret = mig_in_bad(e);
		if (ret == 0)
			ret = heard(r, e);
		if (ret == 0)
			ret = mig_in_next(r, e);
	}
	if (ret == 0 && (!storage_receive_is_whole(r->files) || r->named != r->i->offer.live))
		ret = mig_in_bad(e);
	return ret;
}

static uint64_t number(json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));

	return v > 0 ? (uint64_t)v : 0;
}

/* The source's own account of the migration. */
static int take_report(struct mig_receiving *r, struct err *e)
{
	struct mig_record *rec = &r->i->report;
	json_t *j = mig_frame_json(&r->frame, e);
	const char *id = json_string_value(json_object_get(j, "id"));
	bool good = id && STREQ(id, r->i->offer.id);

	if (good) {
		rec->bytes = number(j, "bytes");
		rec->rounds = number(j, "rounds");
		rec->pause_us = number(j, "pause_us");
		rec->total_us = number(j, "total_us");
	}
	json_decref(j);
	return good ? 0 : j ? mig_in_bad(e) : -EBADMSG;
}

/* A monitor that has died took the copy with it: then the source must not be told that it is here. */
static int still_stands(struct mig_receiving *r, struct err *e)
{
	return r->named ? r->i->arrival->stands(r->i->ctx, e) : 0;
}

static int prepare_up(void *ctx, struct err *e)
{
	struct mig_receiving *r = ctx;
	int ret = take_report(r, e);

	if (ret == 0 && r->i->offer.image)
		ret = mig_in_image_end(r, e);
	if (ret == 0 && r->named)
		ret = r->i->arrival->prepared(r->i->ctx, e);
	else if (ret == 0)
		ret = mig_in_write_config(r, e);
	/* Until then it is restored beside that. */
	if (ret == 0)
		ret = mig_in_await_files(r, e);
	step_mark("receive.files");
	if (ret == 0 && unlinkat(r->dir, "limbo", AT_REMOVEDIR) < 0)
		ret = err_sys(e, "remove %s/limbo", r->entry);
	if (ret == 0 && !r->named)
		ret = mig_record_write(r->dir, &r->i->report, e);
	if (ret == 0 && !r->named && r->i->offer.mode != MIG_STREAM)
		ret = mig_taken_prepare(r->i->lib, r->i->offer.id, r->i->offer.name, e);
	/* The files of one that runs are there already, see mig_in_ready(). */
	if (ret == 0 && !r->named)
		ret = mig_in_sync(r, e);
	if (ret < 0 || r->i->offer.mode == MIG_STREAM)
		return ret;
	ret = still_stands(r, e);
	if (ret == 0)
		ret = mig_send_json(r->c, MIG_PREPARED, json_object(), e);
	return ret < 0 ? ret : mig_flush(r->c, e);
}

static int commit_up(void *ctx, struct err *e)
{
	struct mig_receiving *r = ctx;
	int ret;

	if (r->i->offer.mode == MIG_STREAM)
		return 0;
	ret = mig_in_next(r, e);
	while (ret == 0 && r->frame.type == MIG_PACKET) {
		ret = mig_in_keep_packet(r, e);
		if (ret == 0)
			ret = mig_in_next(r, e);
	}
	if (ret < 0)
		return ret;
	ret = r->frame.type == MIG_COMMIT ? take_report(r, e) : mig_in_bad(e);
	return ret < 0 ? ret : still_stands(r, e);
}

/* It is ours when this is on the disk. */
static int taken_up(void *ctx, struct err *e)
{
	struct mig_receiving *r = ctx;
	/* From the first try on: a failure may come after the disk has it. */
	r->taken = true;
	return r->i->offer.mode == MIG_STREAM ? 0 : mig_taken_give(r->i->lib, r->i->offer.id, e);
}

static int publish_up(void *ctx, struct err *e)
{
	struct mig_receiving *r = ctx;
	int ret;

	ret = r->named ? r->i->arrival->commit(r->i->ctx, e) : 0;
	if (ret < 0)
		return ret;
	step_mark("receive.runs");
	mig_in_pass_packets(r);
	r->i->report.state = MIG_IS_MOVED;
	r->i->report.total_us = now_monotonic_us() - r->from_us;
	r->i->report.bytes = r->c->received;
	if (!r->named) {
		ret = mig_record_write(r->dir, &r->i->report, e);
		if (ret == 0)
			ret = mig_in_give_name(r->vps, r->entry, r->i->offer.name, e);
	}
	if (ret < 0 || r->i->offer.mode == MIG_STREAM)
		return ret;
	/* That the source does not hear of it makes no difference here. */
	if (mig_send_json(r->c, MIG_COMMITTED, mig_record_json(&r->i->report), e) == 0)
		mig_flush(r->c, e);
	/* It runs: the clock that counts has stopped. */
	if (r->named && mig_in_settle(r, e) < 0)
		return err_set(e, ERR_FAIL, "%s runs, but its record is not written", r->i->offer.name);
	return 0;
}

static int receive_all(struct mig_receiving *r, struct err *e)
{
	static const struct step steps[] = {
		{ "place", place_up, place_down }, { "template", template_up, NULL },
		{ "root", root_up, NULL },         { "content", content_up, NULL },
		{ "prepare", prepare_up, NULL },   { "commit", commit_up, NULL },
		{ "taken", taken_up, NULL },       { "publish", publish_up, NULL },
	};
	static STEP_TABLE(table, "receive", steps);
	int ret = steps_up(&table, r, e);

	storage_template_in_free(r->template);
	storage_receive_free(r->files);
	buf_done(&r->packets);
	fd_close(&r->upper);
	fd_close(&r->limbo);
	if (r->i->offer.image)
		fd_close(&r->image);
	fd_close(&r->dir);
	return ret;
}

int mig_in_run(struct mig_in *i, struct err *e)
{
	struct mig_receiving r = { .i = i, .c = i->channel, .vps = -EBADF, .dir = -EBADF, .upper = -EBADF,
			       .limbo = -EBADF, .image = -EBADF, .from_us = now_monotonic_us() };
	cleanup_close int vps = -EBADF;
	int ret = mig_in_agree(i, e);

	/* Its files would be the host's own users'. */
	if (ret == 0 && !i->id_base)
		ret = err_set(e, ERR_STATE, "%s has no ids here", i->offer.name);
	if (ret == 0)
		ret = vps = r.vps = mig_open_vps(i->lib, e);
	if (ret < 0 || vps < 0)
		return ret;
	i->told = false;
	i->report = (struct mig_record){ .role = MIG_DESTINATION, .state = MIG_IS_MOVED,
					 .live = i->offer.live, .paused = i->offer.paused };
	snprintf(i->report.id, sizeof(i->report.id), "%s", i->offer.id);
	snprintf(r.entry, sizeof(r.entry), MIG_RECEIVING "%s", i->offer.name);
	snprintf(r.root.backend, sizeof(r.root.backend), "overlay");
	snprintf(r.root.dir, sizeof(r.root.dir), "%.255s/vps/%s/root", i->lib, r.entry);
	r.root.id_base = i->id_base;
	r.root.id_count = 65536;
	ret = receive_all(&r, e);
	if (ret < 0 && ret != -EREMOTEIO && i->offer.mode != MIG_STREAM) {
		mig_send_error(i->channel, e);
		i->told = true;
	}
	return ret;
}

/* What has the name is what that migration has brought. */
static bool has_come(int vps, const char *name, const char *id)
{
	cleanup_close int dir = openat(vps, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct mig_record rec = { 0 };

	return id[0] && dir >= 0 && mig_record_read(dir, &rec) == 0 && rec.role == MIG_DESTINATION && STREQ(rec.id, id);
}

int mig_in_recover(const char *lib, const char *name, const char *id, struct err *e)
{
	cleanup_close int vps = mig_open_vps(lib, e), dir = -EBADF;
	struct mig_record rec = { 0 };
	char entry[96];
	int r = 0;

	if (vps < 0)
		return vps;
	snprintf(entry, sizeof(entry), MIG_RECEIVING "%.63s", name);
	dir = openat(vps, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return errno == ENOENT ? has_come(vps, name, id) : err_sys(e, "open %s", entry);
	if (mig_record_read(dir, &rec) == 0)
		r = mig_taken_has(lib, rec.id, e);
	if (r < 0)
		return r;
	if (r > 0)
		return mig_in_give_name(vps, entry, name, e) < 0 ? -EEXIST : 1;
	if (rec.id[0])
		mig_taken_drop(lib, rec.id);
	r = path_remove_tree_at(vps, entry);
	return r < 0 ? err_code(e, r, "remove %s", entry) : 0;
}
