/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/macro.h"
#include "base/proc.h"
#include "runtime/settings.h"

/* The methods of the interface: the table, what several share, and those that concern no VPS. */

struct sup_vps *method_vps(struct server_call *c, struct sup_daemon *d, const char *verb)
{
	struct err e;
	struct sup_vps *v = vps_get(d, call_string(c, "name"), &e);

	if (v && may(call_uid(c), v, verb, &e) == 0)
		return v;
	server_fail(c, &e);
	return NULL;
}

void method_fail(struct server_call *c, const char *verb, const char *name, struct err *e)
{
	err_wrap(e, "%s %s", verb, name);
	server_fail(c, e);
}

static void method_version(struct server_call *c, void *userdata)
{
	struct sup_daemon *d = userdata;
	const char *slash = strrchr(d->root.run, '/');
	double uptime = (double)(now_boottime_us() - d->started_us) / 1e6;
	char root[256] = "/";
	int running = 0;

	for (size_t i = 0; i < d->count; i++)
		running += d->vps[i]->pid > 0;
	/* The default root has no directory of its own. */
	if (!STREQ(d->root.tag, "vps"))
		snprintf(root, sizeof(root), "%.*s", (int)(slash - d->root.run), d->root.run);
	server_reply(c, json_pack("{s:s, s:i, s:s, s:f, s:i}", "version", VPS_VERSION, "pid",
				  (int)getpid(), "root", root, "uptime_s", uptime, "running",
				  running), NULL, 0);
}

static void method_shutdown(struct server_call *c, void *userdata)
{
	struct sup_daemon *d = userdata;
	struct err e;

	if (may(call_uid(c), NULL, "Shutdown", &e) < 0) {
		server_fail(c, &e);
		return;
	}
	server_reply(c, NULL, NULL, 0);
	sd_event_exit(d->event, 0);
}

static json_t *or_null(const char *s)
{
	return s ? json_string(s) : json_null();
}

static void method_settings(struct server_call *c, void *userdata)
{
	static const char *const types[] = {
		[SETTING_BOOL] = "bool",   [SETTING_INT] = "int",     [SETTING_SIZE] = "size",
		[SETTING_RATE] = "rate",   [SETTING_MILLI] = "milli", [SETTING_DURATION] = "duration",
		[SETTING_WEIGHT] = "int",
		[SETTING_ENUM] = "enum",   [SETTING_STRING] = "string",
	};
	json_t *list = json_array();

	(void)userdata;
	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];

		json_array_append_new(list, json_pack(
			"{s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:b, s:s}", "name", s->name, "type",
			types[s->type], "default", or_null(s->def), "values", or_null(s->values),
			"option", or_null(s->option), "live", s->flags & SETTING_LIVE, "list",
			s->flags & SETTING_LIST, "fixed", s->flags & SETTING_FIXED, "help", s->help));
	}
	server_reply(c, json_pack("{s:o}", "settings", list), NULL, 0);
}

static void method_events(struct server_call *c, void *userdata)
{
	event_watch(userdata, c);
}

static void on_doctor(void *ctx, json_t *result, const struct err *e)
{
	struct server_call *c = ctx;

	if (e)
		server_fail(c, e);
	else
		server_reply(c, json_incref(result), NULL, 0);
}

static void method_doctor(struct server_call *c, void *userdata)
{
	struct sup_daemon *d = userdata;
	struct job_spec job = { .done = on_doctor, .ctx = c };
	struct err e;

	job.request = json_pack("{s:s, s:s, s:s, s:s}", "op", "doctor", "lib", d->root.lib, "tag", d->root.tag,
				"run", d->root.run);
	if (job_submit(d->jobs, &job, NULL, &e) < 0)
		server_fail(c, &e);
}

/* clang-format off */
const struct server_method sup_methods[] = {
	{ "Version", method_version, 0, 0 },
	{ "Shutdown", method_shutdown, 0, 0 },
	{ "Settings", method_settings, 0, 0 },
	{ "List", method_list, 0, 0 },
	{ "Status", method_status, 0, 0 },
	{ "Stats", method_stats, 0, 0 },
	{ "StatsAll", method_stats_all, 0, 0 },
	{ "Counters", method_counters, 0, 0 },
	{ "Create", method_create, 0, 0 },
	{ "Start", method_start, 0, 0 },
	{ "Stop", method_stop, 0, 0 },
	{ "Restart", method_restart, 0, 0 },
	{ "Pause", method_pause, 0, 0 },
	{ "Resume", method_resume, 0, 0 },
	{ "Suspend", method_suspend, 0, 0 },
	{ "Checkpoint", method_checkpoint, 0, 0 },
	{ "Movable", method_check, 0, 0 },
	{ "Restore", method_restore, 0, 0 },
	{ "ImageShow", method_image_show, 0, 2 },
	{ "ImageVerify", method_image_verify, 0, 1 },
	{ "Destroy", method_destroy, 0, 0 },
	{ "Rename", method_rename, 0, 0 },
	{ "Exec", method_exec, 0, 0 },
	{ "Console", method_console, 0, 0 },
	{ "Run", method_run, 0, 0 },
	{ "GetConfig", method_get_config, 0, 0 },
	{ "Set", method_set, 0, 0 },
	{ "SetConfigText", method_set_text, 0, 0 },
	{ "Logs", method_logs, 0, 0 },
	{ "Push", method_push, 0, 1 },
	{ "Pull", method_pull, 0, 1 },
	{ "Migrate", method_migrate, 0, 2 },
	{ "MigrateResolve", method_migrate_resolve, 0, 0 },
	{ "Receive", method_receive, 0, 2 },
	{ "Wait", method_wait, 0, 0 },
	{ "Events", method_events, SERVER_MORE, 0 },
	{ "Doctor", method_doctor, 0, 0 },
	{ "Templates", method_templates, 0, 0 },
	{ "TemplateBuild", method_template_build, 0, 0 },
	{ "TemplateImport", method_template_import, 0, 1 },
	{ "TemplateRemove", method_template_remove, 0, 0 },
};
/* clang-format on */
const size_t sup_method_count = ARRAY_SIZE(sup_methods);
