/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/sock.h"

#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Fills the address; *dirfd must stay open while it is used. */
static int sock_address(const char *path, struct sockaddr_un *sa, int *dirfd)
{
	const char *slash = strrchr(path, '/');
	char dir[4096];
	int n;

	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) < sizeof(sa->sun_path)) {
		strcpy(sa->sun_path, path);
		return 0;
	}
	if (!slash || (size_t)(slash - path) >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	*dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*dirfd < 0)
		return -errno;
	n = snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s", *dirfd, slash + 1);
	return (size_t)n < sizeof(sa->sun_path) ? 0 : -ENAMETOOLONG;
}

/* A socket, and what it is to be connected or bound to. */
static int new_socket(const char *path, int type, struct sockaddr_un *sa, int *dirfd)
{
	cleanup_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -errno : sock_address(path, sa, dirfd);

	return r < 0 ? r : TAKE_FD(fd);
}

int sock_connect(const char *path, int type)
{
	cleanup_close int dirfd = -EBADF;
	struct sockaddr_un sa;
	cleanup_close int fd = new_socket(path, type, &sa, &dirfd);
	int r;

	if (fd < 0)
		return fd;
	do
		r = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : TAKE_FD(fd);
}

int sock_listen(const char *path, int type, mode_t mode)
{
	cleanup_close int dirfd = -EBADF;
	struct sockaddr_un sa;
	cleanup_close int fd = new_socket(path, type | SOCK_NONBLOCK, &sa, &dirfd);
	int r;

	if (fd < 0)
		return fd;
	if (unlink(sa.sun_path) < 0 && errno != ENOENT)
		return -errno;
	if (fchmod(fd, mode) < 0) /* the mode the name is made with */
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	if (chmod(sa.sun_path, mode) < 0 || listen(fd, 128) < 0) {
		r = -errno;
		unlink(sa.sun_path);
		return r;
	}
	return TAKE_FD(fd);
}

int sock_peer(int fd, pid_t *ret_pid, uid_t *ret_uid, gid_t *ret_gid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret_pid = cred.pid;
	*ret_uid = cred.uid;
	*ret_gid = cred.gid;
	return 0;
}
