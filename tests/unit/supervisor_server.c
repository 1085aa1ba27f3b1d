/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/server.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"

#include "tests/unit/tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static const char text[] = "interface org.test.T\n"
			   "method Echo(text: string) -> (text: string)\n"
			   "method Later() -> (n: int)\n"
			   "method Keep(text: ?string) -> ()\n"
			   "method Fds() -> (n: int)\n"
			   "method Bad() -> (n: int)\n"
			   "method Many() -> (n: int)\n"
			   "method Big() -> (text: string)\n"
			   "method Missing() -> ()\n"
			   "error Failed(status: int, error: string, hint: string)\n";

/* What the methods of the test server have seen. */
static struct seen {
	struct server_call *later;
	int cancelled, calls;
	int fd;
} seen;

static void echo(struct server_call *c, void *userdata)
{
	(void)userdata;
	seen.calls++;
	server_reply(c, json_pack("{s:s}", "text", call_string(c, "text")), NULL, 0);
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct err e;

	(void)userdata;
	seen.cancelled++;
	seen.later = NULL;
	err_set(&e, ERR_CANCELLED, "undone");
	server_fail(c, &e);
}

static void later(struct server_call *c, void *userdata)
{
	(void)userdata;
	seen.later = c;
	call_on_cancel(c, on_cancel, NULL);
}

static struct {
	struct server_call *call[SERVER_UID_CALLS_MAX + 8];
	size_t count;
} kept;

static void keep(struct server_call *c, void *userdata)
{
	(void)userdata;
	if (kept.count == ARRAY_SIZE(kept.call))
		abort();
	kept.call[kept.count++] = c;
}

static void take_fds(struct server_call *c, void *userdata)
{
	(void)userdata;
	seen.fd = call_take_fd(c, 1);
	server_reply(c, json_pack("{s:i}", "n", 2), &seen.fd, 1);
}

static void bad(struct server_call *c, void *userdata)
{
	(void)userdata;
	server_reply(c, json_pack("{s:s}", "n", "none"), NULL, 0);
}

static void many(struct server_call *c, void *userdata)
{
	(void)userdata;
	server_continue(c, json_pack("{s:i}", "n", 1));
	server_continue(c, json_pack("{s:i}", "n", 2));
	server_reply(c, json_pack("{s:i}", "n", 3), NULL, 0);
}

static void big(struct server_call *c, void *userdata)
{
	size_t size = 1 << 20;
	char *fill = malloc(size);

	(void)userdata;
	memset(fill, 'x', size - 1);
	fill[size - 1] = '\0';
	server_reply(c, json_pack("{s:s}", "text", fill), NULL, 0);
	free(fill);
}

static const struct server_method methods[] = {
	{ "Echo", echo, 0, 0 },  { "Later", later, 0, 0 },          { "Keep", keep, 0, 0 }, { "Fds", take_fds, 0, 2 },
	{ "Bad", bad, 0, 0 },    { "Many", many, SERVER_MORE, 0 },  { "Big", big, 0, 0 },
};

struct lab {
	sd_event *event;
	struct idl *idl;
	struct server *server;
};

static void lab_up(struct lab *l)
{
	struct err e = { 0 };

	seen = (struct seen){ .fd = -EBADF };
	signal(SIGPIPE, SIG_IGN);
	setenv("VPS_LOG", "err", 1);
	log_init("test");
	sd_event_new(&l->event);
	ok(idl_parse(text, strlen(text), &l->idl, &e) == 0, "the interface is good");
	ok(server_new(&l->server, l->event, l->idl, text, methods, ARRAY_SIZE(methods), NULL, &e) == 0,
	   "a server");
}

static void lab_down(struct lab *l)
{
	server_free(l->server);
	sd_event_unref(l->event);
	idl_free(l->idl);
}

/* Who makes the pair is the peer (unix(7), SO_PEERCRED). Of this thread alone: seteuid(3) sends the others a signal, which
 * ends their waits. */
static void pair_of(uid_t uid, int pair[2])
{
	if (syscall(SYS_setresuid, -1, uid, -1) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ||
	    syscall(SYS_setresuid, -1, getuid(), -1) < 0)
		abort();
}

static int client_of(struct lab *l, uid_t uid)
{
	int pair[2];

	pair_of(uid, pair);
	if (server_add(l->server, pair[1]) < 0)
		abort();
	return pair[0];
}

static int client(struct lab *l)
{
	return client_of(l, getuid());
}

/* Lets the server do all there is to do. */
static void settle(struct lab *l)
{
	while (sd_event_run(l->event, 0) > 0)
		;
}

/* Everything that it sent, as one string with '|' for NUL; "(closed)" at the end of the stream. */
static const char *answer(struct lab *l, int fd)
{
	static char buf[8192];
	size_t len = 0;
	ssize_t n;

	settle(l);
	while (len < sizeof(buf) - 16 && (n = recv(fd, buf + len, sizeof(buf) - 16 - len, 0)) > 0)
		len += (size_t)n;
	for (size_t i = 0; i < len; i++)
		if (!buf[i])
			buf[i] = '|';
	buf[len] = '\0';
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		strcpy(buf + len, "(closed)");
	return buf;
}

static void put(int fd, const char *message)
{
	if (send(fd, message, strlen(message) + 1, MSG_NOSIGNAL) < 0)
		diag("send: %s", strerror(errno));
}

static unsigned open_fds(void)
{
	cleanup_closedir DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	return n;
}

#define ECHO(t) "{\"method\":\"org.test.T.Echo\",\"parameters\":{\"text\":\"" t "\"}}"
#define CALL(m) "{\"method\":\"org.test.T." m "\"}"
#define ANSWER(t) "{\"parameters\":{\"text\":\"" t "\"}}|"

TEST(answers)
{
	struct lab l;
	int fd;

	lab_up(&l);
	fd = client(&l);
	put(fd, ECHO("a"));
	eq_str(answer(&l, fd), ANSWER("a"), "a call is answered");
	put(fd, ECHO("b"));
	put(fd, ECHO("c"));
	eq_str(answer(&l, fd), ANSWER("b") ANSWER("c"), "two at once are answered in order");
	for (const char *p = ECHO("slow");; p++) {
		send(fd, p, 1, MSG_NOSIGNAL);
		settle(&l);
		if (!*p)
			break;
	}
	eq_str(answer(&l, fd), ANSWER("slow"), "one that comes byte by byte too");
	put(fd, "{\"method\":\"org.test.T.Echo\",\"parameters\":{\"text\":\"x\"},\"oneway\":true}");
	eq_str(answer(&l, fd), "", "a oneway call has no answer");
	eq_int(seen.calls, 5, "but was done");
	put(fd, "{\"method\":\"org.test.T.Many\",\"more\":true}");
	eq_str(answer(&l, fd), "{\"parameters\":{\"n\":1},\"continues\":true}|"
	       "{\"parameters\":{\"n\":2},\"continues\":true}|{\"parameters\":{\"n\":3}}|",
	       "several replies");
	close(fd);
	settle(&l);
	eq_int(server_clients(l.server), 0, "who hangs up is forgotten");
	lab_down(&l);
}

TEST(refuses)
{
	static const struct {
		const char *call, *error;
	} rows[] = {
		{ "{\"method\":\"org.test.T.Echo\",\"parameters\":{\"text\":5}}",
		  "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"text\"}}|" },
		{ "{\"method\":\"org.test.T.Echo\",\"parameters\":{\"text\":\"a\",\"more\":1}}",
		  "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"more\"}}|" },
		{ CALL("Echo"),
		  "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"text\"}}|" },
		{ CALL("Nothing"),
		  "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"org.test.T.Nothing\"}}|" },
		{ CALL("Missing"),
		  "{\"error\":\"org.varlink.service.MethodNotImplemented\",\"parameters\":{\"method\":\"org.test.T.Missing\"}}|" },
		{ "{\"method\":\"org.other.X\"}",
		  "{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":\"org.other\"}}|" },
		{ "{\"method\":\"nodots\"}",
		  "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"nodots\"}}|" },
		{ CALL("Many"), "{\"error\":\"org.varlink.service.ExpectedMore\",\"parameters\":{}}|" },
		{ CALL("Fds"), "{\"error\":\"org.test.T.Failed\",\"parameters\":{\"status\":2,\"error\":"
			       "\"Fds: 2 file descriptors must come with the call, not 0\",\"hint\":\"\"}}|" },
		{ CALL("Bad"), "{\"error\":\"org.test.T.Failed\",\"parameters\":{\"status\":1,\"error\":"
			       "\"Bad: vpsd made a reply that its interface does not allow\",\"hint\":\"\"}}|" },
	};
	struct lab l;
	int fd;

	lab_up(&l);
	setenv("VPS_LOG", "none", 1);
	fd = client(&l);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		put(fd, rows[i].call);
		eq_str(answer(&l, fd), rows[i].error, "%s", rows[i].call);
	}
	close(fd);
	lab_down(&l);
}

TEST(service)
{
	struct lab l;
	int fd;

	lab_up(&l);
	fd = client(&l);
	put(fd, "{\"method\":\"org.varlink.service.GetInfo\"}");
	ok(strstr(answer(&l, fd), "\"interfaces\":[\"org.varlink.service\",\"org.test.T\"]"),
	   "GetInfo names the interfaces");
	put(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
		"\"parameters\":{\"interface\":\"org.test.T\"}}");
	ok(strstr(answer(&l, fd), "interface org.test.T\\nmethod Echo"), "the description");
	put(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
		"\"parameters\":{\"interface\":\"org.none\"}}");
	ok(strstr(answer(&l, fd), "InterfaceNotFound"), "of no other interface");
	close(fd);
	lab_down(&l);
}

TEST(hostile_messages)
{
	static const char *const rows[] = {
		"", "x", "{}", "[]", "null", "{\"method\":5}", "{\"method\":\"a.b\",\"parameters\":[]}",
		"{\"method\":\"a.b\",\"more\":\"yes\"}", "{\"method\":\"a.b\",\"extra\":true}",
		"{\"method\":\"a.b\",\"method\":\"a.c\"}", "{\"method\":\"a.b\",\"upgrade\":true}",
		"{\"method\":\"a.\\ud800b\"}", "{\"method\":\"a.\xff\xff\"}",
	};
	struct lab l;
	int good;

	lab_up(&l);
	good = client(&l);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int fd = client(&l);

		put(fd, rows[i]);
		eq_str(answer(&l, fd), "(closed)", "closed: %s", rows[i]);
		close(fd);
	}
	put(good, ECHO("still"));
	eq_str(answer(&l, good), ANSWER("still"), "nobody else is hurt");
	close(good);
	lab_down(&l);
}

TEST(a_message_without_end)
{
	char junk[65536];
	size_t sent = 0;
	struct lab l;
	ssize_t n = 0;
	int fd;

	lab_up(&l);
	fd = client(&l);
	memset(junk, 'x', sizeof(junk));
	while (sent < 2 * SERVER_INPUT_MAX && (n = send(fd, junk, sizeof(junk), MSG_NOSIGNAL)) > 0) {
		sent += (size_t)n;
		settle(&l);
	}
	ok(n < 0 && errno != EAGAIN, "the connection is closed");
	ok(sent <= SERVER_INPUT_MAX + 4 * sizeof(junk), "after %zu bytes", sent);
	eq_int(server_clients(l.server), 0, "and forgotten");
	close(fd);
	lab_down(&l);
}

TEST(a_client_that_does_not_read)
{
	unsigned before, sent = 0;
	struct lab l;
	int fd, good;

	lab_up(&l);
	before = open_fds();
	fd = client(&l);
	good = client(&l);
	while (sent < 10000 && send(fd, CALL("Big"), sizeof(CALL("Big")), MSG_NOSIGNAL) > 0) {
		sent++;
		settle(&l);
	}
	ok(sent < 10000, "its calls wait in its own socket: %u were taken", sent);
	put(good, ECHO("still"));
	eq_str(answer(&l, good), ANSWER("still"), "others are answered");
	close(fd);
	close(good);
	settle(&l);
	eq_int(server_clients(l.server), 0, "it is forgotten when it goes");
	eq_int(open_fds(), before, "no fd stays behind");
	lab_down(&l);
}

/* As many as there may be of one user, or until the connection is closed. */
static size_t keep_calls(struct lab *l, int fd, const char *message)
{
	size_t n = 0;

	for (; n < ARRAY_SIZE(kept.call) && STREQ(answer(l, fd), ""); n++) {
		size_t len = strlen(message) + 1, sent = 0;

		while (sent < len) {
			ssize_t more = send(fd, message + sent, len - sent, MSG_NOSIGNAL);

			if (more < 0 && errno != EAGAIN)
				break;
			sent += more > 0 ? (size_t)more : 0;
			settle(l);
		}
	}
	return n;
}

TEST(calls_that_nobody_waits_for)
{
	static char large[SERVER_INPUT_MAX];
	struct lab l;
	int fd, other, root;

	if (getuid() != 0)
		skip("only root can be others, too");
	lab_up(&l);
	setenv("VPS_LOG", "none", 1);
	log_init("test");
	fd = client_of(&l, 1001);
	eq_int(keep_calls(&l, fd, "{\"method\":\"org.test.T.Keep\",\"oneway\":true}"), SERVER_UID_CALLS_MAX + 1,
	       "a user has so many, and loses the connection with the next one");
	close(fd);
	fd = client_of(&l, 1001);
	put(fd, ECHO("x"));
	eq_str(answer(&l, fd), "(closed)", "he has no more by another connection");
	close(fd);
	other = client_of(&l, 1002);
	put(other, ECHO("b"));
	eq_str(answer(&l, other), ANSWER("b"), "another user has");
	root = client_of(&l, 0);
	put(root, ECHO("r"));
	eq_str(answer(&l, root), ANSWER("r"), "and so has root");
	while (kept.count)
		server_reply(kept.call[--kept.count], NULL, NULL, 0);

	snprintf(large, sizeof(large), "{\"method\":\"org.test.T.Keep\",\"oneway\":true,\"parameters\":{\"text\":\"%01048576d\"}}", 1);
	ok(keep_calls(&l, other, large) < 6, "large ones are fewer");
	while (kept.count)
		server_reply(kept.call[--kept.count], NULL, NULL, 0);
	close(other);
	close(root);
	lab_down(&l);
}

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
	setenv("VPS_LOG", "none", 1);
	log_init("test");
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
	setenv("VPS_LOG", "none", 1);
	log_init("test");
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
	setenv("VPS_LOG", "none", 1);
	log_init("test");
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

TEST(cancelling)
{
	struct lab l;
	int fd;

	lab_up(&l);
	fd = client(&l);
	put(fd, CALL("Later"));
	settle(&l);
	ok(seen.later, "a call is under way");
	put(fd, ECHO("next"));
	settle(&l);
	eq_int(seen.calls, 0, "the next one waits");
	server_reply(seen.later, json_pack("{s:i}", "n", 7), NULL, 0);
	eq_str(answer(&l, fd), "{\"parameters\":{\"n\":7}}|" ANSWER("next"), "both are answered");

	put(fd, CALL("Later"));
	settle(&l);
	shutdown(fd, SHUT_WR);
	eq_str(answer(&l, fd), "{\"error\":\"org.test.T.Failed\",\"parameters\":{\"status\":10,"
	       "\"error\":\"undone\",\"hint\":\"\"}}|(closed)", "half a hang-up cancels, and is answered");
	eq_int(seen.cancelled, 1, "once");
	close(fd);

	fd = client(&l);
	put(fd, CALL("Later"));
	settle(&l);
	close(fd);
	settle(&l);
	eq_int(seen.cancelled, 2, "so does hanging up");
	eq_int(server_clients(l.server), 0, "and it is forgotten");

	fd = client(&l);
	put(fd, CALL("Later"));
	settle(&l);
	call_on_cancel(seen.later, NULL, NULL);
	close(fd);
	settle(&l);
	server_reply(seen.later, json_pack("{s:i}", "n", 1), NULL, 0);
	eq_int(server_clients(l.server), 0, "an answer to nobody does no harm");
	lab_down(&l);
}

TEST(the_server_goes_first)
{
	struct server_call *left;
	struct lab l;
	int fd;

	lab_up(&l);
	fd = client(&l);
	put(fd, CALL("Later"));
	settle(&l);
	left = seen.later;
	call_on_cancel(left, NULL, NULL);
	server_free(l.server);
	l.server = NULL;
	server_reply(left, json_pack("{s:i}", "n", 1), NULL, 0);
	eq_str(answer(&l, fd), "(closed)", "a call outlives it");
	close(fd);
	lab_down(&l);
}

TEST(many_clients)
{
	int fds[SERVER_ROOT_MAX + 1], n = 0, pair[2], r = 0;
	struct lab l;

	lab_up(&l);
	/* As root these are root's; as another user SERVER_UID_MAX bounds them. */
	while (n < (int)ARRAY_SIZE(fds)) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			break;
		r = server_add(l.server, pair[1]);
		fds[n++] = pair[0];
		if (r < 0)
			break;
	}
	if (r == 0) {
		diag("%d connections: the limit of fds came first", n);
		ok(n > 64, "many connections");
	} else {
		eq_int(r, -EUSERS, "one too many is refused");
	}
	while (n > 0)
		close(fds[--n]);
	settle(&l);
	eq_int(server_clients(l.server), 0, "all are forgotten");
	lab_down(&l);
}
