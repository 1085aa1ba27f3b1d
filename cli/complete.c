/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/columns.h"
#include "cli/help.h"
#include "cli/usage.h"

#include "base/macro.h"

/*
 * `vps __complete WORD...`: what the last word, perhaps empty, could become, one candidate a line
 * with a tab and a description where there is one. FILES and DIRS alone on a line ask the shell for
 * its own. It starts no vpsd, and fails silently: completion must not disturb the line.
 */
struct completion {
	struct cli *c;
	const char *word; /* what is typed so far */
};

static void candidate(const struct completion *k, const char *text, const char *about)
{
	if (strncmp(text, k->word, strlen(k->word)) != 0)
		return;
	printf("%s%s%s\n", text, about && *about ? "\t" : "", about ? about : "");
}

static void members(const struct completion *k, const char *method, const char *list,
		    const char *about)
{
	cleanup_reply struct client_reply reply = { 0 };
	struct err e;
	json_t *row;
	size_t i;

	if (cli_call(k->c, method, NULL, &reply, &e) < 0)
		return;
	json_array_foreach(json_object_get(reply.params, list), i, row)
		candidate(k, json_string_value(json_object_get(row, "name")),
			  json_string_value(json_object_get(row, about)));
}

/* Of each setting that has one: `column` of the table ("name", "option"), between two texts. */
static void settings(const struct completion *k, const char *before, const char *column, const char *after)
{
	json_t *table, *row;
	struct err e;
	size_t i;

	if (cli_settings_table(k->c, &table, &e) < 0)
		return;
	json_array_foreach(table, i, row) {
		const char *word = json_string_value(json_object_get(row, column));
		char text[128];

		if (!word)
			continue;
		snprintf(text, sizeof(text), "%s%s%s", before, word, after);
		candidate(k, text, json_string_value(json_object_get(row, "help")));
	}
}

/* The last of a comma-separated list; the candidates carry what stands before it. */
static void columns(const struct completion *k)
{
	const char *comma = strrchr(k->word, ',');
	int before = comma ? (int)(comma - k->word) + 1 : 0;

	for (size_t i = 0; i < vps_columns_count; i++) {
		char text[512];

		snprintf(text, sizeof(text), "%.*s%s", before, k->word, vps_columns[i].name);
		candidate(k, text, NULL);
	}
}

static void complete_kind(const struct completion *k, enum word_kind kind)
{
	static const char *const firewall[] = { "list", "allow", "deny", "remove" };

	switch (kind) {
	case WORD_NAME:
		members(k, "List", "vps", "state");
		break;
	case WORD_TEMPLATE:
		members(k, "Templates", "templates", "distribution");
		break;
	case WORD_SETTING:
		settings(k, "", "name", "=");
		break;
	case WORD_KEY:
		settings(k, "", "name", "");
		break;
	case WORD_COLUMNS:
		columns(k);
		break;
	case WORD_STATE:
		for (size_t i = 0; i < VPS_STATE_COUNT; i++)
			candidate(k, vps_states[i], NULL);
		break;
	case WORD_USAGE:
		for (size_t i = 0; i < USAGE_KEY_COUNT; i++)
			candidate(k, usage_key_names[i], NULL);
		break;
	case WORD_FIREWALL:
		for (size_t i = 0; i < ARRAY_SIZE(firewall); i++)
			candidate(k, firewall[i], NULL);
		break;
	case WORD_FILE:
		puts("FILES");
		break;
	case WORD_DIR:
		puts("DIRS");
		break;
	case WORD_NONE:
		break;
	}
}

static void options(const struct completion *k, const struct cmd_option *o)
{
	char text[64];

	for (; o && o->name; o++) {
		snprintf(text, sizeof(text), "--%s", o->name);
		candidate(k, text, NULL);
	}
}

static const struct cmd_option *find(const struct cmd_option *o, const char *word)
{
	for (; o && o->name; o++)
		if (word[1] == '-' ? STREQ(o->name, word + 2) : word[1] == o->letter && !word[2])
			return o;
	return NULL;
}

/* The option that `word` is, when it takes the next word as its value. */
static const struct cmd_option *takes_value(const struct cmd_entry *cmd, const char *word)
{
	const struct cmd_option *o;

	if (word[0] != '-' || !word[1])
		return NULL;
	o = cmd ? find(cmd->options, word) : NULL;
	if (!o)
		o = find(cli_global_options, word);
	return o && o->arg ? o : NULL;
}

static bool first_word_is(const char *name, const char *word)
{
	size_t len = strcspn(name, " ");

	return strlen(word) == len && memcmp(name, word, len) == 0;
}

static void verbs(const struct completion *k)
{
	const char *last = "";

	for (size_t i = 0; i < cmd_entries_count; i++) {
		const char *name = cmd_entries[i].name;
		const struct cli_help *h;
		char first[32];

		snprintf(first, sizeof(first), "%.*s", (int)strcspn(name, " "), name);
		if (cmd_entries[i].flags & CMD_HIDDEN || first_word_is(last, first))
			continue;
		last = name;
		h = cli_help_find(first);
		candidate(k, first, h ? h->summary : NULL);
	}
}

/* The row for the words so far; sub-verbs of `first` are offered when they are what is missing. */
static const struct cmd_entry *command(const struct completion *k, const char *first,
				       const char *second, bool *ret_listed)
{
	size_t len = strlen(first);

	*ret_listed = false;
	for (size_t i = 0; i < cmd_entries_count; i++) {
		const struct cmd_entry *cmd = &cmd_entries[i];

		if (strncmp(cmd->name, first, len) != 0)
			continue;
		if (!cmd->name[len])
			return cmd;
		if (cmd->name[len] != ' ')
			continue;
		if (second && STREQ(cmd->name + len + 1, second))
			return cmd;
		if (!second) {
			candidate(k, cmd->name + len + 1, NULL);
			*ret_listed = true;
		}
	}
	return NULL;
}

static void arguments(const struct completion *k, const struct cmd_entry *cmd, size_t count)
{
	size_t last = ARRAY_SIZE(cmd->kinds) - 1;

	if (k->word[0] == '-') {
		options(k, cmd->options);
		options(k, cli_global_options);
		if (cmd->flags & CMD_SETTINGS)
			settings(k, "--", "option", "");
	} else if (count < cmd->max_args) {
		complete_kind(k, cmd->kinds[count < last ? count : last]);
	}
}

/* Plain words are counted; options and their values are not. */
struct seen {
	const char *plain[2];
	size_t count;
	const struct cmd_entry *cmd;
	const struct cmd_option *value_of; /* the last word is this option's value */
	bool listed, command;
};

static void look(const struct completion *k, struct seen *s)
{
	struct cli *c = k->c;

	for (size_t i = 0; i + 1 < c->args_count && !s->command; i++) {
		const char *word = c->args[i];
		const struct cmd_option *o = takes_value(s->cmd, word);

		if (o && STREQ(o->name, "root") && i + 2 < c->args_count)
			c->root_dir = c->args[i + 1];
		if (o && i + 2 == c->args_count)
			s->value_of = o;
		else if (o)
			i++;
		else if (STREQ(word, "--"))
			s->command = true;
		if (o || word[0] == '-')
			continue;
		if (s->count < 2)
			s->plain[s->count] = word;
		s->count++;
		if (!s->cmd) {
			const char *second = s->count > 1 ? s->plain[1] : NULL;
			struct completion silent = { c, "\n" }; /* nothing begins so */

			s->cmd = command(&silent, s->plain[0], second, &s->listed);
			if (s->cmd)
				s->count = 0;
		}
	}
}

int cmd_complete(struct cli *c, struct err *e)
{
	struct completion k = { c, c->args_count ? c->args[c->args_count - 1] : "" };
	struct seen s = { 0 };

	(void)e;
	look(&k, &s);
	if (s.command)
		puts("FILES");
	else if (s.value_of)
		complete_kind(&k, s.value_of->kind);
	else if (s.cmd)
		arguments(&k, s.cmd, s.count);
	else if (s.count == 1)
		command(&k, s.plain[0], NULL, &s.listed);
	else if (s.count == 0 && k.word[0] == '-')
		options(&k, cli_global_options);
	else if (s.count == 0)
		verbs(&k);
	return 0;
}
