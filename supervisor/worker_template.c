/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker.h"

#include "base/macro.h"
#include "storage/template.h"
#include "supervisor/jobs.h"

/* A JSON array of strings as a NULL-terminated list; the strings stay the array's. */
static const char **string_list(json_t *array)
{
	const char **list = calloc(json_array_size(array) + 1, sizeof(*list));
	size_t n = 0, i;
	json_t *item;

	json_array_foreach(array, i, item)
		if (list && json_is_string(item))
			list[n++] = json_string_value(item);
	return list;
}

static int no_memory(struct err *e)
{
	return err_code(e, -ENOMEM, "read the job");
}

int worker_template_build(json_t *job, json_t **ret, struct err *e)
{
	cleanup_free const char **include = string_list(json_object_get(job, "include"));
	struct storage_template t;

	(void)ret;
	if (!include)
		return no_memory(e);
	return storage_template_build(job_text(job, "lib"), job_text(job, "source"),
				      job_text(job, "name"), include, worker_progress, NULL, &t, e);
}

int worker_template_import(json_t *job, json_t **ret, struct err *e)
{
	struct storage_template meta = { 0 }, t;
	const struct {
		const char *key;
		char *to;
		size_t size;
	} fields[] = {
		{ "name", meta.name, sizeof(meta.name) },
		{ "init", meta.init, sizeof(meta.init) },
		{ "stop_signal", meta.stop_signal, sizeof(meta.stop_signal) },
		{ "distribution", meta.distribution, sizeof(meta.distribution) },
	};

	(void)ret;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		const char *value = job_text(job, fields[i].key);

		if ((size_t)snprintf(fields[i].to, fields[i].size, "%s", value) >= fields[i].size)
			return err_set(e, ERR_USAGE, "%s: %.80s is too long", fields[i].key, value);
	}
	return storage_template_import(job_text(job, "lib"), WORKER_FD_FIRST, &meta, worker_progress,
				       NULL, &t, e);
}

int worker_template_remove(json_t *job, json_t **ret, struct err *e)
{
	cleanup_free const char **used = string_list(json_object_get(job, "used"));

	(void)ret;
	if (!used)
		return no_memory(e);
	return storage_template_remove(job_text(job, "lib"), job_text(job, "name"), used, e);
}

int worker_template_sweep(json_t *job, json_t **ret, struct err *e)
{
	cleanup_free const char **used = string_list(json_object_get(job, "used"));

	(void)ret;
	if (!used)
		return no_memory(e);
	return storage_template_sweep(job_text(job, "lib"), used, e);
}
