/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/columns.h"

#include "base/macro.h"
#include "base/str.h"

/* One row a column: what -o calls it, its heading, its member of the JSON object. */
const struct column vps_columns[] = {
	{ "name", "NAME", "name" },
	{ "state", "STATE", "state" },
	{ "pid", "PID", "pid", .right = true, .zero = "-" },
	{ "template", "TEMPLATE", "template" },
	{ "uptime", "UPTIME", "uptime_s", .show = COLUMN_UPTIME },
	{ "ready", "READY", "ready" },
	{ "hostname", "HOSTNAME", "hostname" },
	{ "autostart", "AUTOSTART", "autostart" },
	{ "restart", "RESTART", "restart" },
	{ "restarts", "RESTARTS", "restarts", .right = true },
	{ "created", "CREATED", "created", .show = COLUMN_TIME },
	{ "id_base", "ID-BASE", "id_base", .right = true },
	{ "uuid", "UUID", "uuid" },
	{ "addresses", "ADDRESSES", "addresses" },
	{ "publish", "PUBLISH", "publish" },
	{ "last_exit", "LAST-EXIT", "last_exit" },
	{ "last_error", "LAST-ERROR", "last_error" },
	{ "movable", "MOVABLE", "movable" },
};
const size_t vps_columns_count = ARRAY_SIZE(vps_columns);

static const char default_columns[] = "name,state,pid,template,uptime,autostart";

/* What does not fit is left out, which an ellipsis says. */
static void join(json_t *array, char *buf, size_t size)
{
	static const char more[] = ",...";
	size_t len = 0, i;
	json_t *one;

	json_array_foreach(array, i, one) {
		const char *text = json_string_value(one);

		if (!text)
			continue;
		if (len + strlen(text) + 1 + sizeof(more) > size) {
			snprintf(buf + len, size - len, "%s", more + !len);
			return;
		}
		len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? "," : "", text);
	}
}

const char *column_text(const struct column *col, json_t *vps, char *buf, size_t size)
{
	json_t *v = json_object_get(vps, col->key);

	*buf = '\0';
	if (col->show == COLUMN_UPTIME)
		return show_uptime(json_number_value(v), buf, size);
	if (col->show == COLUMN_TIME)
		return show_time(json_integer_value(v), buf, size);
	if (json_is_string(v))
		snprintf(buf, size, "%s", json_string_value(v));
	else if (json_is_array(v))
		join(v, buf, size);
	else if (json_is_boolean(v))
		snprintf(buf, size, "%s", json_is_true(v) ? "yes" : "no");
	else if (json_is_integer(v) && json_integer_value(v) == 0 && col->zero)
		snprintf(buf, size, "%s", col->zero);
	else if (json_is_integer(v))
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	return buf;
}

const char *const vps_states[VPS_STATE_COUNT] = {
	"stopped", "starting", "running", "paused", "suspended", "stopping",
};

static int unknown_column(const char *name, struct err *e)
{
	char list[200] = "";

	for (size_t i = 0; i < vps_columns_count; i++) {
		size_t len = strlen(list);

		snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", vps_columns[i].name);
	}
	err_set(e, ERR_USAGE, "unknown column %.80s", name);
	return err_hint(e, "one of %s", list);
}

/* Fills cols[] with the columns that the list names; returns their number. */
static int choose(const char *text, const struct column *cols[], size_t max, struct err *e)
{
	cleanup_strv struct strv names = { 0 };
	size_t count = 0;

	if (strv_split(&names, text, ", ") < 0)
		return err_code(e, -ENOMEM, "read the columns");
	for (size_t i = 0; i < names.count; i++) {
		const struct column *found = NULL;

		for (size_t k = 0; k < vps_columns_count; k++)
			if (STREQ(names.item[i], vps_columns[k].name) ||
			    STREQ(names.item[i], vps_columns[k].key))
				found = &vps_columns[k];
		if (!found)
			return unknown_column(names.item[i], e);
		if (count == max)
			return err_set(e, ERR_USAGE, "more than %zu columns", max);
		cols[count++] = found;
	}
	if (!count)
		return err_set(e, ERR_USAGE, "no column is named");
	return (int)count;
}

/* The chosen members alone, when some were chosen. */
static void print_json(struct cli *c, json_t *list, const struct column *cols[], size_t count)
{
	cleanup_json json_t *out = json_array();
	json_t *vps;
	size_t i;

	if (!cli_has(c, "columns")) {
		cli_json(list);
		return;
	}
	json_array_foreach(list, i, vps) {
		json_t *row = json_object();

		for (size_t k = 0; k < count; k++) {
			json_t *v = json_object_get(vps, cols[k]->key);

			json_object_set(row, cols[k]->key, v ? v : json_null());
		}
		json_array_append_new(out, row);
	}
	cli_json(out);
}

static void print_table(json_t *list, const struct column *cols[], size_t count)
{
	bool right[32] = { false };
	cleanup_table struct table t = { .columns = count, .right = right };
	char text[1100];
	json_t *vps;
	size_t i;

	for (size_t k = 0; k < count; k++) {
		right[k] = cols[k]->right;
		table_add(&t, PLAIN, cols[k]->title);
	}
	json_array_foreach(list, i, vps) {
		for (size_t k = 0; k < count; k++) {
			const char *s = column_text(cols[k], vps, text, sizeof(text));

			table_add(&t, STREQ(cols[k]->name, "state") ? state_colour(s) : PLAIN,
				  *s ? s : "-");
		}
	}
	table_print(&t, true);
}

/* Not known without looking, for which each VPS stands still for a moment. */
static int ask_movable(struct cli *c, json_t *list, struct err *e)
{
	json_t *vps;
	size_t i;

	json_array_foreach(list, i, vps) {
		cleanup_reply struct client_reply reply = { 0 };
		json_t *name = json_object_get(vps, "name");
		int r = cli_call(c, "Movable", json_pack("{s:O}", "name", name), &reply, e);

		if (r < 0 && e->code != ERR_STATE && e->code != ERR_NOT_FOUND)
			return r;
		if (r == 0)
			json_object_set(vps, "movable", json_object_get(reply.params, "movable"));
	}
	return 0;
}

int cmd_list(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	const char *text = cli_option(c, "columns");
	const struct column *cols[32];
	int count = choose(text ? text : default_columns, cols, ARRAY_SIZE(cols), e);
	json_t *list;
	int r;

	if (count < 0)
		return count;
	r = cli_call(c, "List", NULL, &reply, e);
	if (r < 0)
		return r;
	list = json_object_get(reply.params, "vps");
	for (int i = 0; i < count; i++)
		if (STREQ(cols[i]->name, "movable"))
			r = ask_movable(c, list, e);
	if (r < 0)
		return r;
	if (c->json)
		print_json(c, list, cols, (size_t)count);
	else
		print_table(list, cols, (size_t)count);
	return 0;
}
