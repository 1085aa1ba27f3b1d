/* SPDX-License-Identifier: GPL-2.0-or-later */

/* vps-init as a program, as it lies in the build directory: plainly, and as PID 1. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/str.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ARGS_MAX 32

/* A run of it: standard input and output are pipes, the error channel is told with -e. */
struct run {
	pid_t pid;
	int in, out, error; /* our ends */
};

static const char *program(void)
{
	static char path[4200];
	char dir[4096];

	if (path_self_dir(dir, sizeof(dir)) < 0)
		return "vps-init";
	snprintf(path, sizeof(path), "%s/../../vps-init", dir);
	return path;
}

static _Noreturn void become(char *const *options, const char *const *env, int slave, int in,
			     int out, int error)
{
	char number[16], *argv[ARGS_MAX] = { (char *)"vps-init" };
	char *const no_env[] = { NULL };
	int n = 1;

	dup2(slave >= 0 ? slave : in, 0);
	dup2(out, 1);
	if (error >= 0) {
		fd_set_cloexec(error, false);
		snprintf(number, sizeof(number), "%d", error);
		argv[n++] = (char *)"-e";
		argv[n++] = number;
	}
	for (int i = 0; options[i] && n < ARGS_MAX - 1; i++)
		argv[n++] = options[i];
	execve(program(), argv, env ? (char *const *)env : no_env);
	_exit(99);
}

/* Starts it with these options and command. `slave`: a terminal as standard input. */
static struct run start(const char *const *options, const char *const *env, int slave, bool pid1)
{
	struct run r = { .pid = -1, .in = -EBADF, .out = -EBADF, .error = -EBADF };
	int in[2], out[2], error[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(error, O_CLOEXEC) < 0)
		return r;
	r.pid = fork();
	if (r.pid == 0 && pid1) {
		pid_t inner;
		int status = 0;

		if (unshare(CLONE_NEWPID) < 0)
			_exit(98);
		inner = fork();
		if (inner == 0)
			become((char *const *)options, env, slave, in[0], out[1], error[1]);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		waitpid(inner, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 97);
	}
	if (r.pid == 0)
		become((char *const *)options, env, slave, in[0], out[1], error[1]);
	close(in[0]);
	close(out[1]);
	close(error[1]);
	r.in = in[1];
	r.out = out[0];
	r.error = error[0];
	return r;
}

/* Reads the output to its end, waits, closes; the exit status. `text` and `word` may be NULL. */
static int finish(struct run *r, char *text, size_t size, uint32_t *word)
{
	char spare[4096];
	uint32_t w = 0;
	ssize_t n;
	int status;

	n = fd_read_full(r->out, text ? text : spare, text ? size - 1 : sizeof(spare));
	if (text)
		text[n > 0 ? n : 0] = '\0';
	if (fd_read_full(r->error, &w, sizeof(w)) != sizeof(w))
		w = 0;
	if (word)
		*word = w;
	fd_close(&r->in);
	fd_close(&r->out);
	fd_close(&r->error);
	if (waitpid(r->pid, &status, 0) != r->pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define CMD(...) ((const char *const[]){ __VA_ARGS__, NULL })

static int status_of(const char *const *options, uint32_t *word)
{
	struct run r = start(options, NULL, -1, false);

	return finish(&r, NULL, 0, word);
}

static bool read_line(int fd, const char *want)
{
	char c, line[64];
	size_t n = 0;

	while (n < sizeof(line) - 1 && fd_read_full(fd, &c, 1) == 1 && c != '\n')
		line[n++] = c;
	line[n] = '\0';
	return STREQ(line, want);
}

TEST(exit_status)
{
	uint32_t word;

	eq_int(status_of(CMD("--", "/bin/sh", "-c", "exit 0"), &word), 0, "success");
	eq_int(word, 0, "nothing on the error channel");
	eq_int(status_of(CMD("--", "/bin/sh", "-c", "exit 7"), NULL), 7, "a status");
	eq_int(status_of(CMD("--", "/bin/sh", "-c", "exit 255"), NULL), 255, "the largest");
	eq_int(status_of(CMD("--", "/bin/sh", "-c", "kill -KILL $$"), NULL), 137, "killed");
	eq_int(status_of(CMD("--", "/bin/sh", "-c", "kill -TERM $$"), NULL), 143, "terminated");
}

TEST(not_started)
{
	uint32_t word;

	eq_int(status_of(CMD("--", "/nonexistent"), &word), 127, "not there");
	eq_int(word, ENOENT, "told as ENOENT");
	eq_int(status_of(CMD("--", "no-such-command"), &word), 127, "not in the path");
	eq_int(word, ENOENT, "told as ENOENT");
	eq_int(status_of(CMD("--", ""), &word), 127, "no name");
	eq_int(status_of(CMD("--", "/etc/passwd"), &word), 126, "not executable");
	eq_int(word, EACCES, "told as EACCES");
	eq_int(status_of(CMD("--", "/etc"), &word), 126, "a directory");
	eq_int(status_of(CMD("-w", "/nonexistent", "--", "/bin/true"), &word), 125, "no directory");
	eq_int(word, ENOENT | 1 << 16, "told as that step's ENOENT");
	eq_int(status_of(CMD("-t", "--", "/bin/true"), &word), 125, "no terminal");
	eq_int(word >> 16, 3, "told as that step");
}

TEST(usage)
{
	static const char *const rows[][6] = {
		{ NULL },
		{ "--", NULL },
		{ "-x", "--", "/bin/true", NULL },
		{ "-u", NULL },
		{ "-u", "root", "--", "/bin/true", NULL },
		{ "-u", "4294967296", "--", "/bin/true", NULL },
		{ "-u", "-1", "--", "/bin/true", NULL },
		{ "-G", "1,,2", "--", "/bin/true", NULL },
		{ "-G", "1,", "--", "/bin/true", NULL },
		{ "/bin/true", NULL },
	};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), keep = dup(2);

	dup2(null, 2); /* its usage line */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		eq_int(status_of(rows[i], NULL), 125, "row %zu is refused", i);
	dup2(keep, 2);
	close(keep);
	close(null);
}

TEST(path)
{
	char dir[] = "/tmp/test-init-XXXXXX", path[200], cmd[100];
	struct run r;

	if (!ok(mkdtemp(dir), "a directory"))
		return;
	snprintf(cmd, sizeof(cmd), "%s/sh", dir); /* there, but not executable: go on */
	close(open(cmd, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	snprintf(path, sizeof(path), "PATH=/nonexistent:/etc/passwd:%s:/bin", dir);
	r = start(CMD("--", "sh", "-c", "exit 5"), CMD(path), -1, false);
	eq_int(finish(&r, NULL, 0, NULL), 5, "found at the end of the path");
	snprintf(path, sizeof(path), "PATH=%s", dir);
	r = start(CMD("--", "sh", "-c", "exit 5"), CMD(path), -1, false);
	eq_int(finish(&r, NULL, 0, NULL), 126, "found but not executable");
	r = start(CMD("--", "sh", "-c", "exit 5"), NULL, -1, false);
	eq_int(finish(&r, NULL, 0, NULL), 5, "without PATH in the usual places");
	r = start(CMD("-w", "/bin", "--", "sh", "-c", "exit 5"), CMD("PATH="), -1, false);
	eq_int(finish(&r, NULL, 0, NULL), 5, "an empty path is the working directory");
	unlink(cmd);
	rmdir(dir);
}

TEST(user)
{
	char text[300];
	struct run r;

	if (geteuid() != 0)
		skip("needs root");
	r = start(CMD("-u", "1234", "-g", "2345", "-G", "5,6,4000000000", "-w", "/tmp", "--", "sh",
		      "-c",
		      "id -u; id -g; id -G; pwd; exec grep -E '^(SigBlk|CapEff)' /proc/self/status"),
		  NULL, -1, false);
	eq_int(finish(&r, text, sizeof(text), NULL), 0, "it runs");
	eq_str(text,
	       "1234\n2345\n2345 5 6 4000000000\n/tmp\n"
	       "SigBlk:\t0000000000000000\nCapEff:\t0000000000000000\n",
	       "as that user, there, without blocked signals");
	r = start(CMD("-u", "1234", "-g", "2345", "--", "sh", "-c", "id -G"), NULL, -1, false);
	finish(&r, text, sizeof(text), NULL);
	eq_str(text, "2345\n", "root's groups are not kept");
}

TEST(signals)
{
	static const struct {
		int sig;
		const char *name;
	} rows[] = {
		{ SIGTERM, "TERM" }, { SIGINT, "INT" },     { SIGHUP, "HUP" },
		{ SIGQUIT, "QUIT" }, { SIGUSR1, "USR1" },   { SIGUSR2, "USR2" },
		{ SIGCONT, "CONT" }, { SIGWINCH, "WINCH" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char script[200];
		struct run r;

		/* The sleep is in the command's process group: `wait` ends by the trap. */
		snprintf(script, sizeof(script),
			 "trap 'kill -9 $! 2>&-; exit 42' %s; sleep 1000 & echo ready; wait",
			 rows[i].name);
		r = start(CMD("--", "sh", "-c", script), NULL, -1, false);
		ok(read_line(r.out, "ready"), "it runs");
		kill(r.pid, rows[i].sig);
		eq_int(finish(&r, NULL, 0, NULL), 42, "SIG%s is passed on", rows[i].name);
	}
}

TEST(group)
{
	struct run r = start(CMD("--", "sh", "-c",
				 "trap : TERM; "
				 "sh -c 'trap \"echo got; kill -9 \\$! 2>&-; exit\" TERM; "
				 "sleep 1000 >&- & echo ready; wait'; exit 3"),
			     NULL, -1, false);
	char text[64];

	ok(read_line(r.out, "ready"), "it runs");
	kill(r.pid, SIGTERM);
	eq_int(finish(&r, text, sizeof(text), NULL), 3, "the command decides");
	eq_str(text, "got\n", "its whole process group hears it");
}

TEST(as_pid_1)
{
	static const char orphan[] =
		"p=$( (exit 9) >&- & echo $!); n=0; "
		"while kill -0 $p 2>&-; do n=$((n + 1)); [ $n -lt 300000 ] || exit 8; done; exit 4";
	struct run r;

	if (geteuid() != 0)
		skip("needs root");
	r = start(CMD("--", "sh", "-c", "exit 6"), NULL, -1, true);
	eq_int(finish(&r, NULL, 0, NULL), 6, "the status passes");
	r = start(CMD("--", "sh", "-c", orphan), NULL, -1, true);
	eq_int(finish(&r, NULL, 0, NULL), 4, "orphans are buried and do not end it");
	r = start(CMD("--", "sh", "-c", "kill -TERM 1; sleep 1000"), NULL, -1, true);
	eq_int(finish(&r, NULL, 0, NULL), 143, "a signal from inside is passed on");
	/* All output ends only when what was left behind has been killed. */
	r = start(CMD("--", "sh", "-c", "(trap '' TERM; sleep 1000) & exit 5"), NULL, -1, true);
	eq_int(finish(&r, NULL, 0, NULL), 5, "what is left dies with it");
}

TEST(session)
{
	struct run r = start(CMD("--", "sh", "-c",
				 "read pid comm state ppid pgrp sid rest </proc/$$/stat; "
				 "[ $pid = $pgrp ] && [ $pid = $sid ] && ! (: </dev/tty) 2>&-"),
			     NULL, -1, false);

	eq_int(finish(&r, NULL, 0, NULL), 0, "a session of its own without a terminal");
}

TEST(terminal)
{
	char text[64];
	int master, slave;
	struct run r;

	if (!ok(openpty(&master, &slave, NULL, NULL, NULL) == 0, "a terminal"))
		return;
	fd_set_cloexec(master, true);
	fd_set_cloexec(slave, true);
	/* Keyboard signals reach the command alone, from the terminal. */
	r = start(CMD("-t", "--", "sh", "-c",
		      "trap 'echo int; exit 9' INT; : </dev/tty && echo ready; read x"),
		  NULL, slave, false);
	close(slave);
	ok(read_line(r.out, "ready"), "standard input is its controlling terminal");
	ok(write(master, "\003", 1) == 1, "control-C is typed");
	eq_int(finish(&r, text, sizeof(text), NULL), 9, "and heard");
	eq_str(text, "int\n", "once");
	close(master);
}

TEST(channels)
{
	struct run r = start(CMD("--", "sh", "-c",
				 "exec 0<&-; echo closed; exec 1>&-; exec sleep 1000"),
			     NULL, -1, false);
	uint32_t word;
	char c;

	ok(read_line(r.out, "closed"), "it runs");
	eq_int(fd_read_full(r.error, &word, sizeof(word)), 0, "the error channel is closed then");
	eq_int(fd_read_full(r.out, &c, 1), 0, "closed output is closed");
	signal(SIGPIPE, SIG_IGN);
	ok(write(r.in, "x", 1) < 0 && errno == EPIPE, "closed input is closed");
	signal(SIGPIPE, SIG_DFL);
	kill(r.pid, SIGTERM);
	eq_int(finish(&r, NULL, 0, NULL), 143, "it ran all the while");
}

TEST(small)
{
#if defined(__x86_64__)
	struct stat st;

	ok(stat(program(), &st) == 0 && st.st_size < 20 * 1024, "smaller than 20 KiB");
#else
	skip("built with the C library here");
#endif
}
