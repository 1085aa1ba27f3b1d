/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Calls, of good clients and bad ones; supervisor_server_fds.c has what comes with them. */
#include "tests/unit/tap.h"
#include "tests/unit/supervisor_server_lab.h"

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
	lab_quiet();
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
	lab_quiet();
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
