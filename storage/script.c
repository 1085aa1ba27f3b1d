/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/fd.h"
#include "base/macro.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define STAGE_MAX 64
#define TAIL_MAX 4096
/* Proxies are part of how a host reaches its mirrors; nothing else of our environment is. */
static const char *const kept_env[] = { "http_proxy", "https_proxy", "ftp_proxy", "no_proxy",
					"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY" };

struct script {
	pid_t pid;
	int pidfd, err, stages; /* our ends */
	char stage[STAGE_MAX], line[STAGE_MAX];
	size_t line_len;
	char tail[TAIL_MAX + 1]; /* the end of standard error */
	size_t tail_len;
};

static char **make_env(struct strv *env, const char *tmp)
{
	char *line;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kept_env); i++) {
		const char *value = getenv(kept_env[i]);

		if (!value || asprintf(&line, "%s=%s", kept_env[i], value) < 0)
			continue;
		r |= strv_add(env, line);
		free(line);
	}
	r |= strv_add(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	r |= strv_add(env, "LC_ALL=C.UTF-8");
	r |= strv_add(env, "HOME=/root");
	r |= strv_add(env, "TERM=dumb");
	if (asprintf(&line, "TMPDIR=%s", tmp) < 0)
		return NULL;
	r |= strv_add(env, line);
	free(line);
	return r < 0 ? NULL : env->item;
}

/* As PID 1 of its namespace: when it ends the kernel ends all it started, and when its mount
 * namespace goes, so does all it mounted. */
static void become(const char *const *argv, char **env, const char *cwd, int err_fd, int stage_fd)
{
	sigset_t none;
	int null;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(err_fd, 2) < 0 ||
	    dup2(stage_fd, 3) < 0 || close_range(4, ~0U, 0) < 0)
		_exit(125);
	umask(022);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
	    chdir(cwd) < 0) {
		dprintf(2, "%s: set up its namespaces: %s\n", argv[0], strerror(errno));
		_exit(125);
	}
	execve(argv[0], (char *const *)(uintptr_t)argv, env);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(126);
}

static int spawn(struct script *s, const char *const *argv, const char *cwd, const char *tmp,
		 struct err *e)
{
	cleanup_close int err_w = -EBADF, stage_w = -EBADF;
	cleanup_strv struct strv env_list = { 0 };
	int pipes[2][2];
	char **env = make_env(&env_list, tmp);
	long pid;

	if (!env)
		return err_code(e, -ENOMEM, "run %s", argv[0]);
	if (pipe2(pipes[0], O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	s->err = pipes[0][0];
	err_w = pipes[0][1];
	if (pipe2(pipes[1], O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	s->stages = pipes[1][0];
	stage_w = pipes[1][1];
	/* dup2() to 2 and 3 in the child must not hit these. */
	if ((err_w < 4 && (err_w = fcntl(err_w, F_DUPFD_CLOEXEC, 4)) < 0) ||
	    (stage_w < 4 && (stage_w = fcntl(stage_w, F_DUPFD_CLOEXEC, 4)) < 0))
		return err_sys(e, "run %s", argv[0]);
	/* Without an exit signal: whoever reaps children on SIGCHLD does not take it from us. */
	pid = syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_PIDFD, NULL,
		      &s->pidfd, NULL, NULL);
	if (pid == 0)
		become(argv, env, cwd, err_w, stage_w);
	if (pid < 0)
		return err_sys(e, "run %s", argv[0]);
	s->pid = (pid_t)pid;
	fd_set_nonblock(s->err, true);
	fd_set_nonblock(s->stages, true);
	return 0;
}

static void read_tail(struct script *s)
{
	char buf[1024];
	ssize_t n;

	while ((n = read(s->err, buf, sizeof(buf))) > 0) {
		size_t len = (size_t)n, over;

		over = s->tail_len + len > TAIL_MAX ? s->tail_len + len - TAIL_MAX : 0;
		memmove(s->tail, s->tail + over, s->tail_len - over);
		s->tail_len -= over;
		memcpy(s->tail + s->tail_len, buf, len);
		s->tail_len += len;
	}
}

static void read_stages(struct script *s)
{
	char buf[256];
	ssize_t n;

	while ((n = read(s->stages, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] != '\n') {
				if (s->line_len < STAGE_MAX - 1)
					s->line[s->line_len++] = buf[i];
				continue;
			}
			s->line[s->line_len] = '\0';
			s->line_len = 0;
			if (s->line[0] && str_is_printable(s->line))
				memcpy(s->stage, s->line, sizeof(s->stage));
		}
	}
}

static int follow(struct script *s, struct tell *tell, struct err *e)
{
	for (;;) {
		struct pollfd p[] = { { .fd = s->pidfd, .events = POLLIN },
				      { .fd = s->err, .events = POLLIN },
				      { .fd = s->stages, .events = POLLIN } };
		int r = poll(p, ARRAY_SIZE(p), 200);

		if (r < 0 && errno != EINTR)
			return err_sys(e, "wait for a template's script");
		read_tail(s);
		read_stages(s);
		if (r > 0 && p[0].revents)
			return 0;
		/* An end of file would be reported for ever. */
		if (r > 0 && (p[1].revents & POLLHUP))
			fd_close(&s->err);
		if (r > 0 && (p[2].revents & POLLHUP))
			fd_close(&s->stages);
		r = storage_tell(tell, s->stage, 0, 0, e);
		if (r < 0)
			return r;
	}
}

/* The last line that says something becomes the message, the one before it the hint. */
static int script_failed(struct script *s, const char *path, int status, struct err *e)
{
	int code = WIFEXITED(status) && WEXITSTATUS(status) == 2 ? ERR_USAGE : ERR_FAIL;
	const char *last[2] = { "", "" };
	char *save = NULL;

	s->tail[s->tail_len] = '\0';
	for (char *line = strtok_r(s->tail, "\r\n", &save); line;
	     line = strtok_r(NULL, "\r\n", &save)) {
		if (!str_is_printable(line) || strspn(line, " \t") == strlen(line))
			continue;
		last[1] = last[0];
		last[0] = line;
	}
	if (!last[0][0] && WIFSIGNALED(status))
		return err_set(e, ERR_FAIL, "%s: ended by signal %d", path, WTERMSIG(status));
	if (!last[0][0])
		return err_set(e, (enum err_status)code, "%s: exit status %d", path,
			       WEXITSTATUS(status));
	err_set(e, (enum err_status)code, "%.900s", last[0]);
	return last[1][0] ? err_hint(e, "%.200s", last[1]) : err_errno((enum err_status)e->code);
}

int storage_script_run(const char *const *argv, const char *cwd, const char *tmp,
		       struct tell *tell, struct err *e)
{
	struct script s = { .pidfd = -EBADF, .err = -EBADF, .stages = -EBADF, .stage = "build" };
	int status = 0, r;

	r = spawn(&s, argv, cwd, tmp, e);
	if (r == 0) {
		r = follow(&s, tell, e);
		if (r < 0)
			syscall(SYS_pidfd_send_signal, s.pidfd, SIGKILL, NULL, 0);
		while (waitpid(s.pid, &status, __WALL) < 0 && errno == EINTR)
			;
		if (s.err >= 0)
			read_tail(&s);
		if (r == 0 && status != 0)
			r = script_failed(&s, argv[0], status, e);
	}
	fd_close(&s.pidfd);
	fd_close(&s.err);
	fd_close(&s.stages);
	return r;
}
