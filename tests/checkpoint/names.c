/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Names of unix sockets that lead nowhere, elsewhere or through something by the time that they are saved: relative
 * ones, with `..` (above the root, too), through links, moved, deleted, taken over, in a chroot and in another mount
 * namespace, of full length. Each as a server of datagrams with a client and something queued, and as a listener with
 * a connection and one that waits. In the directories nothing is there afterwards that was not before.
 */
#include "tests/checkpoint/guest.h"

#include <dirent.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define LONG "/root/long/" /* and as many letters as there is room for */

struct server {
	int datagram, client, listener, accepted, connected, waiting;
};

static socklen_t address(struct sockaddr_un *sa, const char *name, const char *tail)
{
	char full[256];
	size_t len;

	snprintf(full, sizeof(full), "%s%s", name, tail);
	len = strlen(full);
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(sa->sun_path, full, len > sizeof(sa->sun_path) ? sizeof(sa->sun_path) : len);
	return (socklen_t)(sizeof(sa->sun_family) + (len < sizeof(sa->sun_path) ? len + 1 : sizeof(sa->sun_path)));
}

static int use(int (*call)(int, const struct sockaddr *, socklen_t), int type, const char *name, const char *tail)
{
	struct sockaddr_un sa;
	socklen_t len = address(&sa, name, tail);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (call(fd, (struct sockaddr *)&sa, len) == 0)
		return fd;
	close(fd);
	return -1;
}

static void expect_name(int fd, int (*get)(int, struct sockaddr *, socklen_t *), const char *name, const char *tail)
{
	struct sockaddr_un sa, now = { 0 };
	socklen_t len = sizeof(now);

	address(&sa, name, tail);
	CHECK(get(fd, (struct sockaddr *)&now, &len) == 0);
	CHECK(strncmp(sa.sun_path, now.sun_path, sizeof(sa.sun_path)) == 0);
	if (strncmp(sa.sun_path, now.sun_path, sizeof(sa.sun_path)) != 0)
		dprintf(1, "%.108s is not %.108s\n", now.sun_path, sa.sun_path);
}

static struct server serve(const char *name)
{
	struct server s;

	s.datagram = use(bind, SOCK_DGRAM, name, "d");
	s.client = use(connect, SOCK_DGRAM, name, "d");
	CHECK(s.datagram >= 0 && s.client >= 0 && send(s.client, "queued", 6, 0) == 6);
	s.listener = use(bind, SOCK_STREAM, name, "s");
	CHECK(s.listener >= 0 && listen(s.listener, 5) == 0);
	s.connected = use(connect, SOCK_STREAM, name, "s");
	s.accepted = accept(s.listener, NULL, NULL);
	s.waiting = use(connect, SOCK_STREAM, name, "s");
	CHECK(s.connected >= 0 && s.accepted >= 0 && s.waiting >= 0);
	return s;
}

static void check_served(const struct server *s, const char *name)
{
	char t[16] = { 0 };
	int fd;

	CHECK(recv(s->datagram, t, sizeof(t), MSG_DONTWAIT) == 6 && memcmp(t, "queued", 6) == 0);
	CHECK(send(s->client, "again", 5, 0) == 5 && recv(s->datagram, t, sizeof(t), MSG_DONTWAIT) == 5);
	expect_name(s->datagram, getsockname, name, "d");
	expect_name(s->client, getpeername, name, "d");
	CHECK(write(s->connected, "c", 1) == 1 && recv(s->accepted, t, 9, MSG_DONTWAIT) == 1);
	fcntl(s->listener, F_SETFL, O_NONBLOCK);
	fd = accept(s->listener, NULL, NULL);
	CHECK(fd >= 0 && write(s->waiting, "w", 1) == 1 && recv(fd, t, 9, MSG_DONTWAIT) == 1);
	close(fd);
	expect_name(s->listener, getsockname, name, "s");
	expect_name(s->accepted, getsockname, name, "s");
	expect_name(s->connected, getpeername, name, "s");
}

/* Who goes there now is heard by these two, or by nobody. */
static void check_path(const struct server *s, const char *path, bool theirs)
{
	int d = use(connect, SOCK_DGRAM, path, "d"), l = use(connect, SOCK_STREAM, path, "s"), fd;
	char t[16];

	fd = accept(s->listener, NULL, NULL);
	CHECK((l >= 0 && fd >= 0) == theirs);
	CHECK((d >= 0 && send(d, "new", 3, 0) == 3 && recv(s->datagram, t, sizeof(t), MSG_DONTWAIT) == 3) == theirs);
	if ((l >= 0 && fd >= 0) != theirs)
		dprintf(1, "of %s\n", path);
	close(d);
	close(l);
	close(fd);
}

static void on_both(const char *at, int (*fn)(const char *, const char *), const char *to)
{
	char from[256], other[256];

	for (const char *tail = "ds"; *tail; tail++) {
		snprintf(from, sizeof(from), "%s%c", at, *tail);
		snprintf(other, sizeof(other), "%s%c", to, *tail);
		CHECK(fn(from, other) == 0);
	}
}

static int delete_one(const char *path, const char *other)
{
	(void)other;
	return unlink(path);
}

static void moved(const char *at)
{
	(void)at;
	on_both("/root/was", rename, "/root/a/is");
}

static void deleted(const char *at)
{
	on_both(at, delete_one, "");
}

/* By somebody who has ended: the file is there, and nobody hears. */
static void stale(const char *at)
{
	deleted(at);
	close(use(bind, SOCK_DGRAM, at, "d"));
	close(use(bind, SOCK_STREAM, at, "s"));
}

static int next_one, next_listener;

static void taken(const char *at)
{
	for (int i = 0; i < 2; i++) {
		deleted(at);
		next_one = use(bind, SOCK_DGRAM, at, "d");
		next_listener = use(bind, SOCK_STREAM, at, "s");
		CHECK(listen(next_listener, 5) == 0);
	}
}

static void link_gone(const char *at)
{
	(void)at;
	CHECK(unlink("/root/link") == 0);
}

static void link_elsewhere(const char *at)
{
	(void)at;
	CHECK(unlink("/root/other") == 0 && symlink("/root/a", "/root/other") == 0);
}

static void directory_gone(const char *at)
{
	deleted(at);
	CHECK(chdir("/") == 0 && rmdir("/root/gone") == 0);
}

static void side_gone(const char *at)
{
	(void)at;
	CHECK(rmdir("/root/a/sub") == 0);
}

static void closed_by(const char *at)
{
	(void)at;
	close(77);
}

/* From `dir`, by `name`; then something happens to it; it is at `path` (NULL: nothing leads to it any more). */
static const struct {
	const char *dir, *name, *path;
	void (*then)(const char *at);
} places[] = {
	{ "/root/a/b", "../up", "/root/a/up", NULL },
	{ "/root/a/b", "../../../../../climb", "/climb", NULL },
	{ "/root/a", "./dot", "/root/a/dot", NULL },
	{ "/root/a", "sub/../side", "/root/a/side", side_gone },
	{ "/root/a", "..//a/./twice", "/root/a/twice", NULL },
	{ "/", "/root/kept/via", "/root/deep/er/via", NULL },
	{ "/", "/root/link/via", "/root/deep/via", link_gone },
	{ "/", "/root/other/way", "/root/deep/way", link_elsewhere },
	{ "/", "/root/was", "/root/a/is", moved },
	{ "/root/a", "../b/was deleted", NULL, deleted },
	{ "/", "/root/stale", NULL, stale },
	{ "/root/b", "../b/taken", NULL, taken },
	{ "/root/gone", "in", NULL, directory_gone },
	{ "/", "/proc/self/fd/77/by fd", "/root/b/by fd", closed_by },
	{ "/root/b", "../../run/../run/tmpfs", "/run/tmpfs", NULL },
};

#define COUNT (sizeof(places) / sizeof(*places))

static struct server servers[COUNT];

static void set_places(void)
{
	static const char *const dirs[] = { "/root/a", "/root/a/b", "/root/a/sub", "/root/b", "/root/deep", "/root/deep/er",
					    "/root/gone" };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		CHECK(mkdir(dirs[i], 0755) == 0);
	CHECK(symlink("/root/deep/er", "/root/kept") == 0 && symlink("deep", "/root/link") == 0 &&
	      symlink("deep", "/root/other") == 0);
	CHECK(dup2(open("/root/b", O_PATH), 77) == 77);
	for (size_t i = 0; i < COUNT; i++) {
		CHECK(chdir(places[i].dir) == 0);
		servers[i] = serve(places[i].name);
		if (places[i].then)
			places[i].then(places[i].name);
	}
	CHECK(chdir("/") == 0);
}

static void check_places(void)
{
	char t[8];

	for (size_t i = 0; i < COUNT; i++) {
		int failed = guest_failed;

		guest_failed = 0;
		check_served(&servers[i], places[i].name);
		if (places[i].path)
			check_path(&servers[i], places[i].path, true);
		else if (places[i].name[0] == '/')
			check_path(&servers[i], places[i].name, false);
		if (guest_failed)
			dprintf(1, "that was %s\n", places[i].name);
		guest_failed |= failed;
	}
	CHECK(chdir("/root/b") == 0);
	CHECK(send(use(connect, SOCK_DGRAM, "taken", "d"), "x", 1, 0) == 1 && recv(next_one, t, 8, MSG_DONTWAIT) == 1);
	fcntl(next_listener, F_SETFL, O_NONBLOCK);
	CHECK(use(connect, SOCK_STREAM, "taken", "s") >= 0 && accept(next_listener, NULL, NULL) >= 0);
	CHECK(chdir("/") == 0);
}

/* A process with another root, and one with other mounts. */

static int jail[2], mounts[2];

static void in_jail(int fd)
{
	struct server climbs, absolute;
	char c;

	CHECK(chroot("/root/jail") == 0 && chdir("/in") == 0);
	climbs = serve("../../../from jail");
	absolute = serve("/in/absolute");
	CHECK(write(fd, "r", 1) == 1 && read(fd, &c, 1) == 1);
	check_served(&climbs, "../../../from jail");
	check_served(&absolute, "/in/absolute");
	check_path(&climbs, "/from jail", true);
	check_path(&absolute, "absolute", true);
	CHECK(access("/from jaild", F_OK) == 0);
	_exit(guest_failed);
}

static void in_mounts(int fd)
{
	struct server inside, covered;
	char c;

	CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/root/mnt", "tmpfs", 0, NULL) == 0);
	CHECK(mkdir("/root/mnt/x", 0755) == 0 && chdir("/root/mnt/x") == 0);
	inside = serve("../inside");
	covered = serve("/root/mnt/x/covered");
	CHECK(mount("none", "/root/mnt/x", "tmpfs", 0, NULL) == 0);
	CHECK(write(fd, "r", 1) == 1 && read(fd, &c, 1) == 1);
	check_served(&inside, "../inside");
	check_served(&covered, "/root/mnt/x/covered");
	check_path(&inside, "/root/mnt/inside", true);
	check_path(&covered, "/root/mnt/x/covered", false);
	_exit(guest_failed);
}

static int start(void (*fn)(int fd), int pair[2])
{
	char c;
	int pid;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	pid = fork();
	if (pid == 0)
		fn(pair[1]);
	close(pair[1]);
	CHECK(read(pair[0], &c, 1) == 1);
	return pid;
}

static void end(int pid, int pair[2])
{
	int status;

	CHECK(write(pair[0], "g", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* Names of full length, and abstract ones of any bytes. */

static int full, full_client, full_sender, dead, abstract[3];
static char full_name[109];
static const char *const abstract_names[] = { "\0a\0b\0", "\0\0\0\0\0", "\0../../x" };
static const socklen_t abstract_sizes[] = { 5, 5, 8 };

static int bind_abstract(int i)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	memcpy(sa.sun_path, abstract_names[i], abstract_sizes[i]);
	CHECK(bind(fd, (struct sockaddr *)&sa, 2 + abstract_sizes[i]) == 0);
	return fd;
}

static void set_lengths(void)
{
	int fd;

	memset(full_name, 'x', 108);
	memcpy(full_name, LONG, strlen(LONG));
	CHECK(mkdir("/root/long", 0755) == 0);
	full = use(bind, SOCK_DGRAM, full_name, "");
	full_client = use(connect, SOCK_DGRAM, full_name, "");
	CHECK(full >= 0 && full_client >= 0);
	full_name[107] = 'y';
	full_sender = use(bind, SOCK_DGRAM, full_name, "");
	full_name[107] = 'x';
	CHECK(full_sender >= 0);
	/* Two of who has ended, one of who has not. */
	dead = use(bind, SOCK_DGRAM, "/root/long/../receiver", "");
	fd = use(bind, SOCK_DGRAM, "/root/dead", "");
	for (int i = 0; i < 3; i++) {
		struct sockaddr_un sa;
		socklen_t len = address(&sa, "/root/receiver", "");

		CHECK(sendto(i < 2 ? fd : full_sender, "m", 1, 0, (struct sockaddr *)&sa, len) == 1);
	}
	close(fd);
	for (int i = 0; i < 3; i++)
		abstract[i] = bind_abstract(i);
}

static void check_lengths(void)
{
	struct sockaddr_un sa;
	socklen_t len;
	char t[8];

	expect_name(full, getsockname, full_name, "");
	CHECK(send(full_client, "f", 1, 0) == 1 && recv(full, t, 8, MSG_DONTWAIT) == 1);
	CHECK(send(use(connect, SOCK_DGRAM, full_name, ""), "g", 1, 0) == 1 && recv(full, t, 8, MSG_DONTWAIT) == 1);
	for (int i = 0; i < 3; i++) {
		len = sizeof(sa);
		memset(&sa, 0, sizeof(sa));
		CHECK(recvfrom(dead, t, 8, MSG_DONTWAIT, (struct sockaddr *)&sa, &len) == 1);
		CHECK(i < 2 ? strcmp(sa.sun_path, "/root/dead") == 0 :
			      len == 111 && memcmp(sa.sun_path, full_name, 107) == 0 && sa.sun_path[107] == 'y');
	}
	for (int i = 0; i < 3; i++) {
		len = sizeof(sa);
		CHECK(getsockname(abstract[i], (struct sockaddr *)&sa, &len) == 0 && len == 2 + abstract_sizes[i] &&
		      memcmp(sa.sun_path, abstract_names[i], abstract_sizes[i]) == 0);
	}
}

/* Of all that lies in directories. */
static size_t sum_names(void)
{
	static const char *const dirs[] = { "/", "/root", "/root/a", "/root/a/b", "/root/b", "/root/deep", "/root/deep/er",
					    "/root/jail", "/root/jail/in", "/root/long", "/root/mnt", "/run", "/tmp" };
	size_t n = 0;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		DIR *d = opendir(dirs[i]);
		const struct dirent *de;

		while ((de = readdir(d)))
			for (const char *p = de->d_name; *p; p++)
				n += (size_t)*p * (i + 1);
		closedir(d);
	}
	return n;
}

int main(void)
{
	size_t entries;
	int a, b;

	set_places();
	set_lengths();
	CHECK(mkdir("/root/jail", 0755) == 0 && mkdir("/root/jail/in", 0755) == 0 && mkdir("/root/mnt", 0755) == 0);
	a = start(in_jail, jail);
	b = start(in_mounts, mounts);
	entries = sum_names();
	wait_for_restore();
	CHECK(sum_names() == entries);
	check_places();
	check_lengths();
	end(a, jail);
	end(b, mounts);
	return done();
}
