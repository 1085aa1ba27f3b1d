/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/remote.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/str.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

static int make_words(struct strv *words, const char *rsh, const char *host, const char *program,
		      struct err *e)
{
	if (strv_split_words(words, rsh) < 0 || words->count == 0)
		return err_set(e, ERR_USAGE, "%s is no command of a remote shell", rsh);
	if (host[0] == '-')
		return err_set(e, ERR_USAGE, "%s is no host", host);
	if (strv_add(words, host) < 0 || strv_add(words, program) < 0 ||
	    strv_add(words, "receive") < 0)
		return err_code(e, -ENOMEM, "run %s", rsh);
	return 0;
}

/* The child gets the signals that we have blocked for ourselves. */
static int spawn(struct remote *r, char **argv, int in, int out)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none;
	int ret = posix_spawn_file_actions_init(&fa);

	if (ret)
		return ret;
	sigemptyset(&none);
	ret = posix_spawnattr_init(&attr);
	if (ret == 0) {
		posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
		posix_spawnattr_setsigmask(&attr, &none);
		posix_spawn_file_actions_adddup2(&fa, in, STDIN_FILENO);
		posix_spawn_file_actions_adddup2(&fa, out, STDOUT_FILENO);
		ret = posix_spawnp(&r->pid, argv[0], &fa, &attr, argv, environ);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&fa);
	return ret;
}

int remote_open(struct remote *r, const char *rsh, const char *host, const char *program,
		struct err *e)
{
	cleanup_strv struct strv words = { 0 };
	int to[2], from[2], ret;

	*r = (struct remote){ .in = -EBADF, .out = -EBADF };
	ret = make_words(&words, rsh ? rsh : "ssh", host, program ? program : "vps", e);
	if (ret < 0)
		return ret;
	if (pipe2(to, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	if (pipe2(from, O_CLOEXEC) < 0) {
		ret = err_sys(e, "make a pipe");
		close(to[0]);
		close(to[1]);
		return ret;
	}
	/* Fewer wakeups; a host that allows less does with less. */
	fcntl(to[1], F_SETPIPE_SZ, 1 << 20);
	ret = spawn(r, words.item, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	r->out = to[1];
	r->in = from[0];
	if (ret == 0)
		return 0;
	remote_let_go(r);
	return err_code(e, -ret, "run %s", words.item[0]);
}

void remote_let_go(struct remote *r)
{
	fd_close(&r->in);
	fd_close(&r->out);
}

int remote_wait(struct remote *r)
{
	int status = 0;

	remote_let_go(r);
	if (r->pid <= 0)
		return 0;
	while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
		;
	r->pid = 0;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
