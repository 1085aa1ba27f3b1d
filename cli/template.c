/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"

#include <fcntl.h>

static const char *text_of(json_t *t, const char *key)
{
	const char *s = json_string_value(json_object_get(t, key));

	return s ? s : "";
}

static void show(json_t *list)
{
	static const bool right[8] = { [4] = true, [6] = true };
	static const char *const titles[] = { "NAME", "DISTRIBUTION", "VERSION", "ARCH",
					      "SIZE", "CREATED",      "USERS" };
	cleanup_table struct table t = { .columns = ARRAY_SIZE(titles), .right = right };
	json_t *row;
	size_t i;

	table_titles(&t, titles);
	json_array_foreach(list, i, row) {
		char text[64];

		table_add(&t, PLAIN, text_of(row, "name"));
		table_add(&t, PLAIN, text_of(row, "distribution"));
		table_add(&t, PLAIN, text_of(row, "version"));
		table_add(&t, PLAIN, text_of(row, "arch"));
		table_add(&t, PLAIN, format_size((uint64_t)json_integer_value(
							 json_object_get(row, "size")),
						 text, sizeof(text)));
		table_add(&t, PLAIN, show_time(json_integer_value(json_object_get(row, "created")),
					       text, sizeof(text)));
		snprintf(text, sizeof(text), "%zu", json_array_size(json_object_get(row, "users")));
		table_add(&t, PLAIN, text);
	}
	table_print(&t, true);
}

int cmd_template_list(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "Templates", NULL, &reply, e);

	if (r < 0)
		return r;
	if (c->json)
		cli_json(json_object_get(reply.params, "templates"));
	else
		show(json_object_get(reply.params, "templates"));
	return 0;
}

static int long_call(struct cli *c, const char *method, json_t *in, const int *fds, size_t nfds,
		     struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_follow(c, method, in, fds, nfds, &reply, e);

	if (r == 0 && c->json)
		cli_json(json_object_get(reply.params, "template"));
	return r;
}

int cmd_template_build(struct cli *c, struct err *e)
{
	cleanup_strv struct strv packages = { 0 };
	json_t *include = json_array();
	const char *word;

	for (size_t i = 0; (word = cli_option_nth(c, "include", i)); i++)
		strv_split(&packages, word, ", ");
	for (size_t i = 0; i < packages.count; i++)
		json_array_append_new(include, json_string(packages.item[i]));
	return long_call(c, "TemplateBuild",
			 json_pack("{s:s, s:s*, s:o}", "source", c->args[0], "name",
				   cli_option(c, "name"), "include", include),
			 NULL, 0, e);
}

int cmd_template_import(struct cli *c, struct err *e)
{
	/* Opened here, with the caller's rights. */
	cleanup_close int fd = open(c->args[1], O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0) {
		err_sys(e, "%s", c->args[1]);
		if (errno == ENOENT || errno == ENOTDIR)
			e->code = ERR_NOT_FOUND;
		return -EIO;
	}
	return long_call(c, "TemplateImport",
			 json_pack("{s:s, s:s*, s:s*, s:s*}", "name", c->args[0], "init",
				   cli_option(c, "init"), "stop_signal",
				   cli_option(c, "stop-signal"), "distribution",
				   cli_option(c, "distribution")),
			 &fd, 1, e);
}

static json_t *parameters(struct cli *c, const char *name)
{
	(void)c;
	return json_pack("{s:s}", "name", name);
}

int cmd_template_remove(struct cli *c, struct err *e)
{
	return cli_call_each(c, "TemplateRemove", parameters, e);
}
