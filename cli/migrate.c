/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/remote.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* migrate, copy, send, receive: a VPS goes to another host, or through a pipe. */

struct transfer {
	struct cli *c;
	struct progress progress;
	int signals;
	json_t *reply; /* the last one */
};

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static double milliseconds(json_t *report, const char *key)
{
	return (double)json_integer_value(json_object_get(report, key)) / 1000;
}

static json_int_t integer(json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

/* One object a line, for programs that follow it. */
static void put_line(json_t *j)
{
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(j);
}

/* A round says what is left to be sent and how long the pause would be. */
static const char *stage_text(json_t *progress, char buf[128])
{
	char left[32];
	json_int_t throttled = integer(progress, "throttled");

	if (!json_object_get(progress, "round"))
		return text_of(progress, "stage");
	snprintf(buf, 128, "round %d of memory: %s left, a pause of %.0f ms", (int)integer(progress, "round"),
		 format_size((uint64_t)integer(progress, "remaining"), left, sizeof(left)),
		 milliseconds(progress, "predicted_us"));
	if (throttled)
		snprintf(buf + strlen(buf), 128 - strlen(buf), ", slowed to %d %%", (int)throttled);
	return buf;
}

static void show(struct transfer *t, json_t *progress)
{
	char stage[128];

	if (!json_is_object(progress))
		return;

	if (t->c->json)
		put_line(json_incref(progress));
	else
		progress_show(&t->progress, stage_text(progress, stage),
			      (uint64_t)integer(progress, "done"),
			      (uint64_t)integer(progress, "total"));
}

/* Takes `in` over. */
static int call(struct transfer *t, const char *method, json_t *in, const int fds[2], struct err *e)
{
	struct cli *c = t->c;
	struct client_reply reply;
	bool more = true;
	int r = cli_client(c, e);

	if (r == 0)
		r = t->signals = cli_signals(c, false, e);
	if (r < 0) {
		json_decref(in);
		return r;
	}
	client_cancel_on(c->client, t->signals, NULL, NULL);
	r = client_ask(c->client, method, in, fds, 2, true, &reply, e);
	while (r == 0 && more) {
		show(t, json_object_get(reply.params, "progress"));
		more = reply.continues;
		if (!more)
			t->reply = json_incref(reply.params);
		client_reply_done(&reply);
		if (more)
			r = client_recv(c->client, &reply, e);
	}
	progress_end(&t->progress);
	close(t->signals);
	return r;
}

static void done(struct transfer *t)
{
	json_decref(TAKE_PTR(t->reply));
}

static int show_obstacles(struct transfer *t)
{
	json_t *list = json_object_get(t->reply, "obstacles"), *item;
	size_t i;

	if (t->c->json) {
		put_line(json_pack("{s:O}", "obstacles", list));
	} else {
		json_array_foreach(list, i, item) {
			put_clean(stdout, json_string_value(item));
			putchar('\n');
		}
	}
	if (json_array_size(list))
		t->c->status = ERR_STATE;
	else if (!t->c->json)
		puts("nothing stands in the way");
	return 0;
}

/* What was in doubt is known now. */
static void show_keeper(struct transfer *t, const char *host, bool taken)
{
	if (t->c->json)
		put_line(json_pack("{s:b}", "taken", taken));
	else
		fprintf(stderr, "%s: %s\n", host,
			taken ? "it is there" : "it is not there, and goes on here");
}

static void show_report(struct transfer *t, const char *host)
{
	json_t *report = json_object_get(t->reply, "report");
	json_t *taken = json_object_get(t->reply, "taken");
	char size[32], time[32];

	if (taken) {
		show_keeper(t, host, json_is_true(taken));
		return;
	}

	if (t->c->json) {
		put_line(json_pack("{s:f, s:f, s:I, s:I}", "pause_ms", milliseconds(report, "pause_us"),
				   "total_ms", milliseconds(report, "total_us"), "rounds",
				   integer(report, "rounds"), "bytes", integer(report, "bytes")));
		return;
	}
	/* In a pipe the stream itself is our output. */
	fprintf(stderr, "%s: %s in %s", host,
		format_size((uint64_t)integer(report, "bytes"), size, sizeof(size)),
		format_duration((uint64_t)integer(report, "total_us"), time, sizeof(time)));
	if (integer(report, "pause_us"))
		fprintf(stderr, ", a pause of %.1f ms after %d round%s", milliseconds(report, "pause_us"),
			(int)integer(report, "rounds"), str_s((uint64_t)integer(report, "rounds")));
	fputc('\n', stderr);
}

static int rate_option(struct cli *c, json_t *in, struct err *e)
{
	const char *text = cli_option(c, "bandwidth");
	uint64_t rate;

	if (!text)
		return 0;
	if (parse_rate(text, &rate) < 0 || rate == 0) {
		err_set(e, ERR_USAGE, "--bandwidth: %s is not a rate", text);
		return err_hint(e, "for example 100M, in bytes a second");
	}
	json_object_set_new(in, "bandwidth",
			    json_integer(rate == PARSE_MAX ? 0 : (json_int_t)rate));
	return 0;
}

/* The parameters that migrate, copy and send share. */
static int parameters(struct cli *c, const char *mode, json_t **ret, struct err *e)
{
	json_t *in = json_pack("{s:s, s:s, s:s*, s:s*, s:b, s:b}", "name", c->args[0], "mode", mode,
			       "new_name", cli_option(c, "name"), "compress",
			       cli_option(c, "compress"), "dry_run", cli_has(c, "dry-run"), "keep",
			       cli_has(c, "keep"));
	int r = in ? rate_option(c, in, e) : err_set(e, ERR_USAGE, "a word is not UTF-8");

	if (r < 0)
		json_decref(in);
	else
		*ret = in;
	return r;
}

/* A bare number is of milliseconds, as pauses are. */
static int pause_option(struct cli *c, json_t *in, struct err *e)
{
	const char *text = cli_option(c, "max-pause");
	json_t *pause = NULL;
	uint64_t ms;
	int r = 0;

	if (text && parse_u64(text, &ms) == 0 && ms <= INT64_MAX / 1000)
		pause = json_integer((json_int_t)ms * 1000);
	else
		r = cli_duration(c, "max-pause", &pause, e);
	if (pause)
		json_object_set_new(in, "max_pause_us", pause);
	return r;
}

static int live_options(struct cli *c, json_t *in, struct err *e)
{
	const char *rounds = cli_option(c, "max-rounds");
	uint64_t n;

	if (cli_has(c, "offline"))
		json_object_set_new(in, "offline", json_true());
	if (cli_has(c, "resume"))
		json_object_set_new(in, "resume", json_true());
	if (rounds && (parse_u64(rounds, &n) < 0 || n > 1000))
		return err_set(e, ERR_USAGE, "--max-rounds: %s is not a number from 0 to 1000", rounds);
	if (rounds)
		json_object_set_new(in, "max_rounds", json_integer((json_int_t)n));
	return pause_option(c, in, e);
}

/* Why the connection ended is the remote shell's to say. */
static void explain(struct err *e, int status, const char *rsh)
{
	if (status && !e->hint[0] && strstr(e->msg, "the connection ended too early"))
		err_hint(e, "%.100s ended with status %d", rsh ? rsh : "ssh", status);
	else if (!e->hint[0] && strstr(e->msg, "is no stream of a VPS"))
		err_hint(e, "the remote shell must not print anything of its own");
}

static int to_host(struct cli *c, const char *mode, struct err *e)
{
	struct transfer t = { .c = c, .progress = { .quiet = c->json } };
	const char *host = c->args[1], *rsh = cli_option(c, "rsh");
	struct remote remote;
	json_t *in = NULL;
	int r, status;

	r = parameters(c, mode, &in, e);
	if (r < 0)
		return r;
	json_object_set_new(in, "peer", json_string(host));
	r = live_options(c, in, e);
	if (r < 0) {
		json_decref(in);
		return r;
	}
	r = cli_client(c, e); /* before anything is asked of the other host */
	if (r == 0)
		r = remote_open(&remote, rsh, host, cli_option(c, "vps"), e);
	if (r < 0) {
		json_decref(in);
		return r;
	}
	r = call(&t, "Migrate", in, (int[]){ remote.in, remote.out }, e);
	status = remote_wait(&remote);
	if (r < 0)
		explain(e, status, rsh);
	else if (cli_has(c, "dry-run"))
		show_obstacles(&t);
	else
		show_report(&t, host);
	done(&t);
	return r;
}

static int resolve(struct cli *c, struct err *e)
{
	const char *word = c->args[1];

	if (!STREQ(word, "source") && !STREQ(word, "destination")) {
		err_set(e, ERR_USAGE, "%s is not who keeps it", word);
		return err_hint(e, "source or destination");
	}
	return cli_call(c, "MigrateResolve",
			json_pack("{s:s, s:s}", "name", c->args[0], "keeper", word), NULL, e);
}

int cmd_migrate(struct cli *c, struct err *e)
{
	return cli_has(c, "resolve") ? resolve(c, e) : to_host(c, "move", e);
}

int cmd_copy(struct cli *c, struct err *e)
{
	return to_host(c, "copy", e);
}

int cmd_send(struct cli *c, struct err *e)
{
	struct transfer t = { .c = c, .progress = { .quiet = !isatty(2) } };
	cleanup_close int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	json_t *in = NULL;
	int r;

	if (isatty(1))
		return err_set(e, ERR_USAGE, "a VPS does not go to a terminal: use a pipe or a file");
	if (c->json)
		return err_set(e, ERR_USAGE, "--json: the output is the VPS");
	r = parameters(c, "stream", &in, e);
	if (r < 0)
		return r;
	if (cli_has(c, "no-template"))
		json_object_set_new(in, "without_template", json_true());
	r = call(&t, "Migrate", in, (int[]){ null, 1 }, e);
	if (r == 0)
		show_report(&t, c->args[0]);
	done(&t);
	return r;
}

int cmd_receive(struct cli *c, struct err *e)
{
	struct transfer t = { .c = c, .progress = { .quiet = true } };
	struct stat st;
	int r;

	if (isatty(0))
		return err_set(e, ERR_USAGE, "a VPS does not come from a terminal");
	r = call(&t, "Receive", json_pack("{s:s*}", "name", cli_option(c, "name")), (int[]){ 0, 1 }, e);
	/* At the other end of a pipe sits who was told what failed. */
	if (r == 0 && *text_of(t.reply, "error")) {
		c->status = ERR_FAIL;
		if (fstat(0, &st) == 0 && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
			r = err_set(e, ERR_FAIL, "%.900s", text_of(t.reply, "error"));
	} else if (r == 0 && c->json) {
		put_line(json_pack("{s:s}", "name", text_of(t.reply, "name")));
	}
	done(&t);
	return r;
}
