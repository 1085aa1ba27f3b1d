/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Leaves: they return a negative errno value and fill no error. All fds made are O_CLOEXEC. */

/* Reads until `size` bytes or end of file; returns the count. Retries EINTR. */
ssize_t fd_read_full(int fd, void *buf, size_t size);
/* Writes all of it or fails. Retries EINTR. */
int fd_write_full(int fd, const void *buf, size_t size);

/*
 * Reads a whole file of at most `max` bytes (more: -EFBIG) into a NUL-terminated buffer that the
 * caller frees; *ret_len (may be NULL) is without the NUL. Works on /proc and cgroup files, whose
 * st_size is 0. Does not follow a symbolic link in the last component.
 */
int fd_read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);

/* The same of a file that is open, from its beginning on. */
int fd_read_all(int fd, size_t max, char **ret, size_t *ret_len);

/* Writes a control file (cgroup, /proc) with one write(2); the file must exist. */
int fd_write_file_at(int dirfd, const char *path, const char *text);

/*
 * Replaces a file whole: temporary file beside it, write, fsync when `durable`, rename, fsync of
 * the directory when `durable`. On failure the old file is as it was and no temporary file is left.
 */
int fd_replace_file_at(int dirfd, const char *path, const void *data, size_t len, mode_t mode,
		       bool durable);

/* FD_CLOEXEC and O_NONBLOCK on or off. */
int fd_set_cloexec(int fd, bool on);
int fd_set_nonblock(int fd, bool on);

/* Marks every fd from `first` up close-on-exec (close_range(2), Linux 5.11). */
int fd_cloexec_from(unsigned first);
/*
 * Room in the table of open files for numbers below this one, or below the limit; best effort. A table that threads or
 * processes share (CLONE_FILES) waits for RCU each time it grows, at 64, 128, 256 and so on: 12 to 20 ms on an idle
 * machine (Linux 6.18). It never shrinks.
 */
void fd_reserve(unsigned count);
/* As many fds as this process may have (RLIMIT_NOFILE). What it starts afterwards may, too. */
void fd_limit_raise(void);

/*
 * One message with up to FD_MSG_MAX fds (SCM_RIGHTS, unix(7)). Send returns the byte count;
 * receive stores the fds, close-on-exec, sets *nfds to their number, and returns the byte count
 * (0: end of file). Fds beyond `max_fds` are closed and the call fails with -EMSGSIZE; so does a
 * datagram longer than `size`. -EMFILE: this process has no room for all of its fds, and got none; the
 * bytes are in `buf`.
 */
#define FD_MSG_MAX 16
#define FD_SENT_MAX 253 /* that others may send: SCM_MAX_FD */
ssize_t fd_send(int sock, const void *buf, size_t len, const int *fds, size_t nfds);
ssize_t fd_recv(int sock, void *buf, size_t size, int *fds, size_t max_fds, size_t *nfds);

/*
 * Closes it when nobody waits: at the next fd_close_due() of this process, at its end at the latest. For sockets
 * whose last close(2) waits for a grace period of RCU, 10 ms and more (packet sockets; nftables' after
 * something was deleted). Not for threads.
 */
void fd_close_later(int *fd);
void fd_close_due(void);
/* There is one to be closed. */
bool fd_close_is_due(void);

/* A sealed memfd (F_SEAL_*, memfd_create(2)) that holds these bytes, positioned at 0. */
int fd_memfd(const char *name, const void *data, size_t len);

#endif
