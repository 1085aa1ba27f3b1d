/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"

#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

ssize_t fd_read_full(int fd, void *buf, size_t size)
{
	size_t have = 0;

	while (have < size) {
		ssize_t n = read(fd, (char *)buf + have, size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

int fd_write_full(int fd, const void *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(fd, (const char *)buf + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static int read_rest(int fd, size_t max, char **ret, size_t *ret_len)
{
	cleanup_free char *buf = NULL;
	size_t room = 4096, have = 0;

	for (;;) {
		char *bigger;
		ssize_t n;

		if (room > max)
			room = max;
		bigger = realloc(buf, room + 1);
		if (!bigger)
			return -ENOMEM;
		buf = bigger;
		n = fd_read_full(fd, buf + have, room - have);
		if (n < 0)
			return (int)n;
		have += (size_t)n;
		if (have < room)
			break;
		if (room == max) {
			char more;

			if (fd_read_full(fd, &more, 1) != 0)
				return -EFBIG;
			break;
		}
		room *= 2;
	}
	buf[have] = '\0';
	if (ret_len)
		*ret_len = have;
	*ret = TAKE_PTR(buf);
	return 0;
}

int fd_read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);

	return fd < 0 ? -errno : read_rest(fd, max, ret, ret_len);
}

int fd_read_all(int fd, size_t max, char **ret, size_t *ret_len)
{
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : read_rest(fd, max, ret, ret_len);
}

int fd_write_file_at(int dirfd, const char *path, const char *text)
{
	cleanup_close int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = write(fd, text, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

static int write_temp(int dirfd, const char *temp, const void *data, size_t len, mode_t mode,
		      bool durable)
{
	cleanup_close int fd = openat(dirfd, temp,
				      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_full(fd, data, len);
	if (r < 0)
		return r;
	if (fchmod(fd, mode) < 0)
		return -errno;
	if (durable && fsync(fd) < 0)
		return -errno;
	return 0;
}

int fd_replace_file_at(int dirfd, const char *path, const void *data, size_t len, mode_t mode,
		       bool durable)
{
	char temp[512], dir[512];
	const char *slash = strrchr(path, '/');
	int base = slash ? (int)(slash - path) + 1 : 0;
	int r;

	/* One writer a file (the daemon that owns the state root), so a fixed name is enough, and
	 * what a crash leaves is overwritten by the next try. */
	r = snprintf(temp, sizeof(temp), "%.*s.%s.new", base, path, path + base);
	if (r < 0 || (size_t)r >= sizeof(temp))
		return -ENAMETOOLONG;
	r = write_temp(dirfd, temp, data, len, mode, durable);
	if (r == 0 && renameat(dirfd, temp, dirfd, path) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, temp, 0);
		return r;
	}
	if (durable) {
		cleanup_close int dfd = -EBADF;

		snprintf(dir, sizeof(dir), "%.*s", base, path);
		dfd = openat(dirfd, base ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dfd < 0 || fsync(dfd) < 0)
			return -errno;
	}
	return 0;
}

int fd_set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

int fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int fd_cloexec_from(unsigned first)
{
	return close_range(first, ~0U, CLOSE_RANGE_CLOEXEC) < 0 ? -errno : 0;
}

void fd_reserve(unsigned count)
{
	cleanup_close int some = eventfd(0, EFD_CLOEXEC), high = -EBADF;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && count > lim.rlim_cur)
		count = (unsigned)lim.rlim_cur;
	if (some >= 0 && count)
		high = fcntl(some, F_DUPFD_CLOEXEC, (int)count - 1);
}

void fd_limit_raise(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

ssize_t fd_send(int sock, const void *buf, size_t len, const int *fds, size_t nfds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * FD_MSG_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (nfds > FD_MSG_MAX)
		return -EMSGSIZE;
	if (nfds > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Takes the fds of one control message; those that do not fit are closed. */
static bool take_fds(struct cmsghdr *c, int *fds, size_t max_fds, size_t *nfds)
{
	size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	bool fits = true;

	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		if (*nfds < max_fds) {
			fds[(*nfds)++] = fd;
		} else {
			close(fd);
			fits = false;
		}
	}
	return fits;
}

ssize_t fd_recv(int sock, void *buf, size_t size, int *fds, size_t max_fds, size_t *nfds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * FD_SENT_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	bool fits = true;
	ssize_t n;

	*nfds = 0;
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			fits = take_fds(c, fds, max_fds, nfds) && fits;
	fits = fits && !(msg.msg_flags & MSG_TRUNC);
	/* There is room for as many as can be sent: if some are missing, it is in our table of open files that there is none. */
	if (fits && !(msg.msg_flags & MSG_CTRUNC))
		return n;
	while (*nfds > 0)
		close(fds[--*nfds]);
	return fits ? -EMFILE : -EMSGSIZE;
}

int fd_memfd(const char *name, const void *data, size_t len)
{
	cleanup_close int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_full(fd, data, len);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -errno;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int later[32];
static size_t later_count;

void fd_close_later(int *fd)
{
	if (*fd >= 0 && later_count < ARRAY_SIZE(later)) {
		later[later_count++] = *fd;
		*fd = -EBADF;
	}
	fd_close(fd);
}

bool fd_close_is_due(void)
{
	return later_count > 0;
}

void fd_close_due(void)
{
	while (later_count)
		close(later[--later_count]);
}
