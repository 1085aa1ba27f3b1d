/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/offer.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"
#include "migrate/record.h"
#include "runtime/config.h"

#include <stdarg.h>
#include <sys/utsname.h>

static const char *const modes[] = {
	[MIG_MOVE] = "move",
	[MIG_COPY] = "copy",
	[MIG_STREAM] = "stream",
	[MIG_ASK] = "ask",
};

const char *mig_mode_name(enum mig_mode m)
{
	return modes[m];
}

int mig_mode_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (STREQ(modes[i], name))
			return (int)i;
	return -EINVAL;
}

void mig_obstacle(json_t *list, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* One that was cut inside a character is none to JSON, and must not be lost. */
	json_array_append_new(list,
			      json_string(text) ?: json_string("something that cannot be told stands in the way"));
}

void mig_offer_host(struct mig_offer *o)
{
	struct utsname u;

	snprintf(o->version, sizeof(o->version), "%s", VPS_VERSION);
	if (uname(&u) < 0)
		return;
	snprintf(o->arch, sizeof(o->arch), "%.15s", u.machine);
	snprintf(o->kernel, sizeof(o->kernel), "%.64s", u.release);
}

static json_t *format_template(const struct storage_template *t)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "name", t->name, "digest",
			 t->digest, "distribution", t->distribution, "version", t->version, "arch",
			 t->arch, "init", t->init, "stop_signal", t->stop_signal, "size",
			 (json_int_t)t->size);
}

json_t *mig_offer_format(const struct mig_offer *o)
{
	json_t *j =
		json_pack("{s:s, s:b, s:b, s:b, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:I, s:I, s:I, s:I}",
			  "mode", modes[o->mode], "live", o->live, "paused", o->paused, "resume", o->resume, "dry_run",
			  o->dry_run, "id", o->id, "name", o->name, "from", o->from, "version", o->version, "arch",
			  o->arch, "kernel", o->kernel, "config", o->config ? o->config : "", "has_template",
			  o->has_template, "template", format_template(&o->template), "bytes", (json_int_t)o->bytes,
			  "entries", (json_int_t)o->entries, "memory", (json_int_t)o->memory, "image",
			  (json_int_t)o->image);

	if (j && o->cpu)
		json_object_set(j, "cpu", o->cpu);
	return j;
}

static bool take_text(json_t *j, const char *key, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(j, key));

	if (!s || strlen(s) >= size || (*s && !str_is_printable(s)))
		return false;
	snprintf(out, size, "%s", s);
	return true;
}

static bool take_number(json_t *j, const char *key, uint64_t *ret)
{
	json_t *v = json_object_get(j, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(v);
	return true;
}

static bool take_template(json_t *j, struct storage_template *t)
{
	return take_text(j, "name", t->name, sizeof(t->name)) && name_is_valid(t->name) &&
	       take_text(j, "digest", t->digest, sizeof(t->digest)) && strlen(t->digest) == 64 &&
	       strspn(t->digest, "0123456789abcdef") == 64 &&
	       take_text(j, "distribution", t->distribution, sizeof(t->distribution)) &&
	       take_text(j, "version", t->version, sizeof(t->version)) &&
	       take_text(j, "arch", t->arch, sizeof(t->arch)) &&
	       take_text(j, "init", t->init, sizeof(t->init)) &&
	       take_text(j, "stop_signal", t->stop_signal, sizeof(t->stop_signal)) &&
	       take_number(j, "size", &t->size);
}

/* Sources of before say nothing of one. */
static bool take_image(json_t *j, struct mig_offer *o)
{
	if (!json_object_get(j, "image"))
		return true;
	o->resume = json_is_true(json_object_get(j, "resume"));
	return take_number(j, "image", &o->image) && !(o->image && o->live);
}

static bool take_all(json_t *j, struct mig_offer *o)
{
	const char *mode = json_string_value(json_object_get(j, "mode"));
	const char *config = json_string_value(json_object_get(j, "config"));
	int m = mode ? mig_mode_find(mode) : -EINVAL;

	if (m < 0 || !take_text(j, "id", o->id, sizeof(o->id)) || !mig_id_is_valid(o->id))
		return false;
	o->mode = (enum mig_mode)m;
	if (o->mode == MIG_ASK)
		return true;
	o->live = json_is_true(json_object_get(j, "live"));
	if (o->live && o->mode != MIG_MOVE) /* two would run */
		return false;
	o->paused = o->live && json_is_true(json_object_get(j, "paused"));
	o->dry_run = json_is_true(json_object_get(j, "dry_run"));
	if (o->dry_run && o->mode == MIG_STREAM) /* nobody hears what we would say */
		return false;
	o->has_template = json_is_true(json_object_get(j, "has_template"));
	if (!take_text(j, "name", o->name, sizeof(o->name)) ||
	    !take_text(j, "from", o->from, sizeof(o->from)) ||
	    !take_text(j, "version", o->version, sizeof(o->version)) ||
	    !take_text(j, "arch", o->arch, sizeof(o->arch)) ||
	    !take_text(j, "kernel", o->kernel, sizeof(o->kernel)) ||
	    !take_template(json_object_get(j, "template"), &o->template) ||
	    !take_number(j, "bytes", &o->bytes) || !take_number(j, "entries", &o->entries) ||
	    !take_number(j, "memory", &o->memory))
		return false;
	if (!config || strlen(config) > CONFIG_MAX)
		return false;
	o->config = strdup(config);
	o->cpu = json_incref(json_object_get(j, "cpu"));
	if (!take_image(j, o))
		return false;
	return o->config != NULL;
}

int mig_offer_parse(json_t *j, struct mig_offer *ret, struct err *e)
{
	*ret = (struct mig_offer){ 0 };
	if (take_all(j, ret))
		return 0;
	mig_offer_done(ret);
	return err_set(e, ERR_USAGE, "what comes is no offer of a VPS");
}

void mig_offer_done(struct mig_offer *o)
{
	free(TAKE_PTR(o->config));
	json_decref(TAKE_PTR(o->cpu));
}
