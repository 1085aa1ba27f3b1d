/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

#include "tests/unit/tap.h"

#include <string.h>

static int nothing(struct cli *c, struct err *e)
{
	(void)c;
	(void)e;
	return 0;
}

static const struct cmd_option some[] = {
	{ "timeout", 't', "TIME", WORD_NONE }, { "force", 'f' }, { "env", 'e', "KEY=VALUE" }, { 0 },
};
const struct cmd_option cli_global_options[] = { { "root", 0, "DIR", WORD_DIR }, { "json" },
						 { "help", 'h' }, { 0 } };

static const struct cmd_entry plain = { "stop", "NAME...", { WORD_NAME }, 1, 2, some, 0, nothing };
static const struct cmd_entry inside = { "exec", "NAME -- COMMAND", { WORD_NAME }, 1, 1, some,
					 CMD_COMMAND, nothing };
static const struct cmd_entry sandbox = { "run", "-- COMMAND", { WORD_NONE }, 0, ARGS_ANY, some,
					  CMD_COMMAND | CMD_SETTINGS, nothing };

static void words_done(struct cli *c)
{
	json_decref(c->settings);
	free(c->given);
	free(c->args);
}

/* Parses the words, which are cut at blanks. */
static int parse(struct cli *c, const struct cmd_entry *cmd, char *text, struct err *e)
{
	static char *argv[32];
	int argc = 0;

	*c = (struct cli){ .cmd = cmd, .settings = json_array() };
	*e = (struct err){ 0 };
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
		argv[argc++] = w;
	argv[argc] = NULL;
	return cli_parse(c, argc, argv, e);
}

static void taken(const struct cmd_entry *cmd, const char *words, const char *args,
		  const char *command)
{
	char text[256], got[256] = "", cmdline[256] = "";
	struct cli c;
	struct err e;

	snprintf(text, sizeof(text), "%s", words);
	if (!ok(parse(&c, cmd, text, &e) == 0, "%s", words))
		diag("%s", e.msg);
	for (size_t i = 0; i < c.args_count; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "", c.args[i]);
	for (char **w = c.command; w && *w; w++)
		snprintf(cmdline + strlen(cmdline), sizeof(cmdline) - strlen(cmdline), "%s%s",
			 w == c.command ? "" : " ", *w);
	eq_str(got, args, "its arguments");
	eq_str(cmdline, command, "its command");
	words_done(&c);
}

static void refused(const struct cmd_entry *cmd, const char *words, const char *msg,
		    const char *hint)
{
	char text[256];
	struct cli c;
	struct err e;

	snprintf(text, sizeof(text), "%s", words);
	ok(parse(&c, cmd, text, &e) < 0, "refused: %s", words);
	eq_str(e.msg, msg, "why");
	eq_str(e.hint, hint, "what then");
	eq_int(e.code, ERR_USAGE, "a usage error");
	words_done(&c);
}

TEST(words)
{
	taken(&plain, "web1", "web1", "");
	taken(&plain, "-f web1 --timeout 5s web2", "web1 web2", "");
	taken(&plain, "web1 --timeout=5s -- -web2", "web1 -web2", "");
	taken(&inside, "web1 -- ls -l --force", "web1", "ls -l --force");
	taken(&inside, "-f web1 ls -l", "web1", "ls -l");
	taken(&inside, "web1 -f -- ls", "web1", "ls");
	taken(&sandbox, "-f -- true", "", "true");
	taken(&sandbox, "memory.max=1G true -f", "memory.max=1G", "true -f");
	taken(&sandbox, "memory.max=1G -- a=b", "memory.max=1G", "a=b");
	taken(&sandbox, "/bin/a=b c", "", "/bin/a=b c");
}

TEST(refusals)
{
	refused(&plain, "", "arguments are missing", "usage: vps stop [OPTIONS] NAME...");
	refused(&plain, "a b c", "c is one argument too many", "usage: vps stop [OPTIONS] NAME...");
	refused(&plain, "--forse a", "unknown option --forse", "did you mean --force?");
	refused(&plain, "--xyzzy a", "unknown option --xyzzy", "vps stop --help");
	refused(&plain, "-fz a", "unknown option -z in -fz", "vps stop --help");
	refused(&plain, "--force=yes a", "--force takes no value", "");
	refused(&plain, "a --timeout", "--timeout needs a value", "vps stop --help");
	refused(&plain, "a -t", "-t needs a value", "vps stop --help");
	refused(&inside, "a", "a command is missing", "usage: vps exec [OPTIONS] NAME -- COMMAND");
	refused(&inside, "a --", "a command is missing", "usage: vps exec [OPTIONS] NAME -- COMMAND");
	refused(&plain, "a \xff", "word 2 after the verb is not UTF-8", "");
}

TEST(values)
{
	char text[] = "-e A=1 -fe B=2 --env=C=3 -t9 --json --timeout 250ms x";
	struct cli c;
	struct err e;
	json_t *us = NULL;

	ok(parse(&c, &plain, text, &e) == 0, "taken");
	ok(c.json && cli_has(&c, "force") && !cli_has(&c, "root"), "flags");
	eq_str(cli_option_nth(&c, "env", 0), "A=1", "the first");
	eq_str(cli_option_nth(&c, "env", 1), "B=2", "the second");
	eq_str(cli_option_nth(&c, "env", 2), "C=3", "the third");
	ok(!cli_option_nth(&c, "env", 3), "and no more");
	eq_str(cli_option(&c, "timeout"), "250ms", "the last of two counts");
	ok(cli_duration(&c, "timeout", &us, &e) == 0, "a duration");
	eq_int(json_integer_value(us), 250000, "in microseconds");
	json_decref(us);
	words_done(&c);
}

TEST(nearest)
{
	static const char *const verbs[] = { "start", "stop", "status", "set", "list", "top" };
	static const struct {
		const char *word, *best;
	} rows[] = { { "strat", "start" }, { "stp", "stop" },    { "stat", "start" },
		     { "lst", "list" },    { "frobnicate", NULL }, { "x", NULL },
		     { "foo", NULL } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct near n;

		near_init(&n, rows[i].word);
		for (size_t k = 0; k < ARRAY_SIZE(verbs); k++)
			near_try(&n, verbs[k]);
		eq_str(n.best, rows[i].best, "%s", rows[i].word);
	}
}

TEST(console_text)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "plain\n", "plain\n" },
		{ "\033[1;31mred\033[0m\r\n", "red\n" },
		{ "a\033]0;title\007b", "ab" },
		{ "a\033]52;c;ZXZpbA==\033\\b", "ab" },
		{ "a\033P+q\033\\b", "ab" },
		{ "\033(Bx", "x" },
		{ "bell\007 back\b", "bell back" },
		{ "\033]hidden\nshown", "shown" },
		{ "t\tab", "t\tab" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char whole[64], byte[64];
		size_t len = strlen(rows[i].in), n = 0;
		int state = 0;

		memcpy(whole, rows[i].in, len);
		whole[clean_console(whole, len, &state)] = '\0';
		eq_str(whole, rows[i].out, "row %zu at once", i);
		state = 0;
		for (size_t k = 0; k < len; k++) {
			byte[n] = rows[i].in[k];
			n += clean_console(byte + n, 1, &state);
		}
		byte[n] = '\0';
		eq_str(byte, rows[i].out, "row %zu byte by byte", i);
	}
}
