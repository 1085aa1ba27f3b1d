/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/image/image.h"
#include "checkpoint/verify.h"
#include "storage/template.h"
#include "supervisor/disk.h"
#include "supervisor/jobs.h"
#include "supervisor/suspend.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>

/* Images: looked at, and made what a VPS is suspended in. */

#define NOBODY 65534

/* An image is anybody's: who only looks at it needs no rights. */
static int become_nobody(struct err *e)
{
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return err_sys(e, "give up rights");
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* which the change has cleared */
	return 0;
}

int worker_image_show(json_t *job, json_t **ret, struct err *e)
{
	bool json = json_is_true(json_object_get(job, "json"));
	FILE *out;
	int r = become_nobody(e);

	(void)ret;
	if (r < 0)
		return r;
	out = fdopen(WORKER_FD_FIRST + 1, "we");
	if (!out)
		return err_sys(e, "write to the client");
	r = ckpt_image_show(WORKER_FD_FIRST, out, json, e);
	if (fclose(out) < 0 && r == 0)
		r = err_sys(e, "write to the client");
	return r;
}

static int tell(void *arg, uint64_t done, uint64_t total)
{
	return worker_progress(arg, "verify", done, total);
}

static int verify(int fd, struct ckpt_facts *facts, struct err *e)
{
	static const struct ckpt_progress progress = { tell, NULL };
	int r = ckpt_verify(fd, &progress, facts, e);

	if (r == 0 && facts->files)
		r = disk_load(fd, NULL, worker_progress, e);
	return r;
}

int worker_image_verify(json_t *job, json_t **ret, struct err *e)
{
	struct ckpt_facts f;
	int r = become_nobody(e);

	(void)job;
	if (r == 0)
		r = verify(WORKER_FD_FIRST, &f, e);
	if (r == 0)
		*ret = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:b}", "id", f.id, "vps", f.vps,
				 "uuid", f.uuid, "created", (json_int_t)(f.realtime_ns / 1000000000),
				 "processes", (json_int_t)f.processes, "threads", (json_int_t)f.threads,
				 "open_files", (json_int_t)f.open_files, "pages", (json_int_t)f.pages, "files",
				 f.files);
	return r;
}

/* --- restore ------------------------------------------------------------------------------------ */

struct adopt {
	json_t *job;
	int lib;    /* lib/vps/NAME */
	int from;   /* the image */
	off_t end;  /* of it: where the files begin */
	struct ckpt_facts facts;
	bool as_it_is; /* it is the one that the VPS is suspended in: its files are there */
	const struct storage_backend *backend;
	struct storage_root fresh; /* NAME/root.new */
};

static int open_both(struct adopt *a, struct err *e)
{
	const char *dir = job_text(a->job, "lib_dir");

	a->lib = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (a->lib < 0)
		return err_sys(e, "open %s", dir);
	if (*job_text(a->job, "file")) {
		a->from = fcntl(WORKER_FD_FIRST, F_DUPFD_CLOEXEC, 0);
		return a->from < 0 ? err_sys(e, "take the image") : 0;
	}
	a->from = openat(a->lib, CHECKPOINT_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (a->from >= 0)
		return 0;
	if (errno != ENOENT)
		return err_sys(e, "open its checkpoint");
	err_set(e, ERR_NOT_FOUND, "there is no checkpoint of it");
	return err_hint(e, "vps checkpoint --leave-running makes one, --from names another file");
}

/* Whose it is, and whether its files are to be had. */
static int check(struct adopt *a, struct err *e)
{
	json_t *record = suspend_record(a->lib);
	const char *id = json_string_value(json_object_get(record, "id"));
	struct stat st;

	a->as_it_is = id && STREQ(id, a->facts.id);
	json_decref(record);
	if (fstat(a->from, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, ERR_USAGE, "the image is no file");
	if (!STREQ(a->facts.uuid, job_text(a->job, "uuid")))
		return err_set(e, ERR_STATE, "the image is of another VPS, %s", a->facts.vps);
	if (a->as_it_is || a->facts.files)
		return 0;
	err_set(e, ERR_STATE, "its files have changed since, and the image does not hold those of then");
	return err_hint(e, "vps checkpoint --leave-running keeps them, unless --no-disk is given");
}

static int verify_up(void *ctx, struct err *e)
{
	static const struct ckpt_progress progress = { tell, NULL };
	struct adopt *a = ctx;
	int r = open_both(a, e);

	if (r == 0)
		r = ckpt_verify(a->from, &progress, &a->facts, e);
	if (r < 0)
		return r;
	a->end = lseek(a->from, 0, SEEK_CUR);
	if (a->end < 0)
		return err_sys(e, "read the image");
	r = check(a, e);
	if (r == 0 && !a->as_it_is)
		r = disk_load(a->from, NULL, worker_progress, e);
	return r;
}

static int copy_up(void *ctx, struct err *e)
{
	struct adopt *a = ctx;
	cleanup_close int to = openat(a->lib, SUSPEND_TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
				      O_NOFOLLOW, 0600);
	off_t at = 0;

	if (to < 0)
		return err_sys(e, "make the image");
	while (at < a->end) {
		char buf[65536];
		ssize_t n = copy_file_range(a->from, &at, to, NULL, (size_t)(a->end - at), 0);

		if (n > 0)
			continue;
		n = pread(a->from, buf, sizeof(buf), at);
		if (n <= 0)
			return n < 0 ? err_sys(e, "read the image") : err_set(e, ERR_FAIL, "the image was cut");
		if (n > a->end - at)
			n = a->end - at;
		if (fd_write_full(to, buf, (size_t)n) < 0)
			return err_sys(e, "write the image");
		at += n;
		if (worker_progress(NULL, "copy", (uint64_t)at, (uint64_t)a->end))
			return err_set(e, ERR_CANCELLED, "cancelled");
	}
	return fsync(to) < 0 ? err_sys(e, "write the image") : 0;
}

static void copy_down(void *ctx)
{
	struct adopt *a = ctx;

	unlinkat(a->lib, SUSPEND_TMP, 0);
}

static int files_up(void *ctx, struct err *e)
{
	struct adopt *a = ctx;
	struct storage_template t;
	int r;

	if (a->as_it_is)
		return 0;
	a->backend = storage_backend_find(job_text(a->job, "backend"), e);
	if (!a->backend || storage_template_find(job_text(a->job, "lib"), job_text(a->job, "template"),
						 job_text(a->job, "digest"), &t, e) < 0)
		return -ENOENT;
	a->fresh = (struct storage_root){
		.id_base = (uint32_t)json_integer_value(json_object_get(a->job, "id_base")),
		.id_count = 65536,
	};
	snprintf(a->fresh.backend, sizeof(a->fresh.backend), "%s", a->backend->name);
	snprintf(a->fresh.dir, sizeof(a->fresh.dir), "%s/" RESTORE_ROOT, job_text(a->job, "lib_dir"));
	storage_template_rootfs(job_text(a->job, "lib"), &t, a->fresh.lower, sizeof(a->fresh.lower));
	r = a->backend->destroy(&a->fresh, e); /* of an attempt that was killed */
	if (r == 0)
		r = a->backend->create(&a->fresh, e);
	if (r < 0)
		return r;
	if (lseek(a->from, a->end, SEEK_SET) < 0)
		r = err_sys(e, "read the image");
	else
		r = disk_load(a->from, &a->fresh, worker_progress, e);
	if (r < 0)
		a->backend->destroy(&a->fresh, &(struct err){ 0 });
	return r;
}

static void files_down(void *ctx)
{
	struct adopt *a = ctx;

	if (!a->as_it_is)
		a->backend->destroy(&a->fresh, &(struct err){ 0 });
}

/* What it was suspended in is of no worth with other files, so it goes first. */
static int swap_up(void *ctx, struct err *e)
{
	struct adopt *a = ctx;
	int r;

	if (a->as_it_is)
		return 0;
	r = suspend_discard(a->lib, e);
	if (r < 0)
		return r;
	if (syncfs(a->lib) < 0 || renameat2(a->lib, RESTORE_ROOT, a->lib, "root", RENAME_EXCHANGE) < 0)
		return err_sys(e, "put the files in their place");
	return 0;
}

static void swap_down(void *ctx)
{
	struct adopt *a = ctx;

	if (!a->as_it_is)
		renameat2(a->lib, RESTORE_ROOT, a->lib, "root", RENAME_EXCHANGE);
}

static int record_up(void *ctx, struct err *e)
{
	struct adopt *a = ctx;
	json_t *record;
	int r;

	if (renameat(a->lib, SUSPEND_TMP, a->lib, SUSPEND_IMAGE) < 0)
		return err_sys(e, "put the image in its place");
	record = json_pack("{s:s, s:I, s:I}", "id", a->facts.id, "at",
			   (json_int_t)(a->facts.realtime_ns / 1000000000), "bytes", (json_int_t)a->end);
	r = suspend_commit(a->lib, record, e);
	json_decref(record);
	return r;
}

/* Makes an image, and its files, what the VPS is suspended in. */
int worker_adopt(json_t *job, json_t **ret, struct err *e)
{
	static const struct step steps[] = {
		{ "verify", verify_up, NULL },
		{ "copy", copy_up, copy_down },
		{ "files", files_up, files_down },
		{ "swap", swap_up, swap_down },
		{ "record", record_up, NULL },
	};
	static STEP_TABLE(table, "adopt", steps);
	struct adopt a = { .job = job, .lib = -EBADF, .from = -EBADF };
	struct err ignored;
	int r = steps_up(&table, &a, e);

	(void)ret;
	if (r == 0 && !a.as_it_is)
		a.backend->destroy(&a.fresh, &ignored); /* the files of before */
	fd_close(&a.lib);
	fd_close(&a.from);
	return r;
}

int worker_adopt_sweep(json_t *job, json_t **ret, struct err *e)
{
	const struct storage_backend *b = storage_backend_find(job_text(job, "backend"), e);
	struct storage_root root = { .id_count = 65536 };

	(void)ret;
	if (!b)
		return -EINVAL;
	snprintf(root.backend, sizeof(root.backend), "%s", b->name);
	snprintf(root.dir, sizeof(root.dir), "%s/" RESTORE_ROOT, job_text(job, "lib_dir"));
	return b->destroy(&root, e);
}
