/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_UNIT_SUPERVISOR_SERVER_LAB_H
#define TESTS_UNIT_SUPERVISOR_SERVER_LAB_H

/* A server of an interface of the tests' own, and clients of it, all in one process. Include it after tap.h. */
#include "supervisor/protocol/server.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define ECHO(t) "{\"method\":\"org.test.T.Echo\",\"parameters\":{\"text\":\"" t "\"}}"
#define CALL(m) "{\"method\":\"org.test.T." m "\"}"
#define ANSWER(t) "{\"parameters\":{\"text\":\"" t "\"}}|"

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

/* What goes wrong on purpose is not logged. */
__attribute__((unused)) static void lab_quiet(void)
{
	setenv("VPS_LOG", "none", 1);
	log_init("test");
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

#endif
