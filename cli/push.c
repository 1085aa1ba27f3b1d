/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/archive.h"
#include "cli/cli.h"

#include "base/macro.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/stat.h>

struct push {
	struct cli *c;
	const char **sources;
	char (*tops)[256]; /* under which name each goes */
	const char **top_list;
	size_t count;
	const char *dest;
	int signals;
	json_int_t bytes;
	unsigned left_out;
};

/* "site" of "dir/site/"; "." for what has no name of its own (".", "..", "/"). */
static void last_component(const char *path, char *buf, size_t size)
{
	size_t len = strlen(path), from;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (from = len; from > 0 && path[from - 1] != '/'; from--)
		;
	snprintf(buf, size, "%.*s", (int)(len - from), path + from);
	if (!*buf || STREQ(buf, ".."))
		snprintf(buf, size, ".");
}

static int pack(struct push *p, int fd, struct err *e)
{
	struct transfer t = { .fd = fd, .signals = p->signals, .stage = "push",
			      .answer = client_fd(p->c->client),
			      .progress = { .quiet = p->c->json || !isatty(2) } };
	int r = archive_pack(&t, p->sources, p->top_list, p->count, e);

	p->left_out = t.left_out;
	return r;
}

static int receive(struct push *p, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = client_recv(p->c->client, &reply, e);

	if (r == 0)
		p->bytes = json_integer_value(json_object_get(reply.params, "bytes"));
	return r;
}

/* One call: the stream goes while vpsd works; why it stopped reading is in its answer. */
static int send_to(struct push *p, const char *dir, struct err *e)
{
	json_t *in = json_pack("{s:s, s:s}", "name", p->c->args[0], "path", dir);
	struct err why;
	int fds[2], r, packed;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		json_decref(in);
		return err_sys(e, "make a pipe");
	}
	r = client_send(p->c->client, "Push", in, &fds[0], 1, false, e);
	close(fds[0]);
	packed = r < 0 ? 0 : pack(p, fds[1], &why);
	if (packed < 0 && packed != -EPIPE) {
		/* The connection is closed first: a stream without its end is no success. */
		client_free(TAKE_PTR(p->c->client));
		*e = why;
		r = packed;
	}
	close(fds[1]);
	if (r < 0)
		return r;
	return receive(p, e);
}

static int push_stdin(struct push *p, struct err *e)
{
	json_t *in = json_pack("{s:s, s:s}", "name", p->c->args[0], "path", p->dest);
	static const int fd = 0;
	int r;

	if (isatty(0)) {
		json_decref(in);
		return err_set(e, ERR_USAGE, "a tar archive does not come from a terminal");
	}
	r = client_send(p->c->client, "Push", in, &fd, 1, false, e);
	return r < 0 ? r : receive(p, e);
}

/* DESTINATION that is no directory is the new name of the one source. */
static int push_renamed(struct push *p, struct err *e)
{
	char dir[4096];
	const char *slash = strrchr(p->dest, '/');

	last_component(p->dest, p->tops[0], sizeof(p->tops[0]));
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - p->dest) : 0, p->dest);
	return send_to(p, *dir ? dir : "/", e);
}

static int push(struct push *p, struct err *e)
{
	size_t len = strlen(p->dest);
	int r;

	if (p->count == 1 && STREQ(p->sources[0], "-"))
		return push_stdin(p, e);
	for (size_t i = 0; i < p->count; i++) {
		struct stat st;

		if (lstat(p->sources[i], &st) < 0) {
			err_sys(e, "%s", p->sources[i]);
			e->code = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : e->code;
			return -ENOENT;
		}
		last_component(p->sources[i], p->tops[i], sizeof(p->tops[i]));
		p->top_list[i] = p->tops[i];
	}
	r = send_to(p, p->dest, e);
	if (r == 0 || e->code != ERR_NOT_FOUND || p->count > 1 || p->dest[len - 1] == '/' ||
	    STREQ(p->tops[0], ".") || !p->c->client)
		return r;
	return push_renamed(p, e);
}

int cmd_push(struct cli *c, struct err *e)
{
	struct push p = { .c = c, .sources = c->args + 1, .count = c->args_count - 2,
			  .dest = c->args[c->args_count - 1] };
	cleanup_free char(*tops)[256] = calloc(p.count, sizeof(*tops));
	cleanup_free const char **list = calloc(p.count, sizeof(*list));
	int r;

	if (!tops || !list)
		return err_code(e, -ENOMEM, "push");
	if (p.dest[0] != '/') {
		err_set(e, ERR_USAGE, "%.200s is not an absolute path", p.dest);
		return err_hint(e, "the destination is a path inside the VPS: /root");
	}
	p.tops = tops;
	p.top_list = list;
	r = cli_client(c, e);
	if (r < 0)
		return r;
	p.signals = cli_signals(c, false, e);
	if (p.signals < 0)
		return p.signals;
	client_cancel_on(c->client, p.signals, NULL, NULL);
	r = push(&p, e);
	fd_close(&p.signals);
	if (r < 0)
		return r;
	if (p.left_out && !c->json)
		fprintf(stderr, "vps: push %s: %u socket%s or device node%s left out\n", c->args[0], p.left_out,
			str_s(p.left_out), p.left_out == 1 ? " was" : "s were");
	if (c->json)
		printf("{\"bytes\": %" JSON_INTEGER_FORMAT "}\n", p.bytes);
	return 0;
}
