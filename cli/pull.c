/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/archive.h"
#include "cli/cli.h"

#include "base/macro.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/stat.h>

struct pull {
	struct cli *c;
	int dir;       /* where it is unpacked */
	char top[256]; /* under which name */
	int signals;
	unsigned left_out;
};

static json_t *parameters(struct cli *c)
{
	return json_pack("{s:s, s:s}", "name", c->args[0], "path", c->args[1]);
}

static int receive(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = client_recv(c->client, &reply, e);

	if (r == 0 && c->json)
		cli_json(reply.params);
	return r;
}

/* cp's rule: into DESTINATION when it is a directory, else to that name. */
static int find_destination(struct pull *p, const char *dest, struct err *e)
{
	const char *path = p->c->args[1], *slash;
	size_t len = strlen(path), from;
	char parent[4096];

	while (len > 0 && path[len - 1] == '/')
		len--;
	for (from = len; from > 0 && path[from - 1] != '/'; from--)
		;
	snprintf(p->top, sizeof(p->top), "%.*s", (int)(len - from), path + from);
	if (!*p->top || STREQ(p->top, ".") || STREQ(p->top, ".."))
		snprintf(p->top, sizeof(p->top), "%s", p->c->args[0]); /* the root: named as the VPS */
	p->dir = open(dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir >= 0)
		return 0;
	slash = strrchr(dest, '/');
	if ((errno != ENOENT && errno != ENOTDIR) || (slash && !slash[1])) {
		err_sys(e, "%s", dest);
		e->code = errno == ENOENT ? ERR_NOT_FOUND : e->code;
		return -ENOENT;
	}
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - dest) + 1 : 1,
		 slash ? dest : ".");
	snprintf(p->top, sizeof(p->top), "%s", slash ? slash + 1 : dest);
	p->dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir < 0) {
		err_sys(e, "%s", parent);
		e->code = errno == ENOENT ? ERR_NOT_FOUND : e->code;
		return -ENOENT;
	}
	return 0;
}

static int unpack(struct pull *p, int fd, struct err *e)
{
	struct transfer t = { .fd = fd, .signals = p->signals, .answer = -EBADF, .stage = "pull",
			      .progress = { .quiet = p->c->json || !isatty(2) } };
	int r = archive_unpack(&t, p->dir, p->top, e);

	p->left_out = t.left_out;
	return r;
}

/* vpsd's own error, when it has one, says more than the stream that it cut short. */
static int pull(struct pull *p, struct err *e)
{
	struct err theirs;
	int fds[2], r, unpacked;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	r = client_send(p->c->client, "Pull", parameters(p->c), &fds[1], 1, false, e);
	close(fds[1]);
	unpacked = r < 0 ? 0 : unpack(p, fds[0], e);
	close(fds[0]);
	if (r < 0 || e->code == ERR_CANCELLED)
		return r < 0 ? r : unpacked;
	r = receive(p->c, &theirs);
	if (r < 0 && (unpacked == 0 || theirs.code != ERR_DAEMON))
		*e = theirs;
	return unpacked < 0 ? unpacked : r;
}

static int pull_stdout(struct cli *c, struct err *e)
{
	static const int fd = 1;
	int r;

	if (isatty(1)) {
		err_set(e, ERR_USAGE, "a tar archive does not go to a terminal");
		return err_hint(e, "vps pull %.60s %.80s - | tar t", c->args[0], c->args[1]);
	}
	r = client_send(c->client, "Pull", parameters(c), &fd, 1, false, e);
	c->json = false; /* standard output is taken */
	c->output_given = true;
	return r < 0 ? r : receive(c, e);
}

int cmd_pull(struct cli *c, struct err *e)
{
	const char *dest = c->args_count > 2 ? c->args[2] : ".";
	struct pull p = { .c = c, .dir = -EBADF };
	int r;

	if (c->args[1][0] != '/') {
		err_set(e, ERR_USAGE, "%.200s is not an absolute path", c->args[1]);
		return err_hint(e, "what is pulled is a path inside the VPS: /etc/hostname");
	}
	r = STREQ(dest, "-") ? 0 : find_destination(&p, dest, e);
	if (r == 0)
		r = cli_client(c, e);
	if (r == 0)
		r = p.signals = cli_signals(c, false, e);
	if (r >= 0) {
		client_cancel_on(c->client, p.signals, NULL, NULL);
		r = STREQ(dest, "-") ? pull_stdout(c, e) : pull(&p, e);
		fd_close(&p.signals);
	}
	fd_close(&p.dir);
	if (r == 0 && p.left_out && !c->json)
		fprintf(stderr, "vps: pull %s: %u device node%s, socket%s or FIFO%s left out\n", c->args[0], p.left_out,
			str_s(p.left_out), str_s(p.left_out), p.left_out == 1 ? " was" : "s were");
	return r;
}
