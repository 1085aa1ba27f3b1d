/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

#define OPTIONS(ident, ...) static const struct cmd_option ident[] = { __VA_ARGS__, { 0 } }

/* clang-format off */
const struct cmd_option cli_global_options[] = {
	{ "root", 0, "DIR", WORD_DIR },
	{ "json" },
	{ "help", 'h' },
	{ "version" },
	{ 0 },
};

OPTIONS(create_options,
	{ "template", 'T', "NAME", WORD_TEMPLATE },
	{ "backend", 0, "NAME" });
OPTIONS(start_options,
	{ "wait", 'w' },
	{ "timeout", 0, "TIME" });
OPTIONS(stop_options,
	{ "timeout", 't', "TIME" },
	{ "force", 'f' });
OPTIONS(suspend_options,
	{ "compress", 0, "lz4|zstd|none" });
OPTIONS(checkpoint_options,
	{ "leave-running" },
	{ "to", 0, "FILE", WORD_FILE },
	{ "no-disk" },
	{ "compress", 0, "lz4|zstd|none" });
OPTIONS(restore_options,
	{ "from", 0, "FILE", WORD_FILE });
OPTIONS(destroy_options,
	{ "force", 'f' });
OPTIONS(exec_options,
	{ "tty", 't' },
	{ "user", 'u', "USER" },
	{ "cwd", 'w', "DIR" },
	{ "env", 'e', "KEY=VALUE" });
OPTIONS(enter_options,
	{ "user", 'u', "USER" });
OPTIONS(run_options,
	{ "rm" },
	{ "name", 'n', "NAME" },
	{ "template", 'T', "NAME", WORD_TEMPLATE },
	{ "mount", 'v', "HOST:GUEST[:ro]", WORD_FILE },
	{ "tty", 't' },
	{ "user", 'u', "USER" },
	{ "cwd", 'w', "DIR" },
	{ "env", 'e', "KEY=VALUE" });
OPTIONS(list_options,
	{ "columns", 'o', "COLUMN[,COLUMN...]", WORD_COLUMNS });
OPTIONS(status_options,
	{ "counters", 'c' });
OPTIONS(top_options,
	{ "delay", 'd', "TIME" },
	{ "count", 'n', "NUMBER" },
	{ "sort", 's', "KEY", WORD_USAGE });
OPTIONS(firewall_options,
	{ "at", 0, "NUMBER" });
OPTIONS(set_options,
	{ "runtime" });
OPTIONS(config_options,
	{ "all", 'a' });
OPTIONS(logs_options,
	{ "follow", 'f' },
	{ "lines", 'n', "NUMBER" });
OPTIONS(migrate_options,
	{ "rsh", 'e', "COMMAND" },
	{ "name", 'n', "NEW-NAME" },
	{ "dry-run" },
	{ "offline" },
	{ "resume" },
	{ "max-pause", 0, "TIME" },
	{ "max-rounds", 0, "NUMBER" },
	{ "bandwidth", 0, "RATE" },
	{ "compress", 0, "none|lz4|zstd" },
	{ "keep" },
	{ "vps", 0, "PROGRAM" },
	{ "resolve" });
OPTIONS(copy_options,
	{ "rsh", 'e', "COMMAND" },
	{ "name", 'n', "NEW-NAME" },
	{ "dry-run" },
	{ "resume" },
	{ "bandwidth", 0, "RATE" },
	{ "compress", 0, "none|lz4|zstd" },
	{ "vps", 0, "PROGRAM" });
OPTIONS(send_options,
	{ "name", 'n', "NEW-NAME" },
	{ "bandwidth", 0, "RATE" },
	{ "compress", 0, "none|lz4|zstd" },
	{ "no-template" });
OPTIONS(receive_options,
	{ "name", 'n', "NEW-NAME" });
OPTIONS(wait_options,
	{ "state", 's', "STATE", WORD_STATE },
	{ "timeout", 0, "TIME" });
OPTIONS(build_options,
	{ "name", 'n', "NAME" },
	{ "include", 'i', "PACKAGE[,PACKAGE...]" });
OPTIONS(import_options,
	{ "init", 0, "COMMAND" },
	{ "stop-signal", 0, "SIGNAL" },
	{ "distribution", 0, "NAME" });

#define NAMES { WORD_NAME, WORD_NAME, WORD_NAME, WORD_NAME }

/* In the order of vps(1). */
const struct cmd_entry cmd_entries[] = {
	{ "create", "NAME [KEY=VALUE...]", { WORD_NONE, WORD_SETTING, WORD_SETTING, WORD_SETTING },
	  1, ARGS_ANY, create_options, CMD_SETTINGS, cmd_create },
	{ "start", "NAME...", NAMES, 1, ARGS_ANY, start_options, 0, cmd_start },
	{ "stop", "NAME...", NAMES, 1, ARGS_ANY, stop_options, 0, cmd_stop },
	{ "restart", "NAME...", NAMES, 1, ARGS_ANY, stop_options, 0, cmd_restart },
	{ "pause", "NAME...", NAMES, 1, ARGS_ANY, NULL, 0, cmd_pause },
	{ "resume", "NAME...", NAMES, 1, ARGS_ANY, NULL, 0, cmd_resume },
	{ "suspend", "NAME...", NAMES, 1, ARGS_ANY, suspend_options, 0, cmd_suspend },
	{ "checkpoint show", "FILE", { WORD_FILE }, 1, 1, NULL, 0, cmd_checkpoint_show },
	{ "checkpoint verify", "FILE", { WORD_FILE }, 1, 1, NULL, 0, cmd_checkpoint_verify },
	{ "checkpoint", "NAME", { WORD_NAME }, 1, 1, checkpoint_options, 0, cmd_checkpoint },
	{ "restore", "NAME", { WORD_NAME }, 1, 1, restore_options, 0, cmd_restore },
	{ "destroy", "NAME...", NAMES, 1, ARGS_ANY, destroy_options, 0, cmd_destroy },
	{ "rename", "NAME NEW-NAME", { WORD_NAME }, 2, 2, NULL, 0, cmd_rename },
	{ "run", "[KEY=VALUE...] -- COMMAND [ARGUMENT...]",
	  { WORD_SETTING, WORD_SETTING, WORD_SETTING, WORD_SETTING },
	  0, ARGS_ANY, run_options, CMD_SETTINGS | CMD_COMMAND | CMD_PASS, cmd_run },
	{ "exec", "NAME -- COMMAND [ARGUMENT...]", { WORD_NAME }, 1, 1, exec_options,
	  CMD_COMMAND | CMD_PASS, cmd_exec },
	{ "enter", "NAME", { WORD_NAME }, 1, 1, enter_options, CMD_PASS, cmd_enter },
	{ "console", "NAME", { WORD_NAME }, 1, 1, NULL, 0, cmd_console },
	{ "push", "NAME SOURCE... DESTINATION", { WORD_NAME, WORD_FILE, WORD_FILE, WORD_FILE },
	  3, ARGS_ANY, NULL, 0, cmd_push },
	{ "pull", "NAME PATH [DESTINATION]", { WORD_NAME, WORD_NONE, WORD_FILE }, 2, 3, NULL, 0,
	  cmd_pull },
	{ "migrate", "NAME [USER@]HOST", { WORD_NAME }, 2, 2, migrate_options, 0, cmd_migrate },
	{ "copy", "NAME [USER@]HOST", { WORD_NAME }, 2, 2, copy_options, 0, cmd_copy },
	{ "send", "NAME", { WORD_NAME }, 1, 1, send_options, 0, cmd_send },
	{ "receive", "", { 0 }, 0, 0, receive_options, 0, cmd_receive },
	{ "list", "", { 0 }, 0, 0, list_options, 0, cmd_list },
	{ "status", "NAME...", NAMES, 1, ARGS_ANY, status_options, 0, cmd_status },
	{ "stats", "[NAME...]", NAMES, 0, ARGS_ANY, NULL, 0, cmd_stats },
	{ "top", "", { 0 }, 0, 0, top_options, 0, cmd_top },
	{ "check", "NAME...", NAMES, 1, ARGS_ANY, NULL, 0, cmd_check },
	{ "logs", "NAME", { WORD_NAME }, 1, 1, logs_options, 0, cmd_logs },
	{ "wait", "NAME...", NAMES, 1, ARGS_ANY, wait_options, 0, cmd_wait },
	{ "events", "", { 0 }, 0, 0, NULL, 0, cmd_events },
	{ "set", "NAME KEY=VALUE...", { WORD_NAME, WORD_SETTING, WORD_SETTING, WORD_SETTING },
	  1, ARGS_ANY, set_options, CMD_SETTINGS, cmd_set },
	{ "config", "NAME [KEY]", { WORD_NAME, WORD_KEY }, 1, 2, config_options, 0, cmd_config },
	{ "edit", "NAME", { WORD_NAME }, 1, 1, NULL, 0, cmd_edit },
	{ "firewall", "NAME [list|allow|deny|remove] [RULE|NUMBER]", { WORD_NAME, WORD_FIREWALL },
	  1, 16, firewall_options, 0, cmd_firewall },
	{ "template list", "", { 0 }, 0, 0, NULL, 0, cmd_template_list },
	{ "template build", "SOURCE", { WORD_NONE }, 1, 1, build_options, 0, cmd_template_build },
	{ "template import", "NAME TARBALL|DIRECTORY", { WORD_NONE, WORD_FILE }, 2, 2,
	  import_options, 0, cmd_template_import },
	{ "template remove", "NAME...",
	  { WORD_TEMPLATE, WORD_TEMPLATE, WORD_TEMPLATE, WORD_TEMPLATE }, 1, ARGS_ANY, NULL, 0,
	  cmd_template_remove },
	{ "doctor", "", { 0 }, 0, 0, NULL, 0, cmd_doctor },
	{ "daemon start", "", { 0 }, 0, 0, NULL, 0, cmd_daemon_start },
	{ "daemon stop", "", { 0 }, 0, 0, NULL, CMD_NO_START, cmd_daemon_stop },
	{ "daemon status", "", { 0 }, 0, 0, NULL, CMD_NO_START, cmd_daemon_status },
	{ "version", "", { 0 }, 0, 0, NULL, CMD_NO_START, cmd_version },
	{ "__complete", "[WORD...]", { 0 }, 0, ARGS_ANY, NULL,
	  CMD_NO_START | CMD_HIDDEN | CMD_RAW, cmd_complete },
};
const size_t cmd_entries_count = ARRAY_SIZE(cmd_entries);
