/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"

/*
 * The rules are the setting `firewall`, a list in which the first match wins. Adding at the end and
 * taking one out are single changes that vpsd makes in the list as it is then; only a rule that is
 * put in front of others needs the list written anew.
 */

/* The rules in order, and what becomes of the rest. */
static int get_rules(struct cli *c, struct strv *rules, char def[16], struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	json_t *set, *item;
	int r = cli_config(c, &reply, &set, e);
	size_t i;

	snprintf(def, 16, "allow");
	if (r < 0)
		return r;
	json_array_foreach(set, i, item) {
		const char *key = json_string_value(json_object_get(item, "key"));
		const char *value = json_string_value(json_object_get(item, "value"));

		if (STREQ(key, "firewall") && strv_add(rules, value) < 0)
			return err_code(e, -ENOMEM, "read the rules");
		if (STREQ(key, "firewall.default"))
			snprintf(def, 16, "%s", value);
	}
	return 0;
}

static int list_rules(struct cli *c, struct err *e)
{
	static const bool right[] = { true, false };
	cleanup_table struct table t = { .columns = 2, .right = right };
	cleanup_strv struct strv rules = { 0 };
	cleanup_json json_t *list = json_array(), *all = NULL;
	char number[16], def[16];
	int r = get_rules(c, &rules, def, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < rules.count; i++) {
		snprintf(number, sizeof(number), "%zu", i + 1);
		table_add(&t, DIM, number);
		table_add(&t, rules.item[i][0] == 'a' ? GREEN : RED, rules.item[i]);
		json_array_append_new(list, json_string(rules.item[i]));
	}
	snprintf(number, sizeof(number), "%s", def);
	table_add(&t, DIM, "-");
	table_add(&t, def[0] == 'a' ? GREEN : RED, number);
	if (c->json) {
		all = json_pack("{s:O, s:s}", "rules", list, "default", def);
		cli_json(all);
	} else {
		table_print(&t, false);
	}
	return 0;
}

/* vpsd speaks of the setting; the caller has never seen it. */
static int without_setting(struct cli *c, struct err *e)
{
	char begin[160];
	size_t len;

	snprintf(begin, sizeof(begin), "set %.100s: firewall: ", c->args[0]);
	len = strlen(begin);
	if (strncmp(e->msg, begin, len) == 0)
		memmove(e->msg, e->msg + len, strlen(e->msg + len) + 1);
	return err_errno((enum err_status)e->code);
}

/* Takes the list of {key, value} over. */
static int change(struct cli *c, json_t *settings, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "Set", json_pack("{s:s, s:o}", "name", c->args[0], "settings", settings),
			 &reply, e);

	if (r < 0)
		return without_setting(c, e);
	if (c->json)
		cli_json(reply.params);
	return 0;
}

static int add(json_t *list, const char *value)
{
	return cli_setting_add(list, "firewall", strlen("firewall"), value);
}

static int no_rule(struct cli *c, const char *number, struct err *e)
{
	err_set(e, ERR_NOT_FOUND, "there is no rule %.80s", number);
	return err_hint(e, "vps firewall %.80s list shows those there are", c->args[0]);
}

/* The rule stands at this place, from 1, and those that were there come after it. */
static int insert_rule(struct cli *c, const char *rule, const char *at, struct err *e)
{
	cleanup_strv struct strv rules = { 0 };
	json_t *list = json_array();
	uint64_t place;
	char def[16];
	int r;

	if (parse_u64(at, &place) < 0 || !place) {
		json_decref(list);
		return err_set(e, ERR_USAGE, "--at: %.80s is not the number of a rule", at);
	}
	r = get_rules(c, &rules, def, e);
	if (r == 0 && place > rules.count + 1)
		r = no_rule(c, at, e);
	if (r < 0) {
		json_decref(list);
		return r;
	}
	add(list, "");
	for (size_t i = 0; i < rules.count; i++) {
		if (i + 1 == place)
			add(list, rule);
		if (!STREQ(rules.item[i], rule))
			add(list, rules.item[i]);
	}
	if (place > rules.count)
		add(list, rule);
	return change(c, list, e);
}

static int add_rule(struct cli *c, struct err *e)
{
	const char *at = cli_option(c, "at");
	char rule[256] = "";
	json_t *list;

	for (size_t i = 1; i < c->args_count; i++) {
		size_t len = strlen(rule);

		if (len + strlen(c->args[i]) + 2 > sizeof(rule))
			return err_set(e, ERR_USAGE, "the rule is too long");
		snprintf(rule + len, sizeof(rule) - len, "%s%s", len ? " " : "", c->args[i]);
	}
	if (at)
		return insert_rule(c, rule, at, e);
	list = json_array();
	add(list, rule);
	return change(c, list, e);
}

static int remove_rule(struct cli *c, struct err *e)
{
	cleanup_strv struct strv rules = { 0 };
	char def[16], text[1024 + 2];
	uint64_t number;
	json_t *list;
	int r;

	if (c->args_count != 3) {
		err_set(e, ERR_USAGE, "%s", c->args_count < 3 ? "the number of a rule is missing" :
								"one rule is removed at a time");
		return err_hint(e, "usage: vps firewall NAME remove NUMBER");
	}
	if (parse_u64(c->args[2], &number) < 0 || !number)
		return err_set(e, ERR_USAGE, "%.80s is not the number of a rule", c->args[2]);
	r = get_rules(c, &rules, def, e);
	if (r < 0)
		return r;
	if (number > rules.count)
		return no_rule(c, c->args[2], e);
	/* By its text: whatever was changed meanwhile, no other rule goes. */
	snprintf(text, sizeof(text), "-%s", rules.item[number - 1]);
	list = json_array();
	add(list, text);
	return change(c, list, e);
}

int cmd_firewall(struct cli *c, struct err *e)
{
	const char *what = c->args_count > 1 ? c->args[1] : "list";

	if (cli_has(c, "at") && !STREQ(what, "allow") && !STREQ(what, "deny"))
		return err_set(e, ERR_USAGE, "--at goes with allow and deny only");
	if (STREQ(what, "list") && c->args_count <= 2)
		return list_rules(c, e);
	if (STREQ(what, "list"))
		return err_set(e, ERR_USAGE, "%.80s is one argument too many", c->args[2]);
	if (STREQ(what, "allow") || STREQ(what, "deny"))
		return add_rule(c, e);
	if (STREQ(what, "remove"))
		return remove_rule(c, e);
	err_set(e, ERR_USAGE, "%.80s is none of list, allow, deny, remove", what);
	return err_hint(e, "usage: vps firewall [OPTIONS] NAME [list|allow|deny|remove] [RULE|NUMBER]");
}
