/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The settings that are files of the VPS's control groups, at its start and while it runs. */
#include "cgroup/resources.h"
#include "runtime/internal.h"

#include "base/log.h"

#include <errno.h>

#define SETTINGS_MAX 32
#define CPU_WEIGHT_MAX 10000

static int add(struct cgroup_setting *set, size_t *count, const struct config *c, const char *name)
{
	for (size_t i = 0; i < *count; i++)
		if (STREQ(set[i].name, name))
			return 0;
	if (*count == SETTINGS_MAX)
		return -E2BIG;
	set[(*count)++] = (struct cgroup_setting){
		.name = name, .number = config_number(c, name), .text = config_get(c, name),
	};
	return 0;
}

/* Those of `keys` that are the control groups'; where one is half of a pair that v1 knows as one
 * value, its other half, too. */
static int collect(struct cgroup_setting *set, size_t *count, const struct strv *keys,
		   const struct config *all)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < keys->count; i++)
		if (cgroup_setting_is_known(keys->item[i]))
			r = add(set, count, all, keys->item[i]);
	if (r == 0 && (strv_has(keys, "memory.max") || strv_has(keys, "memory.swap"))) {
		r = add(set, count, all, "memory.max");
		if (r == 0)
			r = add(set, count, all, "memory.swap");
	}
	return r;
}

static int apply(const struct rt_vps *v, const struct cgroup_setting *set, size_t count,
		 char note[CGROUP_NOTE_MAX], struct err *e)
{
	char dir[600];

	snprintf(dir, sizeof(dir), "%s/upper", v->spec->root.dir);
	return cgroup_apply(&v->cgroup, set, count, dir, note, e);
}

int rt_limits_up(struct rt_vps *v, struct err *e)
{
	const struct config *c = &v->spec->limits;
	struct cgroup_setting set[SETTINGS_MAX];
	char note[CGROUP_NOTE_MAX] = "";
	cleanup_strv struct strv keys = { 0 };
	struct err ignored;
	size_t count = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->count; i++)
		if (c->lines[i].key)
			r = strv_add(&keys, c->lines[i].key);
	if (r == 0)
		r = collect(set, &count, &keys, c);
	/* A tenant that forks without end must meet a bound nobody had to think of. */
	if (r == 0 && !strv_has(&keys, "pids.max") &&
	    cgroup_setting_supported(&v->cgroup_host, "pids.max", &ignored) == 0)
		r = add(set, &count, c, "pids.max");
	if (r < 0)
		return err_code(e, r, "apply the limits");
	r = apply(v, set, count, note, e);
	if (r > 0)
		log_warn("%s: %s", v->spec->name, note);
	if (r >= 0 && v->restore)
		rt_hurry(&v->cgroup);
	return r < 0 ? r : 0;
}

static const struct cgroup_setting hurried[] = {
	{ .name = "cpu.max", .number = CGROUP_UNLIMITED },
	{ .name = "cpu.weight", .number = CPU_WEIGHT_MAX },
};

void rt_hurry(const struct cgroup *c)
{
	char note[CGROUP_NOTE_MAX];
	struct err ignored;

	for (size_t i = 0; i < ARRAY_SIZE(hurried); i++)
		cgroup_apply(c, &hurried[i], 1, NULL, note, &ignored);
}

int rt_unhurry(struct rt_vps *v, struct err *e)
{
	cleanup_strv struct strv keys = { 0 };
	char note[CGROUP_NOTE_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(hurried); i++)
		r = strv_add(&keys, hurried[i].name);
	return r < 0 ? err_code(e, r, "apply the limits")
		     : rt_set(v, &keys, &v->spec->limits, note, sizeof(note), e);
}

int rt_set(struct rt_vps *v, const struct strv *keys, const struct config *all, char *note,
	   size_t note_size, struct err *e)
{
	struct cgroup_setting set[SETTINGS_MAX];
	char text[CGROUP_NOTE_MAX] = "";
	size_t count = 0;
	int r;

	r = collect(set, &count, keys, all);
	if (r < 0)
		return err_code(e, r, "apply the limits");
	r = rt_network_set(v, keys, all, e);
	if (r == 0) {
		struct err ignored;

		r = apply(v, set, count, text, e);
		if (r < 0)
			rt_network_set(v, keys, &v->spec->limits, &ignored);
	}
	snprintf(note, note_size, "%s", text);
	return r < 0 ? r : 0;
}
