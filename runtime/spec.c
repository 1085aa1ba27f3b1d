/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/spec.h"

#include "base/macro.h"
#include "base/parse.h"
#include "runtime/value.h"
#include "storage/template.h"

#include <stdio.h>

void rt_spec_done(struct rt_spec *s)
{
	strv_done(&s->argv);
	strv_done(&s->env);
	for (size_t i = 0; i < s->mount_count; i++)
		rt_mount_done(&s->mounts[i]);
	free(s->mounts);
	strv_done(&s->dns);
	strv_done(&s->search);
	strv_done(&s->rlimits);
	config_done(&s->limits);
	*s = (struct rt_spec){ 0 };
}

static int no_memory(struct err *e)
{
	return err_code(e, -ENOMEM, "prepare the start");
}

int rt_spec_add_mount(struct rt_spec *s, const char *text, struct err *e)
{
	struct rt_mount *bigger, m;
	int r = rt_mount_parse(text, &m, e);

	if (r < 0)
		return r;
	bigger = reallocarray(s->mounts, s->mount_count + 1, sizeof(*bigger));
	if (!bigger) {
		rt_mount_done(&m);
		return no_memory(e);
	}
	s->mounts = bigger;
	s->mounts[s->mount_count++] = m;
	return 0;
}

int rt_spec_set_env(struct rt_spec *s, const char *entry, struct err *e)
{
	size_t k = strcspn(entry, "=");

	if (k == 0 || entry[k] != '=')
		return err_set(e, ERR_USAGE, "%.80s is not NAME=VALUE", entry);
	for (size_t i = 0; i < s->env.count; i++) {
		char *copy;

		if (strncmp(s->env.item[i], entry, k + 1) != 0)
			continue;
		copy = strdup(entry);
		if (!copy)
			return no_memory(e);
		free(s->env.item[i]);
		s->env.item[i] = copy;
		return 0;
	}
	return strv_add(&s->env, entry) < 0 ? no_memory(e) : 0;
}

static int fill_names(struct rt_spec *s, const char *name, const struct config *c, struct err *e)
{
	const char *uuid = config_get(c, "uuid"), *backend = config_get(c, "backend");
	const char *hostname = config_get(c, "hostname");
	uint64_t base = config_number(c, "id.base");

	if (!uuid || !base)
		return err_set(e, ERR_USAGE, "%s: the config has no %s", name,
			       uuid ? "id.base" : "uuid");
	snprintf(s->name, sizeof(s->name), "%s", name);
	snprintf(s->uuid, sizeof(s->uuid), "%s", uuid);
	snprintf(s->hostname, sizeof(s->hostname), "%s", hostname ? hostname : name);
	/* A name may end with hyphens, a host name may not. */
	for (size_t n = strlen(s->hostname); n > 1 && s->hostname[n - 1] == '-'; n--)
		s->hostname[n - 1] = '\0';
	snprintf(s->root.backend, sizeof(s->root.backend), "%s", backend ? backend : "overlay");
	s->root.id_base = (uint32_t)base;
	s->root.id_count = 65536;
	if (!s->root.dir[0] &&
	    (size_t)snprintf(s->root.dir, sizeof(s->root.dir), "%s/root", s->lib_dir) >=
		    sizeof(s->root.dir))
		return err_set(e, ERR_USAGE, "%s: the path of its directory is too long", name);
	return 0;
}

static int fill_init(struct rt_spec *s, const struct config *c, const struct storage_template *t,
		     struct err *e)
{
	const char *init = config_get(c, "init"), *sig = config_get(c, "stop.signal");

	if (!init)
		init = t ? t->init : "";
	if (!*init) {
		err_set(e, ERR_USAGE, "template %s has no init", t ? t->name : "");
		return err_hint(e, "the setting init names one");
	}
	if (value_init(init, e) < 0)
		return err_wrap(e, "init");
	if (strv_split_words(&s->argv, init) < 0)
		return no_memory(e);
	s->boot = true;
	if (!sig)
		sig = t && t->stop_signal[0] ? t->stop_signal : "SIGTERM";
	s->stop_signal = parse_signal(sig);
	if (s->stop_signal < 0)
		return err_set(e, ERR_USAGE, "template %s: stop signal %s is unknown",
			       t ? t->name : "", sig);
	s->stop_timeout_us = config_number(c, "stop.timeout");
	return 0;
}

/* What container_interface of systemd's documents and plain shells expect of PID 1's environment;
 * `linux` is what the kernel gives an init as TERM. */
static int fill_env(struct rt_spec *s, const struct config *c, struct err *e)
{
	static const char *const basic[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"TERM=linux",
		"container=vps",
	};
	char uuid[64];
	const char *v;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(basic); i++) {
		r = rt_spec_set_env(s, basic[i], e);
		if (r < 0)
			return r;
	}
	snprintf(uuid, sizeof(uuid), "container_uuid=%s", s->uuid);
	r = rt_spec_set_env(s, uuid, e);
	for (size_t i = 0; r == 0 && (v = config_get_nth(c, "env", i)); i++)
		r = rt_spec_set_env(s, v, e);
	return r;
}

static int fill_lists(struct rt_spec *s, const struct config *c, const struct storage_template *t,
		      struct err *e)
{
	const char *v;

	for (size_t i = 0; (v = config_get_nth(c, "mount", i)); i++) {
		int r = rt_spec_add_mount(s, v, e);

		if (r < 0)
			return err_wrap(e, "mount");
	}
	for (size_t i = 0; (v = config_get_nth(c, "feature", i)); i++)
		s->features |= rt_feature_find(v);
	/* Nothing of a 32-bit distribution would run without it. */
	if (t && (STREQ(t->arch, "i386") || STREQ(t->arch, "i686")))
		s->features |= RT_FEATURE_SOCKETCALL;
	s->migratable = !(s->features & RT_FEATURES_NOT_MIGRATABLE);
	for (size_t i = 0; (v = config_get_nth(c, "dns", i)); i++)
		if (strv_add(&s->dns, v) < 0)
			return no_memory(e);
	for (size_t i = 0; (v = config_get_nth(c, "rlimit", i)); i++)
		if (strv_add(&s->rlimits, v) < 0)
			return no_memory(e);
	return 0;
}

static int fill_limits(struct rt_spec *s, const struct config *c, struct err *e)
{
	for (size_t i = 0; i < c->count; i++) {
		const struct config_line *l = &c->lines[i];
		const struct setting *set = l->key ? setting_lookup(l->key) : NULL;
		int r;

		if (!set || !(set->flags & SETTING_LIMIT))
			continue;
		r = config_set(&s->limits, l->key, l->value, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int rt_spec_from_config(struct rt_spec *s, const char *name, const struct config *c,
			const struct storage_template *t, struct err *e)
{
	int r = fill_names(s, name, c, e);

	if (r == 0)
		r = fill_init(s, c, t, e);
	if (r == 0)
		r = fill_env(s, c, e);
	if (r == 0)
		r = fill_lists(s, c, t, e);
	if (r == 0)
		r = fill_limits(s, c, e);
	return r;
}
