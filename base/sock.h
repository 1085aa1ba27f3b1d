/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_SOCK_H
#define BASE_SOCK_H

#include <sys/types.h>

/*
 * Unix sockets by path, of `type` SOCK_STREAM or SOCK_SEQPACKET. A path too long for sun_path (107
 * bytes, unix(7)) is reached through /proc/self/fd of its directory. Leaves: negative errno values.
 */

/* Connected, close-on-exec. -ENOENT: no such socket; -ECONNREFUSED: nobody listens any more. */
int sock_connect(const char *path, int type);

/* Bound (a stale socket of that name is replaced), mode set, listening, close-on-exec, non-block. */
int sock_listen(const char *path, int type, mode_t mode);

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16: whether open files may come */
#endif

/* Who is at the other end (SO_PEERCRED). */
int sock_peer(int fd, pid_t *ret_pid, uid_t *ret_uid, gid_t *ret_gid);

#endif
