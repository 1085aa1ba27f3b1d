/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/ahead.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/sock.h"
#include "tests/unit/tap.h"

#include <elf.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define WORDS(...) ((char *[]){ (char *)"vps", __VA_ARGS__, NULL })

static char dir[] = "/tmp/vps-ahead-XXXXXX";
static char root_env[64];
static char *env[] = { (char *)"TERM=dumb", root_env, NULL };

/* The control socket of a state root of its own, which the environment names. */
static int listener(void)
{
	char path[96];

	strcpy(strrchr(dir, '-'), "-XXXXXX");
	if (!ok(mkdtemp(dir) != NULL, "a state root"))
		return -EBADF;
	snprintf(root_env, sizeof(root_env), "VPS_ROOT=%s", dir);
	snprintf(path, sizeof(path), "%s/run", dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/run/vpsd.sock", dir);
	return sock_listen(path, SOCK_STREAM, 0600);
}

static void remove_root(void)
{
	path_remove_tree_at(AT_FDCWD, dir);
}

/* What the cli itself would send. */
static char *call_text(const char *method, const char *name, char **command)
{
	json_t *in = json_pack("{s:s}", "name", name), *call;
	char *text;

	if (command) {
		json_object_set_new(in, "argv", json_array());
		for (; *command; command++)
			json_array_append_new(json_object_get(in, "argv"), json_string(*command));
		json_object_set_new(in, "env", json_array());
	} else {
		json_object_set_new(in, "wait", json_false());
	}
	call = json_pack("{s:s+, s:o}", "method", "io.vps.Manager.", method, "parameters", in);
	text = json_dumps(call, JSON_COMPACT);
	json_decref(call);
	return text;
}

/* Sends ahead and looks at what comes out; the number of descriptors that came with it. */
static int heard(int server, char **argv, const char *want, const char *what)
{
	cleanup_close int conn = -EBADF;
	char text[AHEAD_MAX + 1] = "";
	struct ahead a = { 0 };
	int fds[FD_MSG_MAX];
	size_t nfds = 0;
	ssize_t n;

	ahead_send(&a, argv, env);
	if (!ok(a.sent, "%s: sent", what))
		return -1;
	conn = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	n = fd_recv(conn, text, sizeof(text), fds, ARRAY_SIZE(fds), &nfds);
	eq_str(text, want, "%s", what);
	eq_int(n, strlen(want) + 1, "to its NUL");
	eq_int(a.len, strlen(want), "kept to be compared");
	close(a.fd);
	attach_stdio_done(&a.stdio);
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	return (int)nfds;
}

TEST(what_is_sent)
{
	cleanup_close int server = listener();
	cleanup_free char *start = call_text("Start", "web1", NULL);
	static char *const scripts[][3] = {
		{ (char *)"true" }, { (char *)"sh", (char *)"-c", (char *)"echo \"a\\b\" ~/x$1" }, { (char *)"" },
	};

	eq_int(heard(server, WORDS((char *)"start", (char *)"web1"), start, "start"), 0, "nothing with it");
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		char *command[] = { scripts[i][0], scripts[i][1], scripts[i][2], NULL };
		cleanup_free char *text = call_text("Exec", "web1", command);
		sigset_t before, during;

		sigprocmask(SIG_BLOCK, NULL, &before);
		eq_int(heard(server, WORDS((char *)"exec", (char *)"web1", (char *)"--", command[0], command[1],
					   command[2]), text, "exec"), 3, "the standard descriptors with it");
		sigprocmask(SIG_SETMASK, &before, &during);
		ok(sigismember(&during, SIGINT), "signals are kept for the command");
	}
	remove_root();
}

TEST(root_by_option)
{
	cleanup_close int server = listener();
	cleanup_free char *start = call_text("Start", "a", NULL);
	char other[] = "VPS_ROOT=/nonexistent";

	env[1] = other;
	heard(server, WORDS((char *)"--root", dir, (char *)"start", (char *)"a"), start, "--root before VPS_ROOT");
	env[1] = root_env;
	remove_root();
}

static char long_word[AHEAD_MAX];

TEST(left_to_main)
{
	cleanup_close int server = listener();
	static const char *const rows[][6] = {
		{ NULL }, { "start" }, { "start", "a", "b" }, { "start", "--wait", "a" }, { "start", "a", "--wait" },
		{ "start", "A" }, { "start", "-a" }, { "start", "../a" }, { "start", "" }, { "stop", "a" },
		{ "starts", "a" }, { "exec", "a" }, { "exec", "a", "--" }, { "exec", "a", "-t", "sh" },
		{ "exec", "-u", "root", "a", "id" }, { "exec", "a", "-" }, { "--json", "start", "a" },
		{ "--root", "", "start", "a" }, { "--root" }, { "exec", "a", "--", "line\n" },
		{ "exec", "a", "--", "\xc3\xa4" }, { "exec", "a", "--", long_word },
	};

	memset(long_word, 'x', sizeof(long_word) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *argv[8] = { (char *)"vps" };
		struct ahead a = { 0 };

		for (size_t n = 0; n < 6; n++)
			argv[n + 1] = (char *)rows[i][n];
		ahead_send(&a, argv, env);
		ok(!a.sent, "row %zu is not plain", i);
	}
	eq_int(accept4(server, NULL, NULL, SOCK_CLOEXEC), -1, "nobody came");
	remove_root();
}

/* Whether a call of these words needs no more than this answer, which is left to be read. */
static bool answered(int server, char **argv, const char *answer, size_t len)
{
	cleanup_close int conn = -EBADF;
	struct ahead a = { 0 };
	char text[256];
	bool done;

	ahead_send(&a, argv, env);
	conn = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	if (!ok(a.sent && write(conn, answer, len) == (ssize_t)len, "asked and answered"))
		return false;
	done = ahead_is_done(&a);
	eq_int(recv(a.fd, text, sizeof(text), MSG_DONTWAIT), (ssize_t)len, "the answer is there for main()");
	close(a.fd);
	if (!a.quiet)
		attach_stdio_done(&a.stdio);
	return done;
}

TEST(what_is_answered)
{
	static const char yes[] = "{\"parameters\":{\"vps\":{}}}", no[] = "{\"error\":\"io.vps.Manager.Failed\"}";
	cleanup_close int server = listener();
	char **start = WORDS((char *)"start", (char *)"a");
	sigset_t before;

	ok(answered(server, start, yes, sizeof(yes)), "yes: nothing is left to be done");
	ok(!answered(server, start, no, sizeof(no)), "no: main() says why");
	ok(!answered(server, start, yes, sizeof(yes) - 1), "a part of it: main() waits for the rest");
	ok(!answered(server, start, "", 1), "not an answer");
	sigprocmask(SIG_BLOCK, NULL, &before);
	ok(!answered(server, WORDS((char *)"exec", (char *)"a", (char *)"true"), yes, sizeof(yes)),
	   "the answer to an exec is the beginning");
	sigprocmask(SIG_SETMASK, &before, NULL);
	remove_root();
}

TEST(nobody_has_read_it)
{
	cleanup_close int server = listener();
	struct ahead a = { 0 };
	int conn;

	ahead_send(&a, WORDS((char *)"start", (char *)"a"), env);
	conn = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	ok(a.sent && conn >= 0, "asked");
	close(conn);
	ok(!ahead_is_done(&a) && !a.sent, "main() asks anew");
	remove_root();
}

TEST(nobody_listens)
{
	struct ahead a = { 0 };
	sigset_t now;
	int next, again;

	attach_stdio_hold();
	next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(next);
	snprintf(root_env, sizeof(root_env), "VPS_ROOT=%s", dir);
	ahead_send(&a, WORDS((char *)"exec", (char *)"a", (char *)"true"), env);
	ok(!a.sent, "not sent");
	sigprocmask(SIG_BLOCK, NULL, &now);
	ok(!sigismember(&now, SIGINT), "signals are as they were");
	again = open("/dev/null", O_RDONLY | O_CLOEXEC);
	eq_int(again, next, "and nothing left open");
	close(again);
}

/* A file beside the test's own directory. */
static void build_path(char path[4096], const char *rest)
{
	char self[2048];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(path, 4096, "%s/../../%s", self, rest);
}

TEST(needs_no_library)
{
	char path[4096], command[4200], line[256];
	FILE *f;

	build_path(path, "cli/libahead.a");
	snprintf(command, sizeof(command), "nm -u '%s'", path);
	f = popen(command, "re");
	while (f && fgets(line, sizeof(line), f)) {
		const char *name = strstr(line, " U ");

		if (name)
			ok(STREQ(name, " U _start\n") || strncmp(name, " U attach_stdio_", 16) == 0, "%s", name + 3);
	}
	eq_int(f ? pclose(f) : -1, 0, "%s", command);
}

TEST(begins_the_program)
{
	char path[4096], command[4200];
	unsigned long long at = 0;
	Elf64_Ehdr h = { 0 };
	FILE *f;

	build_path(path, "vps");
	f = fopen(path, "re");
	if (!ok(f && fread(&h, sizeof(h), 1, f) == 1, "read %s", path))
		return;
	fclose(f);
	snprintf(command, sizeof(command), "nm '%s' | sed -n 's/ T ahead_begin$//p'", path);
	f = popen(command, "re");
	ok(f && fscanf(f, "%llx", &at) == 1, "where it lies");
	pclose(f);
	if (AHEAD_RUNS)
		eq_int(h.e_entry, at, "the kernel jumps there");
	else
		skip("this build begins in the C library");
}
