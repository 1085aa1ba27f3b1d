/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

static void print(json_t *o, const char *name)
{
	const char *advice = json_string_value(json_object_get(o, "advice"));
	json_int_t pid = json_integer_value(json_object_get(o, "pid"));
	json_t *fd = json_object_get(o, "fd");

	printf("%s", name);
	if (pid)
		printf(", process %d [%d]", (int)pid,
		       (int)json_integer_value(json_object_get(o, "host_pid")));
	if (fd)
		printf(", fd %d", (int)json_integer_value(fd));
	fputs(": ", stdout);
	put_clean(stdout, json_string_value(json_object_get(o, "what")));
	if (advice && *advice) {
		fputs(" (", stdout);
		put_clean(stdout, advice);
		putchar(')');
	}
	putchar('\n');
}

static int check(struct cli *c, const char *name, const void *arg, json_t **ret, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	json_t *list, *o;
	size_t i;
	int r = cli_call(c, "Movable", json_pack("{s:s}", "name", name), &reply, e);

	(void)arg;
	if (r < 0)
		return r;
	list = json_object_get(reply.params, "obstacles");
	json_object_set_new(reply.params, "name", json_string(name));
	*ret = json_incref(reply.params);
	if (json_array_size(list) && !c->status)
		c->status = ERR_UNSUPPORTED;
	json_array_foreach(list, i, o)
		if (!c->json)
			print(o, name);
	return 0;
}

int cmd_check(struct cli *c, struct err *e)
{
	return cli_each(c, check, NULL, e);
}
