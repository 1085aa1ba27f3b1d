/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/path.h"
#include "runtime/spec.h"
#include "storage/template.h"
#include "supervisor/monitor_link.h"
#include "supervisor/network.h"
#include "supervisor/spare.h"
#include "supervisor/suspend.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

/*
 * From the settings of a VPS to its monitor. Files in run/vps/NAME beside the monitor's: `lock` (held
 * by the monitor) and `down` (the user has asked it to stop; a vpsd that comes after must not restart
 * it by policy).
 */

void vps_remove_run_dir(struct sup_vps *v)
{
	char dir[512];
	cleanup_close int fd = -EBADF;
	int r;

	snprintf(dir, sizeof(dir), "%s/vps", v->d->root.run);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : path_remove_tree_at(fd, v->name);
	if (r < 0)
		log_warn("%s: remove %s/%s: %s", v->name, dir, v->name, strerrordesc_np(-r));
}

/* A new directory with its lock, locked; returns the lock's fd. */
static int make_run_dir(struct sup_vps *v, const char *dir, struct err *e)
{
	cleanup_close int fd = -EBADF;
	char path[600];

	vps_remove_run_dir(v);
	if (mkdir(dir, 0700) < 0)
		return err_sys(e, "make %s", dir);
	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, "lock %s", path);
	return TAKE_FD(fd);
}

static int take_strings(struct strv *v, json_t *array)
{
	json_t *item;
	size_t i;

	strv_done(v);
	json_array_foreach(array, i, item)
		if (!json_is_string(item) || strv_add(v, json_string_value(item)) < 0)
			return -EINVAL;
	return 0;
}

/* lib/vps/NAME/command: what `run` is to run, instead of the template's init. */
static int take_command(struct sup_vps *v, struct rt_spec *s, struct err *e)
{
	cleanup_close int fd = vps_open_lib(v, e);
	cleanup_free char *text = NULL;
	const char *user, *cwd;
	json_t *j, *item;
	size_t i;
	int r;

	if (fd < 0)
		return fd;
	r = fd_read_file_at(fd, "command", RT_SPEC_MAX, &text, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_code(e, r, "read the command");
	j = json_loads(text, 0, NULL);
	user = json_string_value(json_object_get(j, "user"));
	cwd = json_string_value(json_object_get(j, "cwd"));
	s->boot = false;
	s->tty = json_is_true(json_object_get(j, "tty"));
	if ((user && strlen(user) >= sizeof(s->user)) || (cwd && strlen(cwd) >= sizeof(s->cwd))) {
		json_decref(j);
		return err_set(e, ERR_USAGE, "the user's name or the directory is too long");
	}
	snprintf(s->user, sizeof(s->user), "%s", user ? user : "");
	snprintf(s->cwd, sizeof(s->cwd), "%s", cwd ? cwd : "");
	r = take_strings(&s->argv, json_object_get(j, "argv"));
	json_array_foreach(json_object_get(j, "env"), i, item)
		if (r == 0)
			r = rt_spec_set_env(s, json_string_value(item) ?: "", e);
	json_decref(j);
	if (r < 0 || !s->argv.count)
		return err_set(e, ERR_USAGE, "the record of its command is damaged");
	return 0;
}

static int find_template(struct sup_vps *v, struct storage_template *t, struct rt_spec *s,
			 struct err *e)
{
	const char *name = config_get(&v->config, "template");
	const char *digest = config_get(&v->config, "template.digest");
	const char *lib = v->d->root.lib;
	int r;

	if (!name)
		return err_set(e, ERR_USAGE, "%s/vps/%s/config: there is no template in it", lib,
			       v->name);
	r = storage_template_find(lib, name, digest, t, e);
	if (r < 0)
		return r;
	storage_template_rootfs(lib, t, s->root.lower, sizeof(s->root.lower));
	return 0;
}

/* An edited config may name interfaces that have no address yet: they get one for good. */
static int complete_network(struct sup_vps *v, struct err *e)
{
	cleanup_close int fd = -EBADF;
	int r = network_complete(v, &v->config, e);

	if (r <= 0)
		return r;
	r = network_note_addresses(v);
	if (r < 0)
		return err_code(e, r, "remember its addresses");
	allowed_renew(v->d, v->name);
	fd = vps_open_lib(v, e);
	return fd < 0 ? fd : config_write(&v->config, fd, "config", true, e);
}

static int make_spec(struct sup_vps *v, struct rt_spec *s, struct err *e)
{
	const struct host_root *root = &v->d->root;
	const char *pool4, *pool6;
	struct storage_template t;
	int r;

	r = vps_load(v, e);
	if (r == 0)
		r = find_template(v, &t, s, e);
	if (r < 0)
		return r;
	host_root_run(root, v->name, s->run_dir);
	host_root_lib(root, v->name, s->lib_dir);
	snprintf(s->cgroup_parent, sizeof(s->cgroup_parent), "%s", root->tag);
	network_pools(v->d, &pool4, &pool6);
	snprintf(s->pool4, sizeof(s->pool4), "%s", pool4);
	snprintf(s->pool6, sizeof(s->pool6), "%s", pool6);
	r = complete_network(v, e);
	if (r == 0)
		r = network_prepare(v, &v->config, e);
	if (r == 0)
		r = rt_spec_from_config(s, v->name, &v->config, &t, e);
	s->root.ephemeral = v->ephemeral;
	s->arriving = v->arriving != NULL;
	if (r == 0)
		r = network_resolve(v->d, &s->limits, e);
	if (r == 0)
		r = network_dns(v, s, e);
	return r < 0 ? r : take_command(v, s, e);
}

int vps_open_image(struct sup_vps *v, int *ret, struct err *e)
{
	cleanup_close int lib = -EBADF;
	const char *file;
	json_t *record;
	int r = 0;

	*ret = -EBADF;
	if (v->state != SUP_SUSPENDED)
		return 0;
	lib = vps_open_lib(v, e);
	if (lib < 0)
		return lib;
	record = suspend_record(lib);
	file = json_string_value(json_object_get(record, "file"));
	if (!record)
		r = err_set(e, ERR_FAIL, "the record of its image is damaged");
	else if (file)
		r = err_set(e, ERR_STATE, "its image is in %.200s", file);
	if (file)
		err_hint(e, "vps restore %s --from %.150s", v->name, file);
	json_decref(record);
	if (r < 0)
		return r;
	*ret = openat(lib, SUSPEND_IMAGE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return *ret < 0 ? err_sys(e, "open its image") : 0;
}

/* A monitor, which makes the groups while the spec is put together. */
static int take_monitor(struct sup_vps *v, struct err *e)
{
	cleanup_close int lock = -EBADF;
	char dir[512];
	int r;

	lock = make_run_dir(v, host_root_run(&v->d->root, v->name, dir), e);
	r = lock < 0 ? lock : link_spawn(v, e);
	if (r < 0)
		return r;
	link_prepare(v, lock);
	return 0;
}

static int begin(struct sup_vps *v, const struct rt_spec *s, const struct vps_stdio *io, int image, struct err *e)
{
	cleanup_free char *text = rt_spec_format(s);
	cleanup_close int spec = text ? fd_memfd("vps-spec", text, strlen(text)) : -ENOMEM;

	if (spec < 0)
		return err_code(e, spec, "prepare the start");
	return link_begin(v, spec, image, io, e);
}

static void give_up(struct sup_vps *v)
{
	bool clean = !v->link || link_dismiss(v);

	spare_prepare(v->d);
	vps_remove_run_dir(v);
	network_release(v->d);
	if (!clean)
		vps_clean_up(v, "its monitor died");
}

int vps_launch(struct sup_vps *v, const struct vps_stdio *io, int image, const char *verb,
		  struct err *e)
{
	struct rt_spec s = { 0 };
	int r = take_monitor(v, e);

	if (r == 0)
		r = make_spec(v, &s, e);
	if (r == 0)
		r = begin(v, &s, io, image, e);
	rt_spec_done(&s);
	if (r < 0) {
		give_up(v);
		return err_wrap(e, "%s %s", verb, v->name);
	}
	v->down = v->ready = v->unattended = false;
	v->reboots = 0;
	return 0;
}
