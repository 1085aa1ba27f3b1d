/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "cli/attach.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"

#define LOG_MAX MIB(64) /* far more than the history is allowed to grow to */

static int follow(struct cli *c, long lines, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	struct attach a = { .kind = ATTACH_FOLLOW, .lines = lines };
	int r = client_call(c->client, "Console",
			    json_pack("{s:s, s:b}", "name", c->args[0], "input", false), NULL, 0,
			    &reply, e);

	if (r < 0)
		return r;
	if (reply.nfds < 1)
		return err_set(e, ERR_DAEMON, "vpsd sent no session");
	a.session = TAKE_FD(reply.fds[0]);
	a.signals = cli_signals(c, false, e);
	if (a.signals < 0)
		return a.signals;
	r = attach_run(&a, &c->status, e);
	c->unread = r >= 0 && cli_unread();
	fd_close(&a.signals);
	return r;
}

static int read_all(struct buf *text, int fd, struct err *e)
{
	char chunk[65536];
	ssize_t n;

	while ((n = fd_read_full(fd, chunk, sizeof(chunk))) > 0) {
		if (text->len > LOG_MAX)
			return 0;
		if (buf_add(text, chunk, (size_t)n) < 0)
			return err_code(e, -ENOMEM, "read the history");
	}
	return n < 0 ? err_code(e, (int)n, "read the history") : 0;
}

/* Where the last `lines` lines begin. */
static size_t tail(const char *text, size_t len, long lines)
{
	size_t at = len;

	if (lines == 0)
		return len;
	if (at > 0 && text[at - 1] == '\n')
		at--;
	for (; at > 0; at--)
		if (text[at - 1] == '\n' && --lines == 0)
			break;
	return at;
}

static int show(struct cli *c, long lines, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	cleanup_buf struct buf text = { 0 };
	size_t from, len;
	int state = 0;
	int r = cli_call(c, "Logs", cli_name(c), &reply, e);

	for (size_t i = 0; r == 0 && i < reply.nfds; i++)
		r = read_all(&text, reply.fds[i], e);
	if (r < 0)
		return r;
	from = lines < 0 ? 0 : tail(text.data, text.len, lines);
	len = text.len - from;
	if (len && isatty(1))
		len = clean_console(text.data + from, len, &state);
	if (len)
		fwrite(text.data + from, 1, len, stdout);
	return 0;
}

int cmd_logs(struct cli *c, struct err *e)
{
	const char *n = cli_option(c, "lines");
	uint64_t lines = 0;
	int r;

	if (n && (parse_u64(n, &lines) < 0 || lines > 1000000000)) {
		err_set(e, ERR_USAGE, "--lines: %.40s is not a number of lines", n);
		return err_hint(e, "for example 20");
	}
	r = cli_client(c, e);
	if (r < 0)
		return r;
	return cli_has(c, "follow") ? follow(c, n ? (long)lines : -1, e) :
					    show(c, n ? (long)lines : -1, e);
}
