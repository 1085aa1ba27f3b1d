/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "supervisor/ids.h"
#include "supervisor/monitor_link.h"
#include "supervisor/network.h"
#include "supervisor/suspend.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

static size_t lower_bound(const struct sup_daemon *d, const char *name)
{
	size_t lo = 0, hi = d->count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (strcmp(d->vps[mid]->name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct sup_vps *vps_find(struct sup_daemon *d, const char *name)
{
	size_t i = lower_bound(d, name);

	return i < d->count && STREQ(d->vps[i]->name, name) ? d->vps[i] : NULL;
}

struct sup_vps *vps_get(struct sup_daemon *d, const char *name, struct err *e)
{
	struct sup_vps *v = name_is_valid(name) ? vps_find(d, name) : NULL;

	if (v && v->state != SUP_CREATING)
		return v;
	err_set(e, ERR_NOT_FOUND, "there is no VPS named %.80s", name);
	err_hint(e, "vps list shows those there are");
	return NULL;
}

static int insert(struct sup_daemon *d, struct sup_vps *v)
{
	size_t at = lower_bound(d, v->name); /* while d->vps is the list */
	struct sup_vps **bigger = reallocarray(d->vps, d->count + 1, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	d->vps = bigger;
	memmove(&bigger[at + 1], &bigger[at], (d->count - at) * sizeof(*bigger));
	bigger[at] = v;
	d->count++;
	return 0;
}

static void take_out(struct sup_vps *v)
{
	struct sup_daemon *d = v->d;
	size_t at = lower_bound(d, v->name);

	d->count--;
	memmove(&d->vps[at], &d->vps[at + 1], (d->count - at) * sizeof(*d->vps));
}

int vps_add(struct sup_daemon *d, const char *name, struct sup_vps **ret, struct err *e)
{
	struct sup_vps *v;

	if (vps_find(d, name))
		return err_set(e, ERR_EXISTS, "there is a VPS named %s already", name);
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_code(e, -ENOMEM, "remember %s", name);
	v->d = d;
	snprintf(v->name, sizeof(v->name), "%s", name);
	if (insert(d, v) < 0) {
		free(v);
		return err_code(e, -ENOMEM, "remember %s", name);
	}
	*ret = v;
	return 0;
}

void vps_remove(struct sup_vps *v)
{
	struct err e;

	err_set(&e, ERR_NOT_FOUND, "%s is gone", v->name);
	vps_look(v, &e);
	take_out(v);
	policy_cancel(v);
	link_free(TAKE_PTR(v->link));
	v->guard = sd_event_source_disable_unref(v->guard);
	v->retry = sd_event_source_disable_unref(v->retry);
	while (v->waiters) { /* at the daemon's end: calls are answered to nobody */
		struct sup_waiter *w = v->waiters;

		v->waiters = w->next;
		sd_event_source_disable_unref(w->timer);
		free(w);
	}
	config_done(&v->config);
	free(v->addr);
	json_decref(v->moved_report);
	json_decref(v->arrived);
	free(v);
}

int vps_rename(struct sup_vps *v, const char *name, struct err *e)
{
	take_out(v);
	snprintf(v->name, sizeof(v->name), "%s", name);
	/* There is room: one was taken out just now. */
	return insert(v->d, v) < 0 ? err_code(e, -ENOMEM, "remember %s", name) : 0;
}

int vps_open_lib(const struct sup_vps *v, struct err *e)
{
	char dir[512];
	int fd = open(host_root_lib(&v->d->root, v->name, dir),
		      O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? err_sys(e, "open %s", dir) : fd;
}

/*
 * The ids of a VPS whose config cannot be read must not be given to another. They are sought in the
 * damaged text, then in the owner of its root's upper layer.
 */
static uint32_t salvage_ids(int lib, const char *text)
{
	const char *line = text;
	unsigned long n = 0;
	struct stat st;

	while (line && !n) {
		if (sscanf(line, "id.base = %lu", &n) != 1)
			n = 0;
		line = strchr(line, '\n');
		line += line != NULL;
	}
	if (!n && lib >= 0 && fstatat(lib, "root/upper", &st, AT_SYMLINK_NOFOLLOW) == 0)
		n = st.st_uid;
	return n <= UINT32_MAX ? (uint32_t)n : 0;
}

int vps_load(struct sup_vps *v, struct err *e)
{
	cleanup_close int fd = vps_open_lib(v, e);
	cleanup_free char *text = NULL;
	char dir[512], file[600];
	struct config c = { 0 };
	const char *owner;
	uint64_t uid = 0;
	size_t len = 0;
	int r;

	v->config_error.code = 0;
	v->ephemeral = fd >= 0 && faccessat(fd, HOST_ROOT_EPHEMERAL, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	/* Messages name the file in full, for who has to mend it. */
	snprintf(file, sizeof(file), "%s/config", host_root_lib(&v->d->root, v->name, dir));
	r = fd < 0 ? fd : fd_read_file_at(fd, "config", CONFIG_MAX, &text, &len);
	if (fd >= 0 && r < 0)
		err_code(e, r, "read %s", file);
	if (r >= 0)
		r = config_parse(&c, text, len, file, e);
	if (r < 0) {
		v->config_error = *e;
		if (!v->id_base)
			v->id_base = salvage_ids(fd, text);
		return r;
	}
	config_done(&v->config);
	v->config = c;
	r = network_note_addresses(v);
	if (r < 0)
		return err_code(e, r, "read %s", file);
	v->id_base = (uint32_t)config_number(&c, "id.base");
	owner = config_get(&c, "owner");
	v->owner = owner && parse_u64(owner, &uid) == 0 ? (uid_t)uid : 0;
	v->ephemeral |= config_number(&c, "ephemeral") != 0;
	return 0;
}

/* Between two hosts nothing can be asked of it; what is set then would be set at one of them, or wait for long. */
static int check_way(const struct sup_vps *v, enum sup_event ev, const char *verb, struct err *e)
{
	if (ev == SUP_EV_DISCARD || (!v->moving && !v->arriving))
		return 0;
	return err_set(e, ERR_STATE, "%s %s: it is being %s", verb, v->name, v->moving ? "moved" : "received");
}

int vps_check(const struct sup_vps *v, enum sup_event ev, const char *verb, struct err *e)
{
	const struct sup_rule *r = sup_rule(v->state, ev);
	char hint[sizeof(e->hint)];
	const char *at;
	int ret;

	if (r->verdict == SUP_NO || ev == SUP_EV_CONFIG) {
		ret = check_way(v, ev, verb, e);
		if (ret < 0)
			return ret;
	}
	if (r->verdict != SUP_NO)
		return 0;
	ret = err_set(e, ERR_STATE, "%s %s: %s", verb, v->name, r->why);
	if (!r->hint)
		return ret;
	/* Our own text with one %s in it; not a format, which would have to be a literal. */
	at = strstr(r->hint, "%s");
	snprintf(hint, sizeof(hint), "%.*s%s%s", at ? (int)(at - r->hint) : 200, r->hint,
		 at ? v->name : "", at ? at + 2 : "");
	return err_hint(e, "%s", hint);
}

bool vps_is_suspended(const struct sup_vps *v)
{
	struct err ignored;
	cleanup_close int lib = vps_open_lib(v, &ignored);

	return lib >= 0 && suspend_is(lib);
}

enum sup_state vps_idle_state(const struct sup_vps *v)
{
	return vps_is_suspended(v) ? SUP_SUSPENDED : SUP_STOPPED;
}

bool vps_move(struct sup_vps *v, enum sup_event ev)
{
	const struct sup_rule *r = sup_rule(v->state, ev);

	if (r->verdict == SUP_NO) {
		log_warn("%s: %s while it is %s: %s", v->name, sup_event_name(ev),
			 sup_state_name(v->state), r->why);
		return false;
	}
	if (r->verdict == SUP_GO) {
		log_debug("%s: %s: %s to %s", v->name, sup_event_name(ev),
			  sup_state_name(v->state), sup_state_name(r->next));
		v->state = r->next;
	}
	return true;
}

const char *vps_end_text(const struct sup_end *end, char *buf, size_t size)
{
	char sig[32];

	if (!end->how[0])
		return NULL;
	if (STREQ(end->how, "exited"))
		snprintf(buf, size, "exit %d", end->value);
	else if (STREQ(end->how, "signaled"))
		snprintf(buf, size, "signal %s", format_signal(end->value, sig, sizeof(sig)));
	else
		snprintf(buf, size, "%s", end->how);
	return buf;
}

/* The file is ours, but it may be half of one after a power failure: what does not fit is left out. */
void vps_load_end(struct sup_vps *v)
{
	struct sup_end *end = &v->end;
	cleanup_close int fd = -EBADF;
	cleanup_free char *text = NULL;
	const char *s;
	struct err e;
	json_t *j;

	*end = (struct sup_end){ 0 };
	fd = vps_open_lib(v, &e);
	if (fd < 0 || fd_read_file_at(fd, "last", 16384, &text, NULL) < 0)
		return;
	j = json_loads(text, 0, NULL);
	s = json_string_value(json_object_get(j, "how"));
	snprintf(end->how, sizeof(end->how), "%s", s ? s : "");
	s = json_string_value(json_object_get(j, "error"));
	snprintf(end->error, sizeof(end->error), "%s", s ? s : "");
	end->value = (int)json_integer_value(json_object_get(j, "value"));
	end->forced = json_is_true(json_object_get(j, "forced"));
	end->at = (uint64_t)json_integer_value(json_object_get(j, "at"));
	json_decref(j);
}

/* Without fsync, which would stop the loop: a record of how it ended may be lost with the host. */
void vps_save_end(struct sup_vps *v)
{
	const struct sup_end *end = &v->end;
	cleanup_close int fd = -EBADF;
	cleanup_free char *text = NULL;
	struct err e;
	json_t *j;
	int r;

	j = json_pack("{s:s, s:i, s:b, s:I, s:o}", "how", end->how, "value", end->value, "forced",
		      end->forced, "at", (json_int_t)end->at, "error",
		      json_string(end->error) ?: json_string(""));
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	fd = vps_open_lib(v, &e);
	if (fd < 0 || !text)
		return;
	r = fd_replace_file_at(fd, "last", text, strlen(text), 0600, false);
	if (r < 0)
		log_warn("%s: remember how it ended: %s", v->name, strerrordesc_np(-r));
}

int vps_alloc_ids(struct sup_daemon *d, uint32_t *ret, struct err *e)
{
	cleanup_free uint32_t *used = calloc(d->count + 1, sizeof(*used));

	if (!used)
		return err_code(e, -ENOMEM, "find a free range of ids");
	for (size_t i = 0; i < d->count; i++)
		used[i] = d->vps[i]->id_base;
	return ids_alloc(ids_start(d->root.tag), used, d->count, ret, e);
}

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

static json_t *addresses_json(const struct sup_vps *v)
{
	json_t *list = json_array();
	char text[64];

	for (size_t i = 0; i < v->addr_count; i++)
		json_array_append_new(list, json_string(netns_addr_format_host(&v->addr[i], text)));
	return list;
}

static json_t *values_json(const struct config *c, const char *key)
{
	json_t *list = json_array();
	const char *value;

	for (size_t i = 0; (value = config_get_nth(c, key, i)); i++)
		json_array_append_new(list, json_string(value));
	return list;
}

json_t *vps_json(const struct sup_vps *v)
{
	const struct config *c = &v->config;
	const char *hostname = config_get(c, "hostname");
	bool alive = v->pid > 0;
	char end[64];
	const char *last = vps_end_text(&v->end, end, sizeof(end));
	const char *error = v->config_error.code ? v->config_error.msg : v->end.error;
	uint64_t ms = alive ? (now_boottime_us() - v->started_us) / 1000 : 0;
	double uptime = (double)ms / 1000;
	json_t *j;

	j = json_pack("{s:s, s:s, s:s, s:i, s:s, s:f, s:b, s:s, s:b, s:s, s:i, s:I, s:I}",
		      "name", v->name, "uuid", or_empty(config_get(c, "uuid")),
		      "state", sup_state_name(v->state), "pid", (int)v->pid,
		      "template", or_empty(config_get(c, "template")), "uptime_s", uptime,
		      "ready", v->ready, "hostname", hostname ? hostname : v->name,
		      "autostart", config_number(c, "autostart") != 0,
		      "restart", or_empty(config_get(c, "restart")),
		      "restarts", v->restarts + v->reboots,
		      "created", (json_int_t)config_number(c, "created"),
		      "id_base", (json_int_t)v->id_base);
	json_object_set_new(j, "addresses", addresses_json(v));
	json_object_set_new(j, "publish", values_json(c, "publish"));
	/* Who reads them may rely on the members: there is always one, and null says none. */
	json_object_set_new(j, "last_exit", last ? json_string(last) : json_null());
	json_object_set_new(j, "last_error", *error ? json_string(error) : json_null());
	json_object_set_new(j, "arrived", v->arrived ? json_incref(v->arrived) : json_null());
	return j;
}
