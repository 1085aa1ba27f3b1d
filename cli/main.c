/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"
#include "base/str.h"
#include "cli/attach_stdio.h"
#include "cli/help.h"

#include <signal.h>
#include <unistd.h>

static void print_verbs(void)
{
	for (size_t i = 0; i < cli_help_count; i++)
		if (cli_help[i].verb[0])
			printf("  %-10s %s\n", cli_help[i].verb, cli_help[i].summary);
}

static void help(const char *verb)
{
	const struct cli_help *h = cli_help_find(verb), *top = cli_help_find("");

	if (!h)
		return;
	printf("%s - %s\n\nusage:\n", *verb ? verb : "vps", h->summary);
	for (const char *line = h->usage; *line;) {
		size_t len = strcspn(line, "\n");

		printf("  %.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
	if (!*verb) {
		fputs("\nverbs:\n", stdout);
		print_verbs();
	}
	if (h->options[0])
		printf("\noptions:\n%s", h->options);
	if (*verb && top && top->options[0])
		printf("\noptions of every verb:\n%s", top->options);
	if (*verb)
		printf("\nMore: man vps-%s\n", verb);
	else
		printf("\nMore: vps VERB --help, man vps\n");
}

/* The part before the blank: `template` of "template build". */
static bool first_word_is(const struct cmd_entry *cmd, const char *word)
{
	size_t len = strcspn(cmd->name, " ");

	return strlen(word) == len && memcmp(cmd->name, word, len) == 0;
}

static int unknown_verb(const char *word, struct err *e)
{
	cleanup_strv struct strv verbs = { 0 };
	struct near near;

	for (size_t i = 0; i < cmd_entries_count; i++)
		if (!(cmd_entries[i].flags & CMD_HIDDEN))
			strv_split(&verbs, cmd_entries[i].name, " ");
	near_init(&near, word);
	for (size_t i = 0; i < verbs.count; i++)
		near_try(&near, verbs.item[i]);
	err_set(e, ERR_USAGE, "unknown verb %.80s", word);
	if (near.best)
		return err_hint(e, "did you mean %s?", near.best);
	return err_hint(e, "vps --help lists them");
}

static int sub_verb(const char *verb, const char *word, struct err *e)
{
	char list[160] = "";
	struct near near;

	near_init(&near, word ? word : "");
	for (size_t i = 0; i < cmd_entries_count; i++) {
		const char *name = cmd_entries[i].name;
		size_t len = strlen(list);

		if (!first_word_is(&cmd_entries[i], verb))
			continue;
		name += strlen(verb) + 1;
		near_try(&near, name);
		snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", name);
	}
	if (!word) {
		err_set(e, ERR_USAGE, "%s what?", verb);
		return err_hint(e, "one of %s", list);
	}
	err_set(e, ERR_USAGE, "unknown verb %s %.80s", verb, word);
	if (near.best)
		return err_hint(e, "did you mean %s %s?", verb, near.best);
	return err_hint(e, "one of %s", list);
}

/* Finds the row; *used is the number of words that name it. Shows help for `VERB --help`. */
static int find_command(struct cli *c, int argc, char **argv, int *used, struct err *e)
{
	const struct cmd_entry *group = NULL;

	for (size_t i = 0; i < cmd_entries_count; i++) {
		const struct cmd_entry *cmd = &cmd_entries[i];
		size_t len = strlen(argv[0]);

		if (!first_word_is(cmd, argv[0]))
			continue;
		group = cmd;
		*used = cmd->name[len] ? 2 : 1;
		if (*used == 1 || (argc > 1 && STREQ(cmd->name + len + 1, argv[1]))) {
			c->cmd = cmd;
			return 0;
		}
	}
	if (!group)
		return unknown_verb(argv[0], e);
	if (argc > 1 && (STREQ(argv[1], "--help") || STREQ(argv[1], "-h"))) {
		help(argv[0]);
		c->help = true;
		return 0;
	}
	return sub_verb(argv[0], argc > 1 ? argv[1] : NULL, e);
}

/* Options before the verb. Returns the number of words they take, or an error. */
static int leading_options(struct cli *c, int argc, char **argv, struct err *e)
{
	int i = 0;

	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		if (STREQ(argv[i], "--json")) {
			c->json = true;
		} else if (STREQ(argv[i], "--help") || STREQ(argv[i], "-h")) {
			c->help = true;
		} else if (STREQ(argv[i], "--version")) {
			c->version = true;
		} else if (strncmp(argv[i], "--root=", 7) == 0) {
			c->root_dir = argv[i] + 7;
		} else if (STREQ(argv[i], "--root") && i + 1 < argc) {
			c->root_dir = argv[++i];
		} else {
			err_set(e, ERR_USAGE, STREQ(argv[i], "--root") ? "%s needs a value" :
								   "unknown option %.80s",
				argv[i]);
			return err_hint(e, "vps --help");
		}
	}
	return i;
}

static void set_subject(struct cli *c)
{
	const char *args = c->cmd->args;
	bool named = (strncmp(args, "NAME", 4) == 0 || STREQ(args, "SOURCE")) && c->args_count &&
		     *c->args[0];

	snprintf(c->subject, sizeof(c->subject), "%s%s%.100s", c->cmd->name, named ? " " : "",
		 named ? c->args[0] : "");
}

static int run_verb(struct cli *c, int argc, char **argv, struct err *e)
{
	int used = 0;
	int r = find_command(c, argc, argv, &used, e);

	if (r < 0 || c->help)
		return r;
	snprintf(c->subject, sizeof(c->subject), "%s", c->cmd->name);
	r = cli_parse(c, argc - used, argv + used, e);
	if (r < 0)
		return r;
	if (c->help) {
		char verb[32];

		snprintf(verb, sizeof(verb), "%.*s", (int)strcspn(c->cmd->name, " "), c->cmd->name);
		help(verb);
		return 0;
	}
	if (c->version) {
		puts("vps " VPS_VERSION);
		return 0;
	}
	set_subject(c);
	return c->cmd->run(c, e);
}

static int run(struct cli *c, int argc, char **argv, struct err *e)
{
	int r = leading_options(c, argc, argv, e);

	if (r < 0)
		return r;
	argc -= r;
	argv += r;
	if (c->version) {
		puts("vps " VPS_VERSION);
		return 0;
	}
	if (argc > 0 && STREQ(argv[0], "help")) {
		c->help = true;
		argc--;
		argv++;
	}
	if (c->help && argc == 0) {
		help("");
		return 0;
	}
	if (argc == 0) {
		err_set(e, ERR_USAGE, "a verb is missing");
		return err_hint(e, "vps --help lists them");
	}
	if (c->help && cli_help_find(argv[0])) {
		help(argv[0]);
		return 0;
	}
	c->help = false;
	return run_verb(c, argc, argv, e);
}

static int exit_status(const struct cli *c, const struct err *e)
{
	if (c->cmd && c->cmd->flags & CMD_PASS && e->code < ERR_RUN)
		return ERR_RUN;
	return e->code;
}

static void done(struct cli *c)
{
	client_free(c->client);
	json_decref(c->settings);
	json_decref(c->table);
	free(c->given);
	free(c->args);
}

/* As the other programs of a shell's pipeline end, also when SIGPIPE was ignored meanwhile (cli_signals()) or by our caller. */
static _Noreturn void end_unread(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(SIGPIPE);
	_exit(128 + SIGPIPE);
}

int main(int argc, char **argv)
{
	struct cli c = { .argv = argv, .settings = json_array() };
	struct err e = { 0 };
	int status;

	attach_stdio_hold();
	if (run(&c, argc - 1, argv + 1, &e) < 0) {
		if (c.output_given && cli_unread())
			end_unread();
		cli_error(&c, &e);
		status = exit_status(&c, &e);
	} else {
		status = c.status;
	}
	if (c.unread)
		end_unread();
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
		if (errno == EPIPE || cli_unread())
			end_unread();
		err_sys(&e, "write to standard output");
		c.json = false;
		cli_error(&c, &e);
		status = e.code;
	}
	done(&c);
	return status;
}
