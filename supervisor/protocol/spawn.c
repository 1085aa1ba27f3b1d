/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/spawn.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>

#include <sys/stat.h>
#include <sys/wait.h>

#define READY_FD 3

struct launch {
	char program[4096];
	char dir[256]; /* "" for the machine's own state root */
	int null, log, ready;
};

/* In the child: nothing of the caller's terminal, signals, fds and directory goes along. */
__attribute__((noreturn)) static void launch_child(const struct launch *l)
{
	char *argv[] = { (char *)(uintptr_t) "vpsd", (char *)(uintptr_t) "--ready-fd",
			 (char *)(uintptr_t) "3", NULL, NULL, NULL };
	sigset_t none;

	sigemptyset(&none);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	unsetenv("VPS_ROOT"); /* --root has been put before it, by an empty one too */
	if (l->dir[0]) {
		argv[3] = (char *)(uintptr_t) "--root";
		argv[4] = (char *)(uintptr_t)l->dir;
	}
	/* The fds are above READY_FD (see high_fd()), so none is overwritten before it is used. */
	if (chdir("/") < 0 || dup2(l->null, 0) < 0 || dup2(l->null, 1) < 0 || dup2(l->log, 2) < 0 ||
	    dup2(l->ready, READY_FD) < 0 || close_range(READY_FD + 1, ~0U, 0) < 0)
		_exit(126);
	umask(022);
	execv(l->program, argv);
	dprintf(2, "execute %s: %s\n", l->program, strerrordesc_np(errno));
	_exit(127);
}

/* Takes the fd and returns one past those the child will have. */
static int high_fd(int fd)
{
	int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, READY_FD + 1);
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return high;
}

/* The last line of the log, which says why vpsd ended, without time and program; "" when there is none. */
static void last_line(const struct host_root *root, off_t from, char *buf, size_t size)
{
	cleanup_close int fd = -EBADF;
	char path[512], text[4096];
	const char *line, *said;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/vpsd.log", root->run);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	*buf = '\0';
	if (fd < 0 || lseek(fd, from, SEEK_SET) < 0)
		return;
	n = fd_read_full(fd, text, sizeof(text) - 1);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (n <= 0)
		return;
	text[n] = '\0';
	line = strrchr(text, '\n') ? strrchr(text, '\n') + 1 : text;
	said = strstr(line, " vpsd: ");
	snprintf(buf, size, "%s", said ? said + 7 : line);
}

static int prepare(const struct host_root *root, struct launch *l, off_t *log_end, struct err *e)
{
	char path[512];
	int r = path_program("vpsd", l->program, sizeof(l->program));

	if (r < 0) { /* beside neither when installed */
		snprintf(l->program, sizeof(l->program), "%s/vpsd", VPS_SBINDIR);
		r = access(l->program, X_OK);
	}
	if (r < 0)
		return err_set(e, ERR_DAEMON, "vpsd is not installed");
	if (!STREQ(root->tag, "vps")) {
		snprintf(l->dir, sizeof(l->dir), "%s", root->run);
		*strrchr(l->dir, '/') = '\0';
	}
	r = path_mkdirs_at(AT_FDCWD, root->run, 0755);
	if (r < 0)
		return err_code(e, r, "make %s", root->run);
	l->null = high_fd(open("/dev/null", O_RDWR | O_CLOEXEC));
	if (l->null < 0)
		return err_sys(e, "open /dev/null");
	snprintf(path, sizeof(path), "%s/vpsd.log", root->run);
	l->log = high_fd(open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
	if (l->log < 0)
		return err_sys(e, "open %s", path);
	*log_end = lseek(l->log, 0, SEEK_END);
	return 0;
}

/* 1 when vpsd listens, 0 when it has ended or given up the fd, else an error. */
static int wait_ready(int fd, int timeout_ms, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "wait for vpsd");
	if (n == 0)
		return err_set(e, ERR_DAEMON, "vpsd was started but does not listen after %d s",
			       timeout_ms / 1000);
	return fd_read_full(fd, &byte, 1) == 1;
}

int spawn_vpsd(const struct host_root *root, int timeout_ms, struct err *e)
{
	struct launch l = { .null = -EBADF, .log = -EBADF, .ready = -EBADF };
	cleanup_close int ready = -EBADF;
	char why[512];
	off_t log_end = 0;
	int fds[2], status = 0, r;
	pid_t pid = -1;

	r = prepare(root, &l, &log_end, e);
	if (r == 0 && pipe2(fds, O_CLOEXEC) < 0)
		r = err_sys(e, "make a pipe");
	if (r == 0) {
		ready = fds[0];
		l.ready = high_fd(fds[1]);
		pid = fork();
		if (pid == 0)
			launch_child(&l);
		if (pid < 0)
			r = err_sys(e, "start vpsd");
	}
	fd_close(&l.null);
	fd_close(&l.log);
	fd_close(&l.ready);
	if (r < 0)
		return r;
	r = wait_ready(ready, timeout_ms, e);
	if (r != 0)
		return r < 0 ? r : 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	last_line(root, log_end, why, sizeof(why));
	err_set(e, ERR_DAEMON, "vpsd did not start%s%s", *why ? ": " : "", why);
	return err_hint(e, "its log is %s/vpsd.log", root->run);
}
