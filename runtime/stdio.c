/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>

int rt_pty_open(int dirfd, const char *ptmx, int *ret_master, int *ret_slave, struct err *e)
{
	cleanup_close int master = openat(dirfd, ptmx, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct statfs fs;
	struct stat st;
	int unlock = 0, slave;

	if (master < 0)
		return err_sys(e, "open a terminal");
	/* 5:2 is /dev/ptmx; in a devpts instance it makes a terminal of that instance. */
	if (fstat(master, &st) < 0 || fstatfs(master, &fs) < 0)
		return err_sys(e, "open a terminal");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2) || fs.f_type != DEVPTS_SUPER_MAGIC)
		return err_set(e, ERR_FAIL, "open a terminal: %s is no terminal multiplexer", ptmx);
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, "unlock a terminal");
	/* Not by its name, which could lead elsewhere (TIOCGPTPEER, Linux 4.13). */
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_sys(e, "open a terminal's other end");
	*ret_master = TAKE_FD(master);
	*ret_slave = slave;
	return 0;
}

int rt_stdio_tty(int slave, bool control, struct err *e)
{
	if (control && ioctl(slave, TIOCSCTTY, 0) < 0)
		return err_sys(e, "take the terminal");
	for (int fd = 0; fd < 3; fd++)
		if (dup2(slave, fd) < 0)
			return err_sys(e, "use the terminal");
	return 0;
}

int rt_stdio_take(const struct rt_stdio *stdio, struct err *e)
{
	int fd[3];

	/* First all above 2, so that none is overwritten before it is used. */
	for (int i = 0; i < 3; i++) {
		fd[i] = stdio->fd[i] >= 0 ? fcntl(stdio->fd[i], F_DUPFD_CLOEXEC, 3)
					  : open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fd[i] >= 0 && fd[i] < 3) {
			int high = fcntl(fd[i], F_DUPFD_CLOEXEC, 3);

			close(fd[i]);
			fd[i] = high;
		}
		if (fd[i] < 0)
			return err_sys(e, "take standard fd %d", i);
	}
	for (int i = 0; i < 3; i++) {
		if (dup2(fd[i], i) < 0)
			return err_sys(e, "use standard fd %d", i);
		close(fd[i]);
	}
	return 0;
}

const char *rt_env_get(const struct strv *env, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < env->count; i++)
		if (strncmp(env->item[i], key, len) == 0 && env->item[i][len] == '=')
			return env->item[i] + len + 1;
	return NULL;
}

int rt_env_set(struct strv *env, const char *kv)
{
	size_t len = strcspn(kv, "=");

	for (size_t i = 0; i < env->count; i++) {
		if (strncmp(env->item[i], kv, len) == 0 && env->item[i][len] == '=') {
			char *copy = strdup(kv);

			if (!copy)
				return -ENOMEM;
			free(env->item[i]);
			env->item[i] = copy;
			return 0;
		}
	}
	return strv_add(env, kv);
}

static int exec_failed(const char *what, int errnum, struct err *e)
{
	err_code(e, -errnum, "run %s", what);
	e->code = errnum == ENOENT || errnum == ENOTDIR ? ERR_NOCMD : ERR_NOEXEC;
	return -errnum;
}

int rt_execve(const struct strv *argv, const struct strv *env, struct err *e)
{
	const char *name = argv->item[0];
	cleanup_strv struct strv dirs = { 0 };
	const char *path;
	int errnum = ENOENT;

	if (strchr(name, '/')) {
		execve(name, argv->item, env->item);
		return exec_failed(name, errno, e);
	}
	path = rt_env_get(env, "PATH");
	if (!*name || strv_split(&dirs, path ? path : "/usr/bin:/bin", ":") < 0)
		return exec_failed(*name ? name : "\"\"", ENOENT, e);
	for (size_t i = 0; i < dirs.count; i++) {
		char full[PATH_MAX];

		if ((size_t)snprintf(full, sizeof(full), "%s/%s", dirs.item[i], name) >=
		    sizeof(full))
			continue;
		execve(full, argv->item, env->item);
		if (errno != ENOENT && errno != ENOTDIR)
			errnum = errno;
	}
	return exec_failed(name, errnum, e);
}
