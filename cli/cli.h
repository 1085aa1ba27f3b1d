/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/err.h"
#include "base/hostroot.h"
#include "supervisor/protocol/client.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a word on the command line is, for completion. */
enum word_kind {
	WORD_NONE,
	WORD_NAME,     /* of a VPS */
	WORD_TEMPLATE,
	WORD_SETTING,  /* KEY=VALUE */
	WORD_KEY,
	WORD_COLUMNS,
	WORD_STATE,
	WORD_USAGE,    /* what `top` sorts by */
	WORD_FIREWALL, /* what is done to a firewall */
	WORD_FILE,
	WORD_DIR,
};

struct cmd_option {
	const char *name; /* "timeout" */
	char letter;      /* 0: none */
	const char *arg;  /* "TIME"; NULL: takes none */
	enum word_kind kind;
};

enum cmd_flags {
	CMD_SETTINGS = 1,  /* each setting is an option too: --memory.max 512M, --ram 512M */
	CMD_COMMAND = 2,   /* a command follows the arguments, with or without -- */
	CMD_PASS = 4,      /* ends with the command's status; what fails itself ends with ERR_RUN */
	CMD_NO_START = 8,  /* does not start vpsd */
	CMD_HIDDEN = 16,   /* in no list */
	CMD_RAW = 32,      /* takes its words as they are */
};

struct cli;

/* One row a verb, or a verb's sub-verb ("template build"). */
struct cmd_entry {
	const char *name;
	const char *args; /* as the usage shows them */
	enum word_kind kinds[4]; /* of the arguments; the last repeats while max_args allows */
	unsigned min_args, max_args;
	const struct cmd_option *options; /* ends with a row without a name; NULL: none */
	unsigned flags;
	int (*run)(struct cli *c, struct err *e);
};

extern const struct cmd_entry cmd_entries[];
extern const size_t cmd_entries_count;

/* The options of every verb. */
extern const struct cmd_option cli_global_options[];

#define ARGS_ANY 4096u

struct cli_given {
	const struct cmd_option *option;
	const char *value;
};

struct cli {
	char **argv; /* all of the words, as main() got them */
	const struct cmd_entry *cmd;
	struct host_root root; /* cli_root() */
	struct client *client; /* cli_client() */
	bool json, help, version;
	const char *root_dir; /* --root; NULL: VPS_ROOT or the default */
	struct cli_given *given;
	size_t given_count;
	const char **args;
	size_t args_count;
	char **command; /* NULL-terminated; NULL: none was given */
	json_t *settings; /* [{key, value}] of --KEY VALUE */
	json_t *table;    /* cli_settings_table() */
	int status;       /* what to exit with when nothing failed */
	bool output_given; /* another process writes to our standard output: what fails may be its reader's end */
	bool unread;      /* the reader of standard output has gone, which ended us */
	char subject[256]; /* "start web1", before each error */
};

/* options.c */
/*
 * Takes the words after the verb apart. Unknown options and a wrong number of arguments are
 * ERR_USAGE with a hint. --help ends it with c->help set, --version with
 * c->version.
 */
int cli_parse(struct cli *c, int argc, char **argv, struct err *e);
bool cli_has(const struct cli *c, const char *option);
/* The value of the last such option, NULL when it was not given. */
const char *cli_option(const struct cli *c, const char *option);
/* The i-th value of an option that may stand several times; NULL past the last. */
const char *cli_option_nth(const struct cli *c, const char *option, size_t i);
/* The value of a duration option in microseconds as a JSON integer; NULL when it was not given. */
int cli_duration(const struct cli *c, const char *option, json_t **ret, struct err *e);

/* near.c: the candidate most like `word`, NULL when none is. */
struct near {
	const char *word, *best;
	unsigned distance;
};
void near_init(struct near *n, const char *word);
void near_try(struct near *n, const char *candidate);

/* settings.c */
/* The settings table of vpsd, asked once. */
int cli_settings_table(struct cli *c, json_t **ret, struct err *e);
/* The row whose name or option this is, NULL when there is none. Borrowed. */
json_t *cli_setting_find(json_t *table, const char *name);
/* What the config of args[0] sets, [{key, value}]; ERR_USAGE when it is damaged. Borrowed from the reply. */
int cli_config(struct cli *c, struct client_reply *reply, json_t **ret, struct err *e);
/* Adds {key, value} to an array. */
int cli_setting_add(json_t *list, const char *key, size_t key_len, const char *value);
/* c->settings with KEY=VALUE words (from args[first] on) added. The array is the caller's. */
int cli_settings(struct cli *c, size_t first, json_t **ret, struct err *e);

/* call.c */
/* Fills c->root. */
int cli_root(struct cli *c, struct err *e);
/* The connection to vpsd, made on first use. */
int cli_client(struct cli *c, struct err *e);
/* A call without fds; *ret may be NULL when the answer does not matter. `in` is taken over. */
int cli_call(struct cli *c, const char *method, json_t *in, struct client_reply *ret,
	     struct err *e);
/* follow.c: a call with `more`: progress is shown, signals cancel it; the last reply is the caller's. */
int cli_follow(struct cli *c, const char *method, json_t *in, const int *fds, size_t nfds,
	       struct client_reply *ret, struct err *e);
/* output.c: whether standard output is a pipe or socket that nobody reads any more. */
bool cli_unread(void);
/* {name: args[0]} for calls on one VPS. */
json_t *cli_name(const struct cli *c);
/*
 * Does `one` for each name among the arguments; it sets *ret, what --json prints of that name. Errors are
 * reported at once, and the others go on, but after an interruption; the first one's status is the verb's.
 * With --json one object for one name, an array for several.
 */
typedef int cli_one_fn(struct cli *c, const char *name, const void *arg, json_t **ret, struct err *e);
int cli_each(struct cli *c, cli_one_fn *one, const void *arg, struct err *e);
/* One call for each, with the parameters that `make` gives; --json prints the reply's member `vps`. */
int cli_call_each(struct cli *c, const char *method,
		  json_t *(*make)(struct cli *c, const char *name), struct err *e);

/* output.c */
void cli_error(const struct cli *c, const struct err *e); /* the one line, or the JSON object */
void cli_json(const json_t *v);                           /* on standard output */
json_t *cli_json_error(const struct cli *c, const struct err *e);
/* Prints with control characters replaced: names and texts may come from a tenant. */
void put_clean(FILE *f, const char *s);
/* Text with escape sequences and control characters but line ends and tabs taken out; *state keeps
 * a sequence that is cut at the end of a piece, 0 at first. Returns the new length. */
size_t clean_console(char *text, size_t len, int *state);
bool colour_on(FILE *f);

enum colour { PLAIN, BOLD, DIM, RED, GREEN, YELLOW, BLUE };
const char *colour_code(enum colour c);

/* A table of cells; widths are found when it is printed. */
struct cell {
	char *text;
	enum colour colour;
};
struct table {
	size_t columns, count;
	struct cell *cells;
	const bool *right; /* which columns are set flush right; NULL: none */
};
int table_add(struct table *t, enum colour colour, const char *text);
/* A heading of one title a column. */
void table_titles(struct table *t, const char *const *titles);
/* The first row is the heading when `heading`. */
void table_print(struct table *t, bool heading);
void table_done(struct table *t);
#define cleanup_table __attribute__((cleanup(table_done)))

/* "3d 4h" for seconds; "2026-11-21 08:30:00" for seconds since 1970, local time. */
const char *show_uptime(double seconds, char *buf, size_t size);
const char *show_time(int64_t seconds, char *buf, size_t size);
enum colour state_colour(const char *state);

/* signals.c: the signals that end or concern us, blocked and readable on a signalfd. */
int cli_signals(struct cli *c, bool terminal, struct err *e);
#define cleanup_json __attribute__((cleanup(json_decrefp)))

/* The verbs, one file each. */
#define CMD(name) int cmd_##name(struct cli *c, struct err *e)
CMD(create);
CMD(start);
CMD(stop);
CMD(restart);
CMD(pause);
CMD(resume);
CMD(suspend);
CMD(check);
CMD(checkpoint);
CMD(checkpoint_show);
CMD(checkpoint_verify);
CMD(restore);
CMD(destroy);
CMD(rename);
CMD(exec);
CMD(enter);
CMD(console);
CMD(run);
CMD(list);
CMD(status);
CMD(stats);
CMD(top);
CMD(firewall);
CMD(set);
CMD(config);
CMD(edit);
CMD(logs);
CMD(push);
CMD(pull);
CMD(migrate);
CMD(copy);
CMD(send);
CMD(receive);
CMD(wait);
CMD(events);
CMD(doctor);
CMD(template_list);
CMD(template_build);
CMD(template_import);
CMD(template_remove);
CMD(daemon_start);
CMD(daemon_stop);
CMD(daemon_status);
CMD(version);
CMD(complete);

#endif
