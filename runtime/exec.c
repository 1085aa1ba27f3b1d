/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A command in a running VPS. The child is born in the VPS's pid namespace and cgroup, enters the
 * other namespaces by the init's pidfd, and is from then on where tenants look: it holds nothing of
 * the host's by then but its error pipe, it is not dumpable, and its memory belongs to the host's
 * user namespace, so that a tenant's ptrace(2) and /proc/PID/{exe,fd,mem} are refused (Linux 4.10).
 */
#include "base/parse.h"
#include "base/proc.h"
#include "base/step.h"
#include "runtime/internal.h"
#include "runtime/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

/* Closes every fd but those given, without allocating. */
static void close_all_but(int a, int b, int c, int d, int f)
{
	int keep[] = { a, b, c, d, f };
	unsigned from = 3;

	for (;;) {
		unsigned next = UINT_MAX;

		for (size_t i = 0; i < ARRAY_SIZE(keep); i++)
			if (keep[i] >= (int)from && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		if (next > from)
			close_range(from, next == UINT_MAX ? ~0U : next - 1, 0);
		if (next == UINT_MAX)
			return;
		from = next + 1;
	}
}

int rt_init_cgroup_open(const struct rt_vps *v, struct err *e)
{
	cleanup_free char *text = NULL;
	char path[PATH_MAX], want[256];
	char *line, *next;
	size_t len;
	int fd, r;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)v->pid);
	r = fd_read_file_at(AT_FDCWD, path, 64 * 1024, &text, NULL);
	if (r < 0)
		return err_code(e, r, "find the cgroup of init");
	len = (size_t)snprintf(want, sizeof(want), "/%s/%s", v->cgroup.parent, v->cgroup.name);
	next = text;
	while ((line = strsep(&next, "\n"))) {
		const char *below;

		if (strncmp(line, "0::", 3) != 0)
			continue;
		below = strstr(line + 3, want);
		/* The tenant chose what follows; the kernel makes no `..` of it. */
		if (!below || (below[len] != '/' && below[len] != '\0') || strstr(below, "/../"))
			break;
		fd = openat(v->cgroup_fd, below[len] ? below + len + 1 : ".",
			    O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		return fd < 0 ? err_sys(e, "open the cgroup of init") : fd;
	}
	return err_set(e, ERR_FAIL, "init has left the VPS's cgroup");
}

static int report(int sock, const struct err *e)
{
	rt_msg_send(sock, RT_MSG_ERROR, 0, e, NULL, 0);
	return 1;
}

static int build_env(const struct rt_exec *x, const struct rt_user *u, struct strv *env)
{
	char text[300];
	int r = 0;

	r |= rt_env_set(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	r |= rt_env_set(env, "container=vps");
	snprintf(text, sizeof(text), "HOME=%s", u->home);
	r |= rt_env_set(env, text);
	if (u->name[0]) {
		snprintf(text, sizeof(text), "USER=%s", u->name);
		r |= rt_env_set(env, text);
		snprintf(text, sizeof(text), "LOGNAME=%s", u->name);
		r |= rt_env_set(env, text);
	}
	snprintf(text, sizeof(text), "SHELL=%s", u->shell);
	r |= rt_env_set(env, text);
	for (size_t i = 0; i < x->env.count; i++)
		r |= rt_env_set(env, x->env.item[i]);
	return r;
}

/* argv, or the user's shell as a login shell: a dash before its name (bash(1), INVOCATION). */
static int build_argv(const struct rt_exec *x, const struct rt_user *u, struct strv *argv,
		      char *program, size_t size)
{
	const char *base = strrchr(u->shell, '/');
	char name[260];
	int r = 0;

	program[0] = '\0';
	for (size_t i = 0; r == 0 && i < x->argv.count; i++)
		r = strv_add(argv, x->argv.item[i]);
	if (x->argv.count || r < 0)
		return r;
	snprintf(program, size, "%s", u->shell);
	snprintf(name, sizeof(name), "-%s", base ? base + 1 : u->shell);
	return strv_add(argv, name);
}

static int take_terminal(const struct rt_exec *x, int sock, struct err *e)
{
	struct winsize ws = { .ws_row = x->rows, .ws_col = x->cols };
	int master, slave, r;

	r = rt_pty_open(AT_FDCWD, "/dev/pts/ptmx", &master, &slave, e);
	if (r < 0)
		return r;
	fd_set_nonblock(master, false);
	if (x->rows && x->cols)
		ioctl(master, TIOCSWINSZ, &ws);
	r = rt_msg_send(sock, RT_MSG_READY, RT_READY_CONSOLE, NULL, &master, 1);
	if (r < 0)
		return err_code(e, r, "hand the terminal on");
	close(master);
	return rt_stdio_tty(slave, true, e);
}

/* In the child, inside the VPS. Returns only on failure. */
static int run_inside(const struct rt_vps *v, const struct rt_exec *x, const struct rt_stdio *stdio,
		      int sock, struct err *e)
{
	struct strv argv = { 0 }, env = { 0 };
	char program[256];
	struct rt_user u;
	int r;

	if (setsid() < 0)
		return err_sys(e, "start a session");
	r = rt_user_find(x->user, &u, e);
	if (r < 0)
		return r;
	if (build_argv(x, &u, &argv, program, sizeof(program)) < 0 || build_env(x, &u, &env) < 0)
		return err_code(e, -ENOMEM, "put the command together");
	if (x->tty)
		r = take_terminal(x, sock, e);
	else
		r = rt_stdio_take(stdio, e);
	if (r < 0)
		return r;
	/* From here on nothing of the host's is open but the error socket. */
	close_all_but(sock, -1, -1, -1, -1);
	rt_signals_reset();
	r = rt_caps_limit(e);
	if (r < 0)
		return r;
	if (x->tty && u.uid != 0 && fchown(0, u.uid, (gid_t)-1) < 0)
		return err_sys(e, "give the terminal to user %u", u.uid);
	r = rt_seccomp_apply(v->spec->features, e);
	if (r < 0)
		return r;
	r = rt_user_become(&u, e);
	if (r < 0)
		return r;
	if (chdir(x->cwd[0] ? x->cwd : u.home) < 0) {
		if (x->cwd[0])
			return err_sys(e, "enter directory %s", x->cwd);
		if (chdir("/") < 0)
			return err_sys(e, "enter /");
	}
	r = fault_point("exec", "execve", e);
	if (r < 0)
		return r;
	if (program[0]) {
		execve(program, argv.item, env.item);
		err_sys(e, "run %s", program);
		e->code = errno == ENOENT ? ERR_NOCMD : ERR_NOEXEC;
		return -EIO;
	}
	return rt_execve(&argv, &env, e);
}

static _Noreturn void exec_child(const struct rt_vps *v, int spaces, const struct rt_exec *x,
				 const struct rt_stdio *stdio,
				 const struct cgroup_entry *entry, int sock)
{
	struct err e;

	/* clone3 chose the group of v2 alone. */
	if (cgroup_entry_enter(entry, &e) < 0)
		_exit(report(sock, &e));
	if (rt_rlimits_apply(&v->spec->rlimits, 0, &e) < 0)
		_exit(report(sock, &e));
	close_all_but(sock, spaces, stdio->fd[0], stdio->fd[1], stdio->fd[2]);
	if (rt_enter(spaces, &e) < 0)
		_exit(report(sock, &e));
	run_inside(v, x, stdio, sock, &e);
	_exit(report(sock, &e));
}

/* Children of the holder are to be born in the VPS's pid namespace; its own stays (setns(2)). */
int rt_join_pidns(struct rt_vps *v, int pidfd, struct err *e)
{
	if (v->pidns_joined)
		return 0;
	if (setns(pidfd, CLONE_NEWPID) < 0)
		return err_sys(e, "enter the VPS's pid namespace");
	v->pidns_joined = true;
	return 0;
}

void rt_leave_pidns(struct rt_vps *v)
{
	cleanup_close int own = -EBADF;

	if (!v->pidns_joined)
		return;
	own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (own >= 0 && setns(own, CLONE_NEWPID) == 0)
		v->pidns_joined = false;
}

/* A pidfd that leads to init's namespaces: not init's own when its first thread has ended before the others. */
static int open_spaces(const struct rt_vps *v)
{
	return proc_is_zombie(v->pid) ? pidfd_open_task(proc_live_tid(v->pid)) : fcntl(v->pidfd, F_DUPFD_CLOEXEC, 0);
}

int rt_exec(struct rt_vps *v, const struct rt_exec *x, const struct rt_stdio *stdio, struct rt_command *ret,
	    struct err *e)
{
	cleanup_close int group = -EBADF, spaces = open_spaces(v);
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_INTO_CGROUP,
		.pidfd = (uint64_t)(uintptr_t)&ret->pidfd,
		.exit_signal = SIGCHLD,
	};
	struct rt_birth b;
	int r;

	*ret = (struct rt_command){ .pidfd = -EBADF, .sock = -EBADF, .master = -EBADF };
	r = spaces < 0 ? err_code(e, spaces, "enter the VPS's pid namespace") : rt_join_pidns(v, spaces, e);
	if (r < 0)
		return r;
	group = rt_init_cgroup_open(v, e);
	if (group < 0)
		return group;
	args.cgroup = (uint64_t)group;
	r = rt_birth_begin(v, &b, e);
	if (r < 0)
		return r;
	ret->pid = rt_birth_clone(&b, &args);
	if (ret->pid == 0)
		exec_child(v, spaces, x, stdio, &b.entry, b.theirs);
	ret->sock = rt_birth_end(&b);
	if (ret->pid > 0)
		return 0;
	fd_close(&ret->sock);
	return err_code(e, ret->pid, "make a process in the VPS");
}

/* Returns r. */
static int give_up(struct rt_command *c, int r)
{
	pidfd_signal(c->pidfd, SIGKILL);
	fd_close(&c->sock);
	fd_close(&c->master);
	return r;
}

int rt_exec_hear(struct rt_command *c, struct err *e)
{
	struct rt_msg m;
	size_t nfds;
	int fd = -EBADF, r = rt_msg_recv(c->sock, &m, &fd, 1, &nfds);

	if (r == -EPIPE) {
		fd_close(&c->sock);
		return 0;
	}
	if (r < 0)
		return give_up(c, err_code(e, r, "hear from the command"));
	if (m.type == RT_MSG_READY && nfds == 1 && c->master < 0) {
		c->master = fd;
		return 1;
	}
	fd_close(&fd);
	if (m.type != RT_MSG_ERROR)
		return give_up(c, err_set(e, ERR_FAIL, "unexpected message %u from the command", m.type));
	*e = m.err;
	return give_up(c, e->code == ERR_NOCMD || e->code == ERR_NOEXEC ? -ENOEXEC : err_errno((enum err_status)e->code));
}

int rt_exec_wait(struct rt_command *c, uint64_t until_us, struct err *e)
{
	struct pollfd p = { .fd = c->sock, .events = POLLIN };
	int r = 1;

	while (r > 0) {
		uint64_t now = now_monotonic_us();
		int n = poll(&p, 1, now < until_us ? (int)((until_us - now) / 1000 + 1) : 0);

		if (n < 0 && errno != EINTR)
			return give_up(c, err_sys(e, "hear from the command"));
		if (n == 0)
			return give_up(c, err_set(e, ERR_TIMEOUT, "the VPS does not let the command start"));
		if (n > 0)
			r = rt_exec_hear(c, e);
	}
	return r;
}
