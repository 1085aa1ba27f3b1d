/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/sock.h"

#include "base/macro.h"
#include "base/path.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* One conversation over a socket at that path. */
static void talk(const char *path)
{
	cleanup_close int server = sock_listen(path, SOCK_SEQPACKET, 0660);
	cleanup_close int client = -EBADF, conn = -EBADF;
	struct stat st;
	char buf[8] = "";
	pid_t pid;
	uid_t uid;
	gid_t gid;

	ok(server >= 0, "listens at %zu bytes of path", strlen(path));
	ok(stat(path, &st) == 0 && (st.st_mode & 0777) == 0660, "with its mode");
	ok(fcntl(server, F_GETFL) & O_NONBLOCK, "non-blocking");
	ok(fcntl(server, F_GETFD) & FD_CLOEXEC, "close-on-exec");
	client = sock_connect(path, SOCK_SEQPACKET);
	ok(client >= 0, "a client connects");
	conn = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	eq_int(send(client, "hi", 2, MSG_NOSIGNAL), 2, "sends");
	eq_int(recv(conn, buf, sizeof(buf), 0), 2, "is heard");
	eq_int(sock_peer(conn, &pid, &uid, &gid), 0, "who it is");
	ok(pid == getpid() && uid == geteuid() && gid == getegid(), "we");
}

TEST(by_path)
{
	char dir[] = "/tmp/vps-sock-XXXXXX", path[512];

	if (!ok(mkdtemp(dir) != NULL, "a directory"))
		return;
	snprintf(path, sizeof(path), "%s/s", dir);
	eq_int(sock_connect(path, SOCK_SEQPACKET), -ENOENT, "no socket");
	talk(path);
	eq_int(sock_connect(path, SOCK_SEQPACKET), -ECONNREFUSED, "its listener has gone");
	talk(path); /* in place of the stale one */
	eq_int(path_remove_tree_at(AT_FDCWD, dir), 0, "removed");
}

TEST(long_path)
{
	char dir[] = "/tmp/vps-sock-XXXXXX", path[512];

	if (!ok(mkdtemp(dir) != NULL, "a directory"))
		return;
	/* sun_path holds 107 bytes */
	snprintf(path, sizeof(path), "%s/%0200d", dir, 0);
	eq_int(mkdir(path, 0755), 0, "a deep directory");
	strcat(path, "/socket");
	talk(path);
	eq_int(path_remove_tree_at(AT_FDCWD, dir), 0, "removed");
}

TEST(not_a_socket)
{
	char path[] = "/tmp/vps-sock-XXXXXX";
	cleanup_close int fd = mkstemp(path);

	ok(fd >= 0, "a plain file");
	eq_int(sock_connect(path, SOCK_STREAM), -ECONNREFUSED, "nobody listens there");
	unlink(path);
}
