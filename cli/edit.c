/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/fd.h"
#include "base/macro.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define TEXT_MAX (256 * 1024) /* as vps.conf(5) has it */

struct edit {
	struct cli *c;
	char dir[64], file[160];
};

static const char *editor(void)
{
	static const char *const names[] = { "VISUAL", "EDITOR" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			return value;
	}
	return "vi";
}

/* Through the shell, as EDITOR may hold options. The editor has the terminal's signals to itself. */
static int run_editor(struct edit *ed, struct err *e)
{
	char command[512];
	int status = 0;
	pid_t pid;

	if ((size_t)snprintf(command, sizeof(command), "%s \"$1\"", editor()) >= sizeof(command))
		return err_set(e, ERR_USAGE, "EDITOR is too long");
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	pid = fork();
	if (pid == 0) {
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		execl("/bin/sh", "sh", "-c", command, "sh", ed->file, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	if (pid < 0)
		return err_sys(e, "start the editor");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(e, ERR_FAIL, "the editor (%.100s) failed; nothing is changed", editor());
}

static bool ask_again(const struct cli *c, const struct err *e)
{
	char answer[16];

	if (!isatty(0) || !isatty(2) || c->json)
		return false;
	cli_error(c, e);
	fputs("Edit it again? [Y/n] ", stderr);
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	return answer[0] != 'n' && answer[0] != 'N';
}

static void show_pending(const struct cli *c, json_t *params)
{
	json_t *pending = json_object_get(params, "pending"), *key;
	const char *note = json_string_value(json_object_get(params, "note"));
	size_t i;

	if (c->json) {
		cli_json(params);
		return;
	}
	json_array_foreach(pending, i, key)
		printf("%s takes effect at the next start of %s\n", json_string_value(key),
		       c->args[0]);
	if (note) {
		put_clean(stdout, note);
		putchar('\n');
	}
}

static int send_text(struct edit *ed, const char *old, const char *text, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	json_t *in = json_pack("{s:s, s:s, s:s}", "name", ed->c->args[0], "old", old, "text", text);
	int r;

	if (!in)
		return err_set(e, ERR_USAGE, "the text is not UTF-8");
	r = cli_call(ed->c, "SetConfigText", in, &reply, e);
	if (r == 0)
		show_pending(ed->c, reply.params);
	return r;
}

/* 1: nothing was changed, 0: done. */
static int rounds(struct edit *ed, const char *old, struct err *e)
{
	for (;;) {
		cleanup_free char *text = NULL;
		size_t len = 0;
		int r = run_editor(ed, e);

		if (r < 0)
			return r;
		r = fd_read_file_at(AT_FDCWD, ed->file, TEXT_MAX, &text, &len);
		if (r < 0)
			return err_code(e, r, "read %s", ed->file);
		if (STREQ(text, old) && strlen(text) == len)
			return 1;
		if (strlen(text) != len)
			r = err_set(e, ERR_USAGE, "the text has a zero byte");
		else
			r = send_text(ed, old, text, e);
		if (r == 0)
			return 0;
		if (e->code != ERR_USAGE || !ask_again(ed->c, e)) {
			char hint[sizeof(e->hint)];

			memcpy(hint, e->hint, sizeof(hint));
			err_hint(e, "%s%syour text is kept in %s", hint, *hint ? "; " : "", ed->file);
			ed->dir[0] = '\0';
			return r;
		}
	}
}

static int with_file(struct edit *ed, const char *old, struct err *e)
{
	const char *tmp = getenv("TMPDIR");
	int r;

	snprintf(ed->dir, sizeof(ed->dir), "%s/vps-edit.XXXXXX",
		 tmp && *tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	if (!mkdtemp(ed->dir))
		return err_sys(e, "make %s", ed->dir);
	snprintf(ed->file, sizeof(ed->file), "%s/%.64s.conf", ed->dir, ed->c->args[0]);
	r = fd_replace_file_at(AT_FDCWD, ed->file, old, strlen(old), 0600, false);
	r = r < 0 ? err_code(e, r, "write %s", ed->file) : rounds(ed, old, e);
	if (ed->dir[0]) {
		unlink(ed->file);
		rmdir(ed->dir); /* stays when the editor left something of its own there */
	}
	return r;
}

int cmd_edit(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	struct edit ed = { .c = c };
	int r = cli_call(c, "GetConfig", cli_name(c), &reply, e);

	if (r < 0)
		return r;
	r = with_file(&ed, json_string_value(json_object_get(reply.params, "text")), e);
	if (r == 1 && !c->json)
		puts("Nothing was changed.");
	else if (r == 1)
		puts("{\"pending\": []}");
	return r < 0 ? r : 0;
}
