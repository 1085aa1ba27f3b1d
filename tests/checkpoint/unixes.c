/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Unix sockets as a distribution has them: a datagram server with hundreds of clients and credentials in its
 * queue, accepted connections, names that were deleted or taken over, open files under way, who is at the
 * other end. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define CLIENTS 300
#define LOG "/run/log/socket"
#define SERVICE "/run/service"

static int server, client[CLIENTS], gone_pid;

static socklen_t name(struct sockaddr_un *sa, const char *path)
{
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	strcpy(sa->sun_path, path);
	return (socklen_t)(sizeof(sa->sun_family) + strlen(path) + (path[0] == '/'));
}

static int open_at(int type, const char *path, bool to)
{
	struct sockaddr_un sa;
	socklen_t len = name(&sa, path);
	int fd = socket(AF_UNIX, type, 0);

	CHECK((to ? connect : bind)(fd, (struct sockaddr *)&sa, len) == 0);
	return fd;
}

static void expect_path(int fd, int (*get)(int, struct sockaddr *, socklen_t *), const char *path)
{
	struct sockaddr_un sa = { 0 };
	socklen_t len = sizeof(sa);

	CHECK(get(fd, (struct sockaddr *)&sa, &len) == 0);
	CHECK(strncmp(sa.sun_path, path, sizeof(sa.sun_path)) == 0 &&
	      (path[0] || len == sizeof(sa_family_t)));
}

/* In a child with another identity. */
static int as_user(uid_t uid, int (*fn)(void))
{
	gid_t groups[] = { 7, 8, uid };
	int status, pid = fork();

	if (pid == 0) {
		if (setgroups(3, groups) < 0 || setresgid(uid, uid, uid) < 0 ||
		    setresuid(uid, uid, uid) < 0)
			_exit(1);
		_exit(fn());
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return pid;
}

static int speak(void)
{
	int fd = open_at(SOCK_DGRAM, LOG, true);

	return send(fd, "from 33", 7, 0) == 7 ? 0 : 1;
}

/* What is queued where, with whom. */
static void set_log(void)
{
	int on = 1, named;

	CHECK(mkdir("/run/log", 0755) == 0);
	server = open_at(SOCK_DGRAM, LOG, false);
	chmod(LOG, 0666);
	setsockopt(server, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	for (int i = 0; i < CLIENTS; i++)
		client[i] = open_at(SOCK_DGRAM, LOG, true);
	CHECK(send(client[7], "first", 5, 0) == 5);
	gone_pid = as_user(33, speak);
	named = open_at(SOCK_DGRAM, "/run/named", false);
	CHECK(sendto(named, "named", 5, 0, (struct sockaddr *)&(struct sockaddr_un){ AF_UNIX, LOG },
		     sizeof(struct sockaddr_un)) == 5);
	close(named);
	CHECK(send(client[8], "", 0, 0) == 0);
	CHECK(send(client[9], "last", 4, 0) == 4);
}

static void expect_message(const char *text, int pid, int uid, const char *from)
{
	char t[64] = { 0 };
	union {
		char buf[256];
		struct cmsghdr align;
	} c;
	struct sockaddr_un sa = { 0 };
	struct iovec iov = { t, sizeof(t) };
	struct msghdr m = { .msg_name = &sa,
			    .msg_namelen = sizeof(sa),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = c.buf,
			    .msg_controllen = sizeof(c.buf) };
	ssize_t n = recvmsg(server, &m, MSG_DONTWAIT);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	struct ucred u = { 0 };

	CHECK(n == (ssize_t)strlen(text) && strcmp(t, text) == 0);
	CHECK(n < 0 || (h && h->cmsg_type == SCM_CREDENTIALS));
	if (n >= 0 && h)
		memcpy(&u, CMSG_DATA(h), sizeof(u));
	if (u.pid != pid || (int)u.uid != uid)
		dprintf(1, "%s: pid %d, uid %d\n", text, (int)u.pid, (int)u.uid);
	CHECK(u.pid == pid && (int)u.uid == uid && (int)u.gid == uid);
	CHECK(strcmp(sa.sun_path, from) == 0);
}

static void check_log(void)
{
	struct stat st;

	expect_message("first", 1, 0, "");
	expect_message("from 33", gone_pid, 33, "");
	expect_message("named", 1, 0, "/run/named");
	expect_message("", 1, 0, "");
	expect_message("last", 1, 0, "");
	CHECK(stat(LOG, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0666);
	for (int i = 0; i < CLIENTS; i++) {
		CHECK(send(client[i], "x", 1, 0) == 1);
		expect_message("x", 1, 0, "");
		expect_path(client[i], getpeername, LOG);
		expect_path(client[i], getsockname, "");
	}
	speak();
	expect_message("from 33", 1, 0, "");
}

/* A service, its clients of another user, one of which lives on. */

static int listener, accepted[3], living, waiting, both, to_child[2], early;

static int connect_and_end(void)
{
	int fd = open_at(SOCK_STREAM, SERVICE, true);

	return write(fd, "bye", 3) == 3 ? 0 : 1;
}

static void expect_peer(int fd, int pid, uid_t uid, int groups)
{
	struct ucred u = { 0 };
	gid_t g[16];
	socklen_t len = sizeof(u), glen = sizeof(g);

	CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &len) == 0);
	if (u.pid != pid || u.uid != uid)
		dprintf(1, "fd %d: peer %d, user %d, not %d, %d\n", fd, u.pid, (int)u.uid, pid,
			(int)uid);
	CHECK(u.pid == pid && u.uid == uid && u.gid == uid);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, g, &glen) == 0 &&
	      glen == groups * sizeof(gid_t));
	CHECK(groups == 0 || (g[0] == 7 && g[1] == 8));
}

static void child(void)
{
	gid_t groups[] = { 7, 8, 44 };
	int fd, as_root[2], own[2];
	char c;

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, as_root) == 0);
	CHECK(setgroups(3, groups) == 0 && setresgid(44, 44, 44) == 0 &&
	      setresuid(44, 44, 44) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, own) == 0);
	fd = open_at(SOCK_STREAM, SERVICE, true);
	CHECK(write(fd, "hello", 5) == 5 && read(to_child[1], &c, 1) == 1);
	expect_peer(fd, 1, 0, 0);
	expect_peer(as_root[1], getpid(), 0, 0);
	expect_peer(own[0], getpid(), 44, 3);
	CHECK(write(own[0], "o", 1) == 1 && write(as_root[1], "r", 1) == 1);
	CHECK(read(own[1], &c, 1) == 1 && c == 'o' && read(as_root[0], &c, 1) == 1 && c == 'r');
	expect_path(fd, getpeername, SERVICE);
	CHECK(write(fd, " again", 6) == 6 && read(fd, &c, 1) == 1 && c == '!');
	_exit(guest_failed);
}

static void set_service(void)
{
	struct sockaddr_un sa;

	listener = open_at(SOCK_STREAM, SERVICE, false);
	chmod(SERVICE, 0777);
	CHECK(listen(listener, 5) == 0);
	early = open_at(SOCK_STREAM, SERVICE, true);
	accepted[0] = accept(listener, NULL, NULL);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, to_child) == 0);
	living = fork();
	if (living == 0)
		child();
	accepted[1] = accept(listener, NULL, NULL);
	as_user(33, connect_and_end);
	accepted[2] = accept(listener, NULL, NULL);
	waiting = open_at(SOCK_STREAM, SERVICE, true);
	/* A client with a name of its own. */
	both = open_at(SOCK_STREAM, "/run/mine", false);
	CHECK(connect(both, (struct sockaddr *)&sa, name(&sa, SERVICE)) == 0);
}

static void check_service(void)
{
	struct ucred u;
	socklen_t len = sizeof(u);
	char t[16] = { 0 };
	int status, fd;

	expect_peer(accepted[0], 1, 0, 0);
	expect_peer(early, 1, 0, 0);
	expect_peer(to_child[0], 1, 0, 0);
	expect_peer(accepted[1], living, 44, 3);
	CHECK(getsockopt(accepted[2], SOL_SOCKET, SO_PEERCRED, &u, &len) == 0 && u.uid == 33);
	expect_peer(accepted[2], u.pid, 33, 3);
	CHECK(u.pid > living);
	for (int i = 0; i < 3; i++)
		expect_path(accepted[i], getsockname, SERVICE);
	CHECK(write(early, "e", 1) == 1 && read(accepted[0], t, 9) == 1);
	CHECK(read(accepted[2], t, 9) == 3 && memcmp(t, "bye", 3) == 0 &&
	      read(accepted[2], t, 9) == 0);
	CHECK(write(to_child[0], "x", 1) == 1 && recv(accepted[1], t, 11, MSG_WAITALL) == 11);
	CHECK(memcmp(t, "hello again", 11) == 0 && write(accepted[1], "!", 1) == 1);
	CHECK(waitpid(living, &status, 0) == living && status == 0);
	CHECK(write(waiting, "w", 1) == 1);
	fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0 && read(fd, t, 9) == 1 && t[0] == 'w');
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	expect_path(fd, getpeername, "/run/mine");
	CHECK(write(both, "b", 1) == 1 && read(fd, t, 9) == 1 && t[0] == 'b');
}

/* Names that are not there any more, or that lead elsewhere by now. */

static int old_one, old_client, new_one, abstract, relative, autobound, dead_client, deleted;

static void set_names(void)
{
	int on = 1, fd;

	mkdir("/root/dir", 0700);
	CHECK(chdir("/root/dir") == 0);
	relative = open_at(SOCK_DGRAM, "rel", false);
	old_one = open_at(SOCK_DGRAM, "/run/over", false);
	old_client = open_at(SOCK_DGRAM, "/run/over", true);
	CHECK(send(old_client, "queued", 6, 0) == 6);
	unlink("/run/over");
	new_one = open_at(SOCK_DGRAM, "/run/over", false);
	deleted = open_at(SOCK_STREAM, "/run/deleted", false);
	CHECK(listen(deleted, 1) == 0 && unlink("/run/deleted") == 0);
	abstract = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(bind(abstract, (struct sockaddr *)&(struct sockaddr_un){ AF_UNIX, "\0name" }, 7) ==
	      0);
	autobound = socket(AF_UNIX, SOCK_DGRAM, 0);
	setsockopt(autobound, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	CHECK(connect(autobound, (struct sockaddr *)&(struct sockaddr_un){ AF_UNIX, "\0name" },
		      7) == 0);
	CHECK(connect(abstract, (struct sockaddr *)&(struct sockaddr_un){ AF_UNIX, LOG },
		      sizeof(struct sockaddr_un)) == 0);
	fd = open_at(SOCK_DGRAM, "/run/dies", false);
	dead_client = open_at(SOCK_DGRAM, "/run/dies", true);
	close(fd);
	unlink("/run/dies");
}

static void check_names(void)
{
	struct sockaddr_un sa = { 0 };
	socklen_t len = sizeof(sa);
	char t[16] = { 0 };

	expect_path(relative, getsockname, "rel");
	CHECK(access("/root/dir/rel", F_OK) == 0);
	expect_path(old_one, getsockname, "/run/over");
	CHECK(recv(old_one, t, 9, MSG_DONTWAIT) == 6 && send(old_client, "more", 4, 0) == 4);
	CHECK(recv(old_one, t, 9, MSG_DONTWAIT) == 4);
	CHECK(send(open_at(SOCK_DGRAM, "/run/over", true), "new", 3, 0) == 3 &&
	      recv(new_one, t, 9, MSG_DONTWAIT) == 3);
	CHECK(access("/run/deleted", F_OK) < 0);
	fcntl(deleted, F_SETFL, O_NONBLOCK);
	CHECK(accept(deleted, NULL, NULL) < 0 && errno == EAGAIN);
	CHECK(getsockname(autobound, (struct sockaddr *)&sa, &len) == 0 && len == 8 &&
	      sa.sun_path[0] == '\0');
	CHECK(send(autobound, "a", 1, 0) < 0 &&
	      errno == EPERM); /* that one is connected to another by now */
	CHECK(send(abstract, "to the log", 10, 0) == 10);
	expect_message("to the log", 1, 0, "");
	expect_path(dead_client, getpeername, "/run/dies");
	CHECK(send(dead_client, "x", 1, 0) < 0 && errno == ECONNREFUSED);
}

/* Open files under way. */

static int way[2], packets[2], reset_end, notify;

static void send_fds(int to, const char *text, int a, int b)
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} c = { { 0 } };
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = c.buf,
			    .msg_controllen = CMSG_SPACE((b < 0 ? 1 : 2) * sizeof(int)) };
	int fds[2] = { a, b };

	c.align.cmsg_level = SOL_SOCKET;
	c.align.cmsg_type = SCM_RIGHTS;
	c.align.cmsg_len = CMSG_LEN((b < 0 ? 1 : 2) * sizeof(int));
	memcpy(CMSG_DATA(&c.align), fds, (b < 0 ? 1 : 2) * sizeof(int));
	CHECK(sendmsg(to, &m, 0) == (ssize_t)strlen(text));
}

static int take_fds(int from, const char *text, int fds[2])
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} c;
	char t[64] = { 0 };
	struct iovec iov = { t, strlen(text) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = c.buf,
			    .msg_controllen = sizeof(c.buf) };

	CHECK(recvmsg(from, &m, 0) == (ssize_t)strlen(text) && strcmp(t, text) == 0);
	if (!CMSG_FIRSTHDR(&m))
		return 0;
	memcpy(fds, CMSG_DATA(&c.align), c.align.cmsg_len - CMSG_LEN(0));
	return (int)((c.align.cmsg_len - CMSG_LEN(0)) / sizeof(int));
}

static void set_way(void)
{
	int p[2], nested[2], ev = eventfd(5, 0), pair[2];

	CHECK(pipe(p) == 0 && write(p[1], "in the pipe", 11) == 11);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, way) == 0 &&
	      socketpair(AF_UNIX, SOCK_STREAM, 0, nested) == 0);
	send_fds(nested[0], "inner", ev, -1);
	CHECK(write(way[0], "before", 6) == 6);
	send_fds(way[0], "w", p[0], nested[1]);
	CHECK(write(way[0], "after", 5) == 5);
	close(p[0]);
	close(p[1]);
	close(nested[0]);
	close(nested[1]);
	close(ev);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) == 0);
	CHECK(write(packets[0], "one", 3) == 3 && write(packets[0], "second", 6) == 6 &&
	      shutdown(packets[0], SHUT_WR) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[0], "unread", 6) == 6);
	close(pair[1]);
	reset_end = pair[0];
	notify = open_at(SOCK_DGRAM, "/run/host/notify", true);
}

static void check_way(void)
{
	int fds[2] = { -1, -1 }, inner[2] = { -1, -1 };
	uint64_t v = 0;
	char t[16];

	CHECK(take_fds(way[1], "before", fds) == 0);
	CHECK(take_fds(way[1], "w", fds) == 2);
	CHECK(take_fds(way[1], "after", inner) == 0);
	CHECK(read(fds[0], t, 16) == 11 && memcmp(t, "in the pipe", 11) == 0 &&
	      read(fds[0], t, 16) == 0);
	CHECK(take_fds(fds[1], "inner", inner) == 1 && read(inner[0], &v, 8) == 8 && v == 5);
	CHECK(read(packets[1], t, 16) == 3 && read(packets[1], t, 16) == 6 &&
	      read(packets[1], t, 16) == 0);
	CHECK(write(packets[1], "back", 4) == 4 && read(packets[0], t, 16) == 4);
	CHECK(read(reset_end, t, 16) < 0 && errno == ECONNRESET);
	CHECK(send(notify, "STATUS=x", 8, 0) == 8);
}

/* Sockets of another network namespace, which abstract names are in. */

static int away[2], away_listener, away_tcp;

static void set_away(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(99),
				 .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	CHECK(home >= 0 && unshare(CLONE_NEWNET) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, away) == 0 && write(away[0], "away", 4) == 4);
	away_listener = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(away_listener, (struct sockaddr *)&(struct sockaddr_un){ AF_UNIX, "\0away" },
		   7) == 0);
	CHECK(listen(away_listener, 1) == 0);
	away_tcp = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(ioctl(away_tcp, SIOCSIFFLAGS, &lo) == 0);
	CHECK(bind(away_tcp, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(away_tcp, 1) == 0);
	CHECK(setns(home, CLONE_NEWNET) == 0);
	close(home);
}

static ino_t namespace_of(int fd)
{
	struct stat st = { 0 };
	int ns = ioctl(fd, SIOCGSKNS);

	CHECK(ns >= 0 && fstat(ns, &st) == 0);
	close(ns);
	return st.st_ino;
}

static void check_away(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(99),
				 .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int s = socket(AF_UNIX, SOCK_STREAM, 0), t = socket(AF_INET, SOCK_STREAM, 0);
	char text[16];

	CHECK(namespace_of(away[0]) == namespace_of(away[1]) &&
	      namespace_of(away[0]) == namespace_of(away_listener));
	CHECK(namespace_of(away[0]) == namespace_of(away_tcp) &&
	      namespace_of(away[0]) != namespace_of(server));
	CHECK(read(away[1], text, 9) == 4);
	CHECK(connect(s, (struct sockaddr *)&(struct sockaddr_un){ AF_UNIX, "\0away" }, 7) < 0 &&
	      errno == ECONNREFUSED);
	CHECK(connect(t, (struct sockaddr *)&a, sizeof(a)) < 0 && errno == ECONNREFUSED);
}

int main(void)
{
	set_log();
	set_service();
	set_names();
	set_way();
	set_away();
	wait_for_restore();
	check_log();
	check_service();
	check_names();
	check_way();
	check_away();
	return done();
}
