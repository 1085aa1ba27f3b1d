/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Open files that come with calls, also such as take long to close: nobody waits for that. */
#include "tests/unit/tap.h"
#include "tests/unit/supervisor_server_lab.h"

#include <fcntl.h>
#include <netinet/in.h>

TEST(fds)
{
	unsigned before;
	int fd, pipes[2], got[4], many_fds[FD_MSG_MAX];
	char buf[256];
	size_t n = 0;
	struct lab l;

	lab_up(&l);
	before = open_fds();
	fd = client(&l);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		abort();
	/* A message without fds before the one that has them: both in the socket at once. */
	put(fd, ECHO("first"));
	fd_send(fd, CALL("Fds"), sizeof(CALL("Fds")), pipes, 2);
	settle(&l);
	ok(seen.fd >= 0, "the fds belong to the message they came with");
	eq_int(recv(fd, buf, sizeof(ANSWER("first")) - 1, 0), sizeof(ANSWER("first")) - 1,
	       "the first is answered");
	ok(fd_recv(fd, buf, sizeof(buf), got, 4, &n) > 0 && n == 1, "an fd comes back");
	ok(write(got[0], "x", 1) == 1 && read(pipes[0], buf, 1) == 1 && buf[0] == 'x',
	   "it is the one that was sent");
	close(got[0]);
	close(seen.fd);
	close(pipes[1]);
	/* A call that takes none: they are closed. */
	fd_send(fd, ECHO("x"), sizeof(ECHO("x")), pipes, 1);
	eq_str(answer(&l, fd), ANSWER("x"), "fds that nobody asked for do no harm");
	for (size_t i = 0; i < FD_MSG_MAX; i++)
		many_fds[i] = pipes[0];
	/* Without an end of the message nobody takes them. */
	fd_send(fd, "{", 1, many_fds, FD_MSG_MAX);
	fd_send(fd, " ", 1, many_fds, FD_MSG_MAX);
	eq_str(answer(&l, fd), "(closed)", "too many fds close the connection");
	close(fd);
	close(pipes[0]);
	settle(&l);
	eq_int(open_fds(), before, "no fd stays behind");
	lab_down(&l);
}

/* A connection that has more to send than is taken, and waits for that when it is closed. */
static int lingering(int *ret_peer)
{
	cleanup_close int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct linger linger = { .l_onoff = 1, .l_linger = 10000 };
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	static char fill[65536];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ 65536 }, sizeof(int));
	setsockopt(listening, SOL_SOCKET, SO_RCVBUF, &(int){ 8192 }, sizeof(int));
	if (bind(listening, (struct sockaddr *)&sa, len) < 0 || listen(listening, 1) < 0 ||
	    getsockname(listening, (struct sockaddr *)&sa, &len) < 0 || connect(fd, (struct sockaddr *)&sa, len) < 0)
		abort();
	*ret_peer = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	while (send(fd, fill, sizeof(fill), MSG_DONTWAIT) > 0)
		;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return fd;
}

TEST(files_that_take_long_to_close)
{
	int fd, good, slow, peer[2], pipes[2];
	struct lab l;

	if (getuid() != 0)
		skip("only root can be others, too");
	lab_up(&l);
	lab_quiet();
	good = client(&l);
	fd = client_of(&l, 1001);
	slow = lingering(&peer[0]);
	fd_send(fd, ECHO("x"), sizeof(ECHO("x")), &slow, 1);
	close(slow);
	eq_str(answer(&l, fd), "(closed)", "a user may not send them");
	put(good, ECHO("still"));
	eq_str(answer(&l, good), ANSWER("still"), "nobody waits for them");
	close(fd);

	fd = client_of(&l, 1001);
	put(fd, CALL("Later"));
	settle(&l);
	slow = lingering(&peer[1]);
	fd_send(fd, ECHO("x"), sizeof(ECHO("x")), &slow, 1);
	close(slow);
	close(fd);
	put(good, ECHO("still"));
	eq_str(answer(&l, good), ANSWER("still"), "nor when they have not been read");

	fd = client_of(&l, 1001);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		abort();
	slow = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	fd_send(fd, CALL("Fds"), sizeof(CALL("Fds")), (int[]){ pipes[0], slow }, 2);
	ok(STREQ(answer(&l, fd), "{\"parameters\":{\"n\":2}}|"), "pipes and files he may");
	fd_close(&seen.fd);
	for (int i = 0; i < 2; i++) {
		close(peer[i]);
		close(pipes[i]);
	}
	close(slow);
	close(fd);
	close(good);
	lab_down(&l);
}

/* A byte with a file that takes long to close, sent with these flags. The peer's end of that. */
static int send_slow(int fd, int flags)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (char[]){ "x" }, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
			    .msg_controllen = sizeof(control.buf) };
	int peer, slow = lingering(&peer);

	control.h = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.h), &slow, sizeof(slow));
	if (sendmsg(fd, &m, MSG_NOSIGNAL | flags) < 0)
		abort();
	close(slow);
	return peer;
}

/* Who waits for such a file is killed by the clock. */
TEST(files_with_bytes_out_of_band)
{
	struct lab l;
	int fd, good, peer;

	if (getuid() != 0)
		skip("only root can be others, too");
	lab_up(&l);
	good = client(&l);
	fd = client_of(&l, 1001);
	put(fd, CALL("Later"));
	settle(&l);
	alarm(60);
	peer = send_slow(fd, MSG_OOB);
	close(fd);
	put(good, ECHO("still"));
	eq_str(answer(&l, good), ANSWER("still"), "nobody waits for them");
	close(peer);
	alarm(0);
	close(good);
	lab_down(&l);
}

/* Other threads close; who waits for them in vain is killed by the clock. */
static void has_room_in_the_end(struct lab *l, uid_t uid)
{
	int pair[2], r;

	do {
		usleep(1000);
		pair_of(uid, pair);
		r = server_add(l->server, pair[1]);
		close(pair[0]);
	} while (r < 0);
}

#define REFUSED 8

static int threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = -2; /* . and .. */

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

TEST(so_many_files_that_take_long_to_close)
{
	int peers[SERVER_UID_MAX + 1 + REFUSED], n = 0, r = 0, pair[2];
	struct lab l;

	if (getuid() != 0)
		skip("only root can be others, too");
	lab_up(&l);
	lab_quiet();
	alarm(60);
	while (n <= SERVER_UID_MAX) {
		pair_of(1003, pair);
		peers[n++] = send_slow(pair[0], 0);
		r = server_add(l.server, pair[1]);
		if (r < 0)
			break;
		eq_str(answer(&l, pair[0]), "(closed)", "one more");
		close(pair[0]);
	}
	eq_int(r, -EUSERS, "who has so many closed for him has no connection more");
	close(pair[0]);
	/* What comes all the same is refused with the files that are in it, and those have no thread more. */
	for (int i = 0; i < REFUSED; i++) {
		pair_of(1003, pair);
		peers[n++] = send_slow(pair[0], 0);
		eq_int(server_add(l.server, pair[1]), -EUSERS, "nor later");
		close(pair[0]);
	}
	ok(threads() <= SERVER_UID_MAX + 1, "%d threads", threads());
	close(client_of(&l, 1004));
	ok(true, "another has");
	while (n > 0)
		close(peers[--n]);
	has_room_in_the_end(&l, 1003);
	ok(true, "and so has he, when they are closed");
	alarm(0);
	settle(&l);
	lab_down(&l);
}

TEST(files_of_many_users_that_take_long_to_close)
{
	int peers[SERVER_CLIENTS_MAX + 1], n = 0, r = 0, pair[2];
	struct lab l;

	if (getuid() != 0)
		skip("only root can be others, too");
	lab_up(&l);
	lab_quiet();
	alarm(60);
	while (n <= SERVER_CLIENTS_MAX && r == 0) {
		pair_of((uid_t)(2000 + n), pair);
		peers[n++] = send_slow(pair[0], 0);
		r = server_add(l.server, pair[1]);
		if (r == 0)
			answer(&l, pair[0]);
		close(pair[0]);
	}
	eq_int(r, -EUSERS, "they count whoever sent them");
	pair_of(0, pair);
	eq_int(server_add(l.server, pair[1]), 0, "root is not kept out");
	close(pair[0]);
	while (n > 0)
		close(peers[--n]);
	has_room_in_the_end(&l, 3000);
	ok(true, "when they are closed others have room");
	alarm(0);
	settle(&l);
	lab_down(&l);
}
