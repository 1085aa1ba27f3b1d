/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"

static const struct cmd_option *find_long(const struct cmd_option *o, const char *name, size_t len)
{
	for (; o && o->name; o++)
		if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return o;
	return NULL;
}

static const struct cmd_option *find_letter(const struct cmd_option *o, char letter)
{
	for (; o && o->name; o++)
		if (o->letter == letter)
			return o;
	return NULL;
}

static int add_given(struct cli *c, const struct cmd_option *o, const char *value, struct err *e)
{
	struct cli_given *bigger;

	if (STREQ(o->name, "json"))
		c->json = true;
	if (STREQ(o->name, "help"))
		c->help = true;
	if (STREQ(o->name, "version"))
		c->version = true;
	if (STREQ(o->name, "root"))
		c->root_dir = value;
	bigger = reallocarray(c->given, c->given_count + 1, sizeof(*bigger));
	if (!bigger)
		return err_code(e, -ENOMEM, "read the options");
	c->given = bigger;
	c->given[c->given_count++] = (struct cli_given){ o, value };
	return 0;
}

static void try_options(struct near *n, const struct cmd_option *o)
{
	for (; o && o->name; o++)
		near_try(n, o->name);
}

static int unknown_option(struct cli *c, const char *name, json_t *table, struct err *e)
{
	struct near near;
	json_t *row;
	size_t i;

	near_init(&near, name);
	try_options(&near, c->cmd->options);
	try_options(&near, cli_global_options);
	json_array_foreach(table, i, row) {
		const char *option = json_string_value(json_object_get(row, "option"));

		near_try(&near, json_string_value(json_object_get(row, "name")));
		if (option)
			near_try(&near, option);
	}
	err_set(e, ERR_USAGE, "unknown option --%.80s", name);
	if (near.best)
		return err_hint(e, "did you mean --%s?", near.best);
	return err_hint(e, "vps %s --help", c->cmd->name);
}

/* The words that are left to look at. */
struct words {
	int argc;
	char **argv;
	int at;
};

static int missing_value(struct cli *c, const char *option, struct err *e)
{
	err_set(e, ERR_USAGE, "%s needs a value", option);
	return err_hint(e, "vps %s --help", c->cmd->name);
}

/*
 * --KEY VALUE, which may be of the settings table: vpsd is asked when all words are read, because
 * --root may follow.
 */
static int setting_option(struct cli *c, struct words *w, const char *name, size_t len,
			  const char *value, struct err *e)
{
	if (!value && w->at < w->argc)
		value = w->argv[w->at++];
	return json_array_append_new(c->settings, json_pack("{s:s%, s:s?}", "key", name, len,
							    "value", value)) < 0 ?
		       err_code(e, -ENOMEM, "read the options") :
		       0;
}

static int resolve_settings(struct cli *c, struct err *e)
{
	json_t *table = NULL, *given;
	size_t i;
	int r;

	if (json_array_size(c->settings) == 0)
		return 0;
	r = cli_settings_table(c, &table, e);
	if (r < 0)
		return r;
	json_array_foreach(c->settings, i, given) {
		const char *name = json_string_value(json_object_get(given, "key"));
		json_t *row = cli_setting_find(table, name);
		char option[96];

		if (!row)
			return unknown_option(c, name, table, e);
		snprintf(option, sizeof(option), "--%s", name);
		if (json_is_null(json_object_get(given, "value")))
			return missing_value(c, option, e);
		json_object_set(given, "key", json_object_get(row, "name"));
	}
	return 0;
}

static int take_long(struct cli *c, struct words *w, const char *word, struct err *e)
{
	const char *name = word + 2, *value = strchr(name, '=');
	size_t len = value ? (size_t)(value - name) : strlen(name);
	const struct cmd_option *o = find_long(c->cmd->options, name, len);

	if (!o)
		o = find_long(cli_global_options, name, len);
	if (value)
		value++;
	if (!o && c->cmd->flags & CMD_SETTINGS)
		return setting_option(c, w, name, len, value, e);
	if (!o) {
		char unknown[64];

		snprintf(unknown, sizeof(unknown), "%.*s", (int)len, name);
		return unknown_option(c, unknown, NULL, e);
	}
	if (!o->arg && value)
		return err_set(e, ERR_USAGE, "--%s takes no value", o->name);
	if (o->arg && !value) {
		if (w->at >= w->argc)
			return missing_value(c, word, e);
		value = w->argv[w->at++];
	}
	return add_given(c, o, value ? value : "", e);
}

/* -ab, -t VALUE, -tVALUE */
static int take_letters(struct cli *c, struct words *w, const char *word, struct err *e)
{
	for (const char *p = word + 1; *p; p++) {
		const struct cmd_option *o = find_letter(c->cmd->options, *p);
		const char *value = "";
		int r;

		if (!o)
			o = find_letter(cli_global_options, *p);
		if (!o) {
			err_set(e, ERR_USAGE, "unknown option -%c in %.80s", *p, word);
			return err_hint(e, "vps %s --help", c->cmd->name);
		}
		if (o->arg) {
			value = p[1] ? p + 1 : w->at < w->argc ? w->argv[w->at++] : NULL;
			if (!value)
				return missing_value(c, word, e);
		}
		r = add_given(c, o, value, e);
		if (r < 0 || o->arg)
			return r;
	}
	return 0;
}

static int add_arg(struct cli *c, const char *word, struct err *e)
{
	const char **bigger = reallocarray(c->args, c->args_count + 2, sizeof(*bigger));

	if (!bigger)
		return err_code(e, -ENOMEM, "read the arguments");
	c->args = bigger;
	c->args[c->args_count++] = word;
	c->args[c->args_count] = NULL;
	return 0;
}

/* Whether the command begins with this word, although no -- stood before it. */
static bool begins_command(const struct cli *c, const char *word)
{
	const char *equals = strchr(word, '=');

	if (!(c->cmd->flags & CMD_COMMAND))
		return false;
	if (c->cmd->min_args > 0)
		return c->args_count >= c->cmd->max_args;
	return !equals || memchr(word, '/', (size_t)(equals - word));
}

static int check_count(struct cli *c, struct err *e)
{
	const struct cmd_entry *cmd = c->cmd;

	if (c->args_count >= cmd->min_args && c->args_count <= cmd->max_args)
		return 0;
	if (c->args_count > cmd->max_args)
		err_set(e, ERR_USAGE, "%.80s is one argument too many", c->args[cmd->max_args]);
	else
		err_set(e, ERR_USAGE, "%s", c->args_count ? "an argument is missing" :
								    "arguments are missing");
	return err_hint(e, "usage: vps %s%s%s%s", cmd->name, cmd->options ? " [OPTIONS]" : "",
			*cmd->args ? " " : "", cmd->args);
}

static int take_words(struct cli *c, struct words *w, struct err *e)
{
	bool raw = c->cmd->flags & CMD_RAW;
	int r = 0;

	while (r == 0 && w->at < w->argc) {
		char *word = w->argv[w->at++];

		if (!raw && STREQ(word, "--")) {
			if (c->cmd->flags & CMD_COMMAND) {
				c->command = w->argv + w->at;
				return 0;
			}
			raw = true;
		} else if (!raw && strncmp(word, "--", 2) == 0) {
			r = take_long(c, w, word, e);
		} else if (!raw && word[0] == '-' && word[1]) {
			r = take_letters(c, w, word, e);
		} else if (!raw && begins_command(c, word)) {
			c->command = w->argv + w->at - 1;
			return 0;
		} else {
			r = add_arg(c, word, e);
		}
		if (c->help || c->version)
			return 0;
	}
	return r;
}

/* What goes to vpsd is JSON, whose strings are UTF-8. */
static int check_utf8(int argc, char **argv, struct err *e)
{
	for (int i = 0; i < argc; i++) {
		json_t *s = json_string(argv[i]);

		if (!s)
			return err_set(e, ERR_USAGE, "word %d after the verb is not UTF-8", i + 1);
		json_decref(s);
	}
	return 0;
}

int cli_parse(struct cli *c, int argc, char **argv, struct err *e)
{
	struct words w = { .argc = argc, .argv = argv };
	int r = check_utf8(argc, argv, e);

	if (r == 0)
		r = take_words(c, &w, e);
	if (r < 0 || c->help || c->version)
		return r;
	r = resolve_settings(c, e);
	if (r == 0)
		r = check_count(c, e);
	if (r < 0 || !(c->cmd->flags & CMD_COMMAND) || (c->command && *c->command))
		return r;
	err_set(e, ERR_USAGE, "a command is missing");
	return err_hint(e, "usage: vps %s [OPTIONS] %s", c->cmd->name, c->cmd->args);
}

const char *cli_option_nth(const struct cli *c, const char *option, size_t i)
{
	for (size_t n = 0; n < c->given_count; n++)
		if (STREQ(c->given[n].option->name, option) && i-- == 0)
			return c->given[n].value;
	return NULL;
}

const char *cli_option(const struct cli *c, const char *option)
{
	const char *value = NULL;

	for (size_t n = 0; n < c->given_count; n++)
		if (STREQ(c->given[n].option->name, option))
			value = c->given[n].value;
	return value;
}

bool cli_has(const struct cli *c, const char *option)
{
	return cli_option(c, option) != NULL;
}

int cli_duration(const struct cli *c, const char *option, json_t **ret, struct err *e)
{
	const char *value = cli_option(c, option);
	uint64_t us;

	*ret = NULL;
	if (!value)
		return 0;
	if (parse_duration(value, &us) < 0 || us > INT64_MAX) {
		err_set(e, ERR_USAGE, "--%s: %.80s is not a duration", option, value);
		return err_hint(e, "for example 500ms, 30s or 5m");
	}
	*ret = json_integer((json_int_t)us);
	return *ret ? 0 : err_code(e, -ENOMEM, "read the options");
}
