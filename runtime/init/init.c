/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * vps-init: PID 1 of a sandbox made by `vps run`. A command that is PID 1 itself would be deaf to
 * signals that it has no handler for (pid_namespaces(7)) and would be left with zombies it knows
 * nothing of; so it runs as the only child of this program, which passes signals on, buries the
 * dead and ends as the command ends.
 *
 *	vps-init [-e FD] [-u UID] [-g GID] [-G GID,…] [-w DIR] [-t] -- COMMAND [ARGUMENT…]
 *
 * -e FD   told four bytes when the command could not be started: an errno in the lower 16 bits and
 *         which step it was above (enum step); closed without a word when it runs
 * -t      the command's session takes standard input as its controlling terminal
 *
 * Exit status: the command's, 128 and the signal that killed it, 127 when it is not there, 126 when
 * it cannot be executed, 125 for other failures.
 *
 * There is one in every sandbox and it lives as long, so it is small: no C library, a few pages of
 * memory. On machines other than x86-64 the C library makes the system calls.
 */

#include "base/rawcall.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

enum step { STEP_EXEC = 0, STEP_DIRECTORY = 1, STEP_USER = 2, STEP_TERMINAL = 3 };

#if defined(__x86_64__)
/* The kernel leaves argc, argv and the environment on the stack, which is 16-byte aligned. */
__asm__(".globl _start\n"
	"_start:\n"
	"	xorl %ebp, %ebp\n"
	"	movq %rsp, %rdi\n"
	"	call start\n"
	"	hlt\n");
#endif

#define GROUPS_MAX 65536 /* NGROUPS_MAX */
#define PATH_SIZE 4096

/* In .bss: pages that are never touched cost nothing. */
static uint32_t groups[GROUPS_MAX];
static char path_buf[PATH_SIZE];

struct options {
	int error_fd;
	uint32_t uid, gid;
	int has_uid, has_gid;
	size_t group_count;
	int has_groups;
	const char *dir;
	int tty;
	char **command;
};

static size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static _Noreturn void leave(int status)
{
	for (;;)
		SYS(exit_group, status);
}

static void say(const char *text)
{
	SYS(write, 2, text, length(text));
}

static _Noreturn void usage(void)
{
	say("usage: vps-init [-e FD] [-u UID] [-g GID] [-G GID,...] [-w DIR] [-t] -- "
	    "COMMAND [ARGUMENT...]\n");
	leave(125);
}

/* A decimal number at *s, which is left behind it. */
static uint32_t number(const char **s)
{
	uint64_t v = 0;

	if (**s < '0' || **s > '9')
		usage();
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		v = v * 10 + (uint64_t)(**s - '0');
		if (v > UINT32_MAX)
			usage();
	}
	return (uint32_t)v;
}

static uint32_t whole_number(const char *s)
{
	uint32_t v = number(&s);

	if (*s)
		usage();
	return v;
}

static void read_groups(const char *s, struct options *o)
{
	o->has_groups = 1;
	while (*s) {
		if (o->group_count == GROUPS_MAX)
			usage();
		groups[o->group_count++] = number(&s);
		if (*s == ',' && s[1])
			s++;
		else if (*s)
			usage();
	}
}

static void read_options(char **argv, struct options *o)
{
	for (argv++; *argv; argv++) {
		const char *s = *argv;

		if (s[0] != '-' || !s[1] || s[2])
			usage();
		if (s[1] == '-') {
			argv++;
			break;
		}
		if (s[1] == 't') {
			o->tty = 1;
			continue;
		}
		if (!*++argv)
			usage();
		switch (s[1]) {
		case 'e':
			o->error_fd = (int)whole_number(*argv);
			break;
		case 'u':
			o->uid = whole_number(*argv);
			o->has_uid = 1;
			break;
		case 'g':
			o->gid = whole_number(*argv);
			o->has_gid = 1;
			break;
		case 'G':
			read_groups(*argv, o);
			break;
		case 'w':
			o->dir = *argv;
			break;
		default:
			usage();
		}
	}
	if (!*argv)
		usage();
	o->command = argv;
}

static void say_number(unsigned v)
{
	char digits[12];
	size_t at = sizeof(digits) - 1;

	digits[at] = '\0';
	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	say(digits + at);
}

static _Noreturn void fail(const struct options *o, enum step step, long neg_errno)
{
	static const char *const what[] = {
		[STEP_EXEC] = "run the command",
		[STEP_DIRECTORY] = "enter the working directory",
		[STEP_USER] = "become the user",
		[STEP_TERMINAL] = "take the terminal",
	};
	uint32_t word = (uint32_t)-neg_errno | (uint32_t)step << 16;

	if (o->error_fd >= 0) {
		SYS(write, o->error_fd, &word, sizeof(word));
	} else {
		say("vps-init: ");
		say(what[step]);
		say(": errno ");
		say_number((unsigned)-neg_errno);
		say("\n");
	}
	if (step != STEP_EXEC)
		leave(125);
	leave(neg_errno == -ENOENT ? 127 : 126);
}

static const char *find_path(char **env)
{
	for (; *env; env++) {
		const char *s = *env;

		if (s[0] == 'P' && s[1] == 'A' && s[2] == 'T' && s[3] == 'H' && s[4] == '=')
			return s + 5;
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* As execvp(3) without the shell. Returns the negative errno of the most telling failure. */
static long execute(char **command, char **env)
{
	size_t name_len = length(command[0]);
	const char *s = command[0], *path;
	long ret = -ENOENT;

	for (; *s; s++)
		if (*s == '/')
			return SYS(execve, command[0], command, env);
	if (name_len == 0)
		return -ENOENT;
	for (path = find_path(env);; path++) {
		size_t n = 0;
		long r;

		while (*path && *path != ':' && n < PATH_SIZE) {
			path_buf[n++] = *path++;
			/* keeps the compiler from calling memcpy(3), which is not there */
			__asm__ volatile("" ::: "memory");
		}
		if (n + 1 + name_len < PATH_SIZE) {
			if (n)
				path_buf[n++] = '/';
			for (size_t i = 0; i <= name_len; i++) {
				path_buf[n + i] = command[0][i];
				__asm__ volatile("" ::: "memory");
			}
			r = SYS(execve, path_buf, command, env);
			if (r != -ENOENT && r != -ENOTDIR && r != -EACCES)
				return r;
			if (r == -EACCES)
				ret = r;
		}
		while (*path && *path != ':')
			path++;
		if (!*path)
			return ret;
	}
}

static _Noreturn void child(const struct options *o, char **env)
{
	uint64_t none = 0;
	long r;

	SYS(setsid);
	if (o->tty) {
		r = SYS(ioctl, 0, TIOCSCTTY, 0);
		if (r < 0)
			fail(o, STEP_TERMINAL, r);
	}
	r = 0;
	if (o->has_uid || o->has_gid || o->has_groups)
		r = SYS(setgroups, o->group_count, groups);
	if (r == 0 && o->has_gid)
		r = SYS(setresgid, o->gid, o->gid, o->gid);
	if (r == 0 && o->has_uid)
		r = SYS(setresuid, o->uid, o->uid, o->uid);
	if (r < 0)
		fail(o, STEP_USER, r);
	/* As the user: a directory that is closed to it is no place to start in. */
	r = o->dir ? SYS(chdir, o->dir) : 0;
	if (r < 0)
		fail(o, STEP_DIRECTORY, r);
	SYS(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
	fail(o, STEP_EXEC, execute(o->command, env));
}

/* Buries all who have died; the exit status when the command is among them, else -1. */
static int reap(long command)
{
	int status = 0, ret = -1;
	long pid;

	while ((pid = SYS(wait4, -1, &status, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		ret = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	return ret;
}

static _Noreturn void run(struct options *o, char **env)
{
	/* Blocked signals are queued even for a PID 1 without a handler (kernel/signal.c,
	 * sig_ignored()), and there is no moment in which one could get lost. */
	uint64_t all = ~(uint64_t)0;
	long command;

	SYS(rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof(all));
	if (o->error_fd >= 0)
		SYS(fcntl, o->error_fd, F_SETFD, FD_CLOEXEC);
	command = SYS(clone, SIGCHLD);
	if (command == 0)
		child(o, env);
	if (command < 0)
		fail(o, STEP_EXEC, command);
	/* The command's alone: who is at the other end must see when it closes them. */
	if (o->error_fd >= 0)
		SYS(close, o->error_fd);
	for (int fd = 0; fd < 3; fd++)
		SYS(close, fd);
	for (;;) {
		long sig = SYS(rt_sigtimedwait, &all, 0, 0, sizeof(all));
		int status;

		if (sig == SIGCHLD) {
			status = reap(command);
			if (status >= 0)
				leave(status);
		} else if (sig > 0 && SYS(kill, -command, sig) == -ESRCH) {
			SYS(kill, command, sig); /* before its setsid() */
		}
	}
}

static _Noreturn void begin(char **argv, char **env)
{
	struct options o;

	o.error_fd = -1;
	o.uid = o.gid = 0;
	o.has_uid = o.has_gid = o.has_groups = o.tty = 0;
	o.group_count = 0;
	o.dir = NULL;
	o.command = NULL;
	if (!argv[0])
		usage();
	read_options(argv, &o);
	run(&o, env);
}

#if defined(__x86_64__)
__attribute__((used)) static _Noreturn void start(long *stack)
{
	char **argv = (char **)(stack + 1);

	begin(argv, argv + stack[0] + 1);
}
#else
int main(int argc, char **argv, char **env)
{
	(void)argc;
	begin(argv, env);
}
#endif
