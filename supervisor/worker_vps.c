/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker.h"

#include "base/fd.h"
#include "base/hostroot.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/step.h"
#include "runtime/config.h"
#include "runtime/vps.h"
#include "storage/root.h"
#include "supervisor/counters.h"
#include "supervisor/suspend.h"

#include <fcntl.h>
#include <sys/stat.h>

/*
 * What is done to lib/vps: a VPS is made as .creating-NAME and gets its name last; it loses its name
 * first, to .destroying-NAME, and is removed then. So a name that is there is whole.
 */
struct place {
	json_t *job;
	const char *name;
	int vps;        /* lib/vps */
	int dir;        /* the VPS's own */
	char tmp[96];   /* .creating-NAME, .destroying-NAME */
	bool ephemeral;
	const struct storage_backend *backend;
	struct storage_root root;
};

static void place_done(struct place *p)
{
	fd_close(&p->vps);
	fd_close(&p->dir);
}

#define cleanup_place __attribute__((cleanup(place_done)))

static int place_open(struct place *p, json_t *job, const char *prefix, struct err *e)
{
	*p = (struct place){ .job = job, .name = job_text(job, "name"), .vps = -EBADF, .dir = -EBADF };
	if (!name_is_valid(p->name))
		return err_set(e, ERR_USAGE, "%.80s is not a name", p->name);
	p->backend = storage_backend_find(job_text(job, "backend"), e);
	if (!p->backend)
		return -EINVAL;
	p->vps = worker_open_vps(job, e);
	if (p->vps < 0)
		return p->vps;
	snprintf(p->tmp, sizeof(p->tmp), "%s%s", prefix, p->name);
	snprintf(p->root.backend, sizeof(p->root.backend), "%s", p->backend->name);
	snprintf(p->root.dir, sizeof(p->root.dir), "%.255s/vps/%s/root", job_text(job, "lib"), p->tmp);
	snprintf(p->root.lower, sizeof(p->root.lower), "%s", job_text(job, "lower"));
	p->root.id_base = (uint32_t)json_integer_value(json_object_get(job, "id_base"));
	p->root.id_count = 65536;
	p->ephemeral = json_is_true(json_object_get(job, "ephemeral"));
	return 0;
}

static int check_cancelled(struct err *e)
{
	return worker_cancelled() ? err_set(e, ERR_CANCELLED, "cancelled") : 0;
}

/* Removes lib/vps/ENTRY with the root in it, which the back end knows to remove. */
static int remove_entry(struct place *p, struct err *e)
{
	int r = p->backend->destroy(&p->root, e);

	if (r < 0)
		return r;
	r = path_remove_tree_at(p->vps, p->tmp);
	return r < 0 ? err_code(e, r, "remove %s", p->tmp) : 0;
}

static int dir_up(void *ctx, struct err *e)
{
	struct place *p = ctx;
	int r = remove_entry(p, e);

	if (r < 0)
		return r;
	if (mkdirat(p->vps, p->tmp, 0700) < 0)
		return err_sys(e, "make the directory of %s", p->name);
	p->dir = openat(p->vps, p->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return p->dir < 0 ? err_sys(e, "open the directory of %s", p->name) : 0;
}

static void dir_down(void *ctx)
{
	struct place *p = ctx;

	path_remove_tree_at(p->vps, p->tmp);
}

static int root_up(void *ctx, struct err *e)
{
	struct place *p = ctx;
	int r = check_cancelled(e);

	return r < 0 ? r : p->backend->create(&p->root, e);
}

static void root_down(void *ctx)
{
	struct place *p = ctx;
	struct err e;

	p->backend->destroy(&p->root, &e);
}

/*
 * One that goes when it ends has nothing that a crash of the host must leave, so that nobody waits for
 * the disk. Files without content may be what is left then: a name alone says that they may go.
 */
static int mark_ephemeral(struct place *p, struct err *e)
{
	cleanup_close int fd = openat(p->dir, HOST_ROOT_EPHEMERAL, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 ? err_sys(e, "mark it as ephemeral") : 0;
}

static int config_up(void *ctx, struct err *e)
{
	struct place *p = ctx;
	const char *text = job_text(p->job, "config");
	json_t *command = json_object_get(p->job, "command");
	cleanup_free char *run = NULL;
	struct config c = { 0 };
	int r;

	r = p->ephemeral ? mark_ephemeral(p, e) : 0;
	if (r == 0)
		r = config_parse(&c, text, strlen(text), "config", e);
	if (r == 0)
		r = config_write(&c, p->dir, "config", !p->ephemeral, e);
	config_done(&c);
	if (r < 0 || !command)
		return r;
	run = json_dumps(command, JSON_COMPACT);
	r = run ? fd_replace_file_at(p->dir, "command", run, strlen(run), 0600, false) : -ENOMEM;
	return r < 0 ? err_code(e, r, "write the command") : 0;
}

/* Its name, and the directory's entry of it, on disk. */
static int publish_up(void *ctx, struct err *e)
{
	struct place *p = ctx;
	int r = check_cancelled(e);

	if (r < 0)
		return r;
	if (renameat2(p->vps, p->tmp, p->vps, p->name, RENAME_NOREPLACE) < 0) {
		if (errno == EEXIST)
			return err_set(e, ERR_EXISTS, "there is a directory of that name already");
		return err_sys(e, "give it its name");
	}
	return !p->ephemeral && fsync(p->vps) < 0 ? err_sys(e, "write lib/vps") : 0;
}

static void publish_down(void *ctx)
{
	struct place *p = ctx;

	renameat2(p->vps, p->name, p->vps, p->tmp, RENAME_NOREPLACE);
}

int worker_create(json_t *job, json_t **ret, struct err *e)
{
	static const struct step steps[] = {
		{ "dir", dir_up, dir_down },
		{ "root", root_up, root_down },
		{ "config", config_up, NULL },
		{ "publish", publish_up, publish_down },
	};
	static STEP_TABLE(table, "create", steps);
	cleanup_place struct place p = { .vps = -EBADF, .dir = -EBADF };
	int r = place_open(&p, job, ".creating-", e);

	(void)ret;
	return r < 0 ? r : steps_up(&table, &p, e);
}

static int unname_up(void *ctx, struct err *e)
{
	struct place *p = ctx;
	int r = remove_entry(p, e); /* of an earlier one of that name */

	if (r < 0)
		return r;
	if (renameat2(p->vps, p->name, p->vps, p->tmp, RENAME_NOREPLACE) < 0)
		return err_sys(e, "take its name away");
	return fsync(p->vps) < 0 ? err_sys(e, "write lib/vps") : 0;
}

static int remove_up(void *ctx, struct err *e)
{
	return remove_entry(ctx, e);
}

/* There is no way back once the name is gone: what is left is swept. */
int worker_destroy(json_t *job, json_t **ret, struct err *e)
{
	static const struct step steps[] = {
		{ "name", unname_up, NULL },
		{ "root", remove_up, NULL },
	};
	static STEP_TABLE(table, "destroy", steps);
	cleanup_place struct place p = { .vps = -EBADF, .dir = -EBADF };
	int r = place_open(&p, job, ".destroying-", e);

	(void)ret;
	return r < 0 ? r : steps_up(&table, &p, e);
}

/* Its config says which back end knows its root; without one there is no root yet. */
static const struct storage_backend *find_backend(int vps, const char *entry, struct err *e)
{
	cleanup_close int fd = openat(vps, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	const char *name = NULL;
	struct config c = { 0 };
	const struct storage_backend *b;

	if (fd >= 0 && config_read(&c, fd, "config", e) == 0)
		name = config_get(&c, "backend");
	b = storage_backend_find(name ? name : "overlay", e);
	config_done(&c);
	return b;
}

int worker_sweep(json_t *job, json_t **ret, struct err *e)
{
	const char *entry = job_text(job, "entry");
	cleanup_place struct place p = { .vps = -EBADF, .dir = -EBADF };

	(void)ret;
	if (entry[0] != '.' || strchr(entry, '/') || !strchr(entry, '-'))
		return err_set(e, ERR_USAGE, "%.80s is not to be swept", entry);
	p.vps = worker_open_vps(job, e);
	if (p.vps < 0)
		return p.vps;
	p.backend = find_backend(p.vps, entry, e);
	if (!p.backend)
		return -EINVAL;
	snprintf(p.tmp, sizeof(p.tmp), "%s", entry);
	snprintf(p.root.backend, sizeof(p.root.backend), "%s", p.backend->name);
	snprintf(p.root.dir, sizeof(p.root.dir), "%.255s/vps/%s/root", job_text(job, "lib"), p.tmp);
	return remove_entry(&p, e);
}

int worker_rename(json_t *job, json_t **ret, struct err *e)
{
	const char *name = job_text(job, "name"), *to = job_text(job, "to");
	cleanup_close int vps = worker_open_vps(job, e);

	(void)ret;
	if (vps < 0)
		return vps;
	if (!name_is_valid(name) || !name_is_valid(to))
		return err_set(e, ERR_USAGE, "%.80s is not a name", to);
	if (renameat2(vps, name, vps, to, RENAME_NOREPLACE) < 0)
		return err_sys(e, "rename its directory");
	return fsync(vps) < 0 ? err_sys(e, "write lib/vps") : 0;
}

/* What the VPS counted since its monitor wrote last; its groups go away next. */
static void save_counters(json_t *job, const struct cgroup *c)
{
	struct cgroup_counters b;

	counters_load(job_text(job, "lib_dir"), &b);
	counters_take(job_text(job, "lib_dir"), c, &b);
}

/* Its monitor may have died while it resumed the VPS. */
static int recover_image(json_t *job, const struct cgroup *c, struct err *e)
{
	const char *dir = job_text(job, "lib_dir");
	cleanup_close int lib = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (lib < 0)
		return err_sys(e, "open %s", dir);
	return suspend_recover(lib, cgroup_is_to_freeze(c), e);
}

int worker_cleanup(json_t *job, json_t **ret, struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct cgroup_host host;
	struct cgroup c = { .host = &host };
	int r;

	(void)ret;
	snprintf(c.parent, sizeof(c.parent), "%s", job_text(job, "cgroup_parent"));
	snprintf(c.name, sizeof(c.name), "%s", job_text(job, "name"));
	r = proc < 0 ? err_sys(e, "open /proc") : cgroup_host_read(&host, proc, e);
	if (r < 0)
		return r;
	save_counters(job, &c);
	r = recover_image(job, &c, e);
	if (r < 0)
		return r;
	return rt_cleanup(job_text(job, "name"), job_text(job, "cgroup_parent"),
			  job_text(job, "run_dir"), e);
}

/* The file as text, NUL-terminated, and the VPS's directory. */
static int config_open(json_t *job, int *ret_dir, char **ret_text, struct err *e)
{
	const char *name = job_text(job, "name");
	cleanup_close int vps = worker_open_vps(job, e), dir = -EBADF;
	int r;

	if (vps < 0)
		return vps;
	if (!name_is_valid(name))
		return err_set(e, ERR_USAGE, "%.80s is not a name", name);
	dir = openat(vps, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return err_sys(e, "open the directory of %s", name);
	r = fd_read_file_at(dir, "config", CONFIG_MAX, ret_text, NULL);
	if (r < 0)
		return err_code(e, r, "read the config");
	*ret_dir = TAKE_FD(dir);
	return 0;
}

static int config_replace(int dir, const char *before, const char *text, json_t **ret, struct err *e)
{
	json_t *old = json_string(before) ?: json_string(""); /* not UTF-8: no way back */
	struct config c = { 0 };
	int r;

	r = config_parse(&c, text, strlen(text), "config", e);
	config_done(&c);
	if (r == 0) {
		r = fd_replace_file_at(dir, "config", text, strlen(text), 0600, true);
		if (r < 0)
			err_code(e, r, "write the config");
	}
	if (r < 0) {
		json_decref(old);
		return r;
	}
	*ret = json_pack("{s:o, s:s}", "before", old, "after", text);
	return 0;
}

int worker_set(json_t *job, json_t **ret, struct err *e)
{
	cleanup_free char *before = NULL, *after = NULL;
	cleanup_close int dir = -EBADF;
	struct config c = { 0 };
	json_t *item;
	size_t i;
	int r;

	r = config_open(job, &dir, &before, e);
	if (r == 0)
		r = config_parse(&c, before, strlen(before), "config", e);
	json_array_foreach(json_object_get(job, "settings"), i, item)
		if (r == 0)
			r = config_set(&c, job_text(item, "key"), job_text(item, "value"), e);
	if (r == 0) {
		after = config_format(&c);
		r = after ? config_replace(dir, before, after, ret, e)
			  : err_code(e, -ENOMEM, "write the config");
	}
	config_done(&c);
	return r;
}

int worker_set_text(json_t *job, json_t **ret, struct err *e)
{
	cleanup_free char *before = NULL;
	cleanup_close int dir = -EBADF;
	int r = config_open(job, &dir, &before, e);

	if (r < 0)
		return r;
	if (!STREQ(before, job_text(job, "old"))) {
		err_set(e, ERR_STATE, "the file has been changed meanwhile");
		return err_hint(e, "look at it again and repeat the change");
	}
	return config_replace(dir, before, job_text(job, "text"), ret, e);
}
