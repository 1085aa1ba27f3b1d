/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"
#include "cli/ahead.h"

int cli_root(struct cli *c, struct err *e)
{
	return host_root_init(&c->root, c->root_dir ? c->root_dir : getenv("VPS_ROOT"), e);
}

int cli_client(struct cli *c, struct err *e)
{
	unsigned flags = c->cmd->flags & CMD_NO_START ? 0 : CLIENT_START;
	int r = c->client ? 0 : cli_root(c, e);

	if (c->client || r < 0)
		return r;
	if (ahead.sent)
		return client_adopt(&c->client, &c->root, flags, ahead.fd, ahead.text, e);
	return client_open(&c->client, &c->root, flags, e);
}

int cli_call(struct cli *c, const char *method, json_t *in, struct client_reply *ret, struct err *e)
{
	struct client_reply reply;
	int r = cli_client(c, e);

	if (r < 0) {
		json_decref(in);
		return r;
	}
	r = client_call(c->client, method, in, NULL, 0, ret ? ret : &reply, e);
	if (r == 0 && !ret)
		client_reply_done(&reply);
	return r;
}

json_t *cli_name(const struct cli *c)
{
	return json_pack("{s:s}", "name", c->args[0]);
}

int cli_each(struct cli *c, cli_one_fn *one, const void *arg, struct err *e)
{
	cleanup_json json_t *all = json_array();

	for (size_t i = 0; i < c->args_count; i++) {
		const char *name = c->args[i];
		json_t *result = NULL;
		int r;

		snprintf(c->subject, sizeof(c->subject), "%s%s%.100s", c->cmd->name, *name ? " " : "", name);
		r = one(c, name, arg, &result, e);
		if (r < 0 && (c->args_count == 1 || e->code == ERR_CANCELLED))
			return r;
		if (r < 0) {
			if (!c->json)
				cli_error(c, e);
			if (!c->status)
				c->status = e->code;
			result = cli_json_error(c, e);
		}
		json_array_append_new(all, result);
	}
	if (c->json)
		cli_json(c->args_count == 1 ? json_array_get(all, 0) : all);
	return 0;
}

struct each_call {
	const char *method;
	json_t *(*make)(struct cli *c, const char *name);
};

static int one_call(struct cli *c, const char *name, const void *arg, json_t **ret, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	const struct each_call *call = arg;
	json_t *in = call->make(c, name), *vps;
	int r;

	if (!in)
		return err_set(e, ERR_USAGE, "a word is not UTF-8");
	r = cli_call(c, call->method, in, &reply, e);
	if (r < 0)
		return r;
	vps = json_object_get(reply.params, "vps");
	*ret = json_incref(vps ? vps : reply.params);
	return 0;
}

int cli_call_each(struct cli *c, const char *method,
		  json_t *(*make)(struct cli *c, const char *name), struct err *e)
{
	const struct each_call call = { method, make };

	return cli_each(c, one_call, &call, e);
}
