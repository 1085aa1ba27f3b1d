/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/step.h"

#include "base/macro.h"
#include "tests/unit/tap.h"

#include <signal.h>
#include <sys/wait.h>

/* Each step writes a letter, its undoing the letter in upper case. */
struct log {
	char text[32];
	size_t len;
	int fail_at;
};

static int up(struct log *l, char c, struct err *e)
{
	if (l->fail_at == c)
		return err_set(e, ERR_NOSPACE, "step %c", c);
	l->text[l->len++] = c;
	return 0;
}

static void down(struct log *l, char c)
{
	l->text[l->len++] = c;
}

static int a_up(void *l, struct err *e) { return up(l, 'a', e); }
static int b_up(void *l, struct err *e) { return up(l, 'b', e); }
static int c_up(void *l, struct err *e) { return up(l, 'c', e); }
static void a_down(void *l) { down(l, 'A'); }
static void c_down(void *l) { down(l, 'C'); }

static const struct step steps[] = {
	{ "first", a_up, a_down },
	{ "second", b_up, NULL },
	{ "nothing", NULL, NULL },
	{ "third", c_up, c_down },
};
static STEP_TABLE(table, "letters", steps);

/*
 * VPS_FAULT is read once a process, so each case is a process of its own, forked before this one
 * has looked (these tests come first). Returns its exit status, or 128 and the signal that stopped
 * or ended it.
 */
static int with_fault(const char *fault, char *text)
{
	int pipe_fd[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe(pipe_fd) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		struct log l = { 0 };
		struct err e = { 0 };
		int r;

		setenv("VPS_FAULT", fault, 1);
		r = steps_up(&table, &l, &e);
		if (write(pipe_fd[1], l.text, strlen(l.text)) < 0)
			_exit(99);
		_exit(r < 0 ? e.code : 0);
	}
	close(pipe_fd[1]);
	if (waitpid(pid, &status, WUNTRACED) < 0)
		return -1;
	if (WIFSTOPPED(status)) {
		int sig = WSTOPSIG(status);

		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		close(pipe_fd[0]);
		return 128 + sig;
	}
	n = read(pipe_fd[0], text, 31);
	text[n > 0 ? n : 0] = '\0';
	close(pipe_fd[0]);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(fault_points)
{
	char text[32];

	eq_int(with_fault("other.first:fail", text), 0, "another table's point");
	eq_str(text, "abc", "does nothing");
	eq_int(with_fault("letters.third:fail", text), ERR_FAIL, "a step made to fail");
	eq_str(text, "abA", "is not run, and the others are undone");
	eq_int(with_fault("x.y:fail,letters.first.after:fail", text), ERR_FAIL, "after a step");
	eq_str(text, "aA", "that step is undone, too");
	eq_int(with_fault("letters.third.after:fail", text), ERR_FAIL, "after the last step");
	eq_str(text, "abcCA", "all is undone");
	eq_int(with_fault("letters.second:kill", text), 128 + SIGKILL, "kill");
	eq_int(with_fault("letters.second:hang", text), 128 + SIGSTOP, "hang");
	eq_int(with_fault("letters.second:bark", text), 0, "an unknown action is none");
}

TEST(features_taken_away)
{
	unsetenv("VPS_WITHOUT");
	ok(!without_feature("b"), "nothing is taken away");
	setenv("VPS_WITHOUT", "aa,b", 1);
	ok(without_feature("aa") && without_feature("b"), "each of a list");
	ok(!without_feature("a") && !without_feature("aa,b"), "and nothing else");
	unsetenv("VPS_WITHOUT");
}

TEST(all)
{
	struct log l = { 0 };
	struct err e;

	eq_int(steps_up(&table, &l, &e), 0, "succeeds");
	eq_str(l.text, "abc", "in order");
	steps_down(&table, &l);
	eq_str(l.text, "abcCA", "undone in reverse");
}

TEST(failure)
{
	struct log l = { .fail_at = 'c' };
	struct err e;

	ok(steps_up(&table, &l, &e) < 0, "is reported");
	eq_str(l.text, "abA", "what was done is undone, the failed step is not");
	eq_int(e.code, ERR_NOSPACE, "the error is the step's");
	eq_str(e.msg, "step c", "and its text");
}
