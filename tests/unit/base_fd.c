/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"

#include "base/macro.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

static char top[64];

static int open_top(void)
{
	snprintf(top, sizeof(top), "/tmp/vps-fd-XXXXXX");
	return mkdtemp(top) ? open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -errno;
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

TEST(whole_files)
{
	cleanup_close int dir = open_top();
	cleanup_free char *text = NULL, *bound = NULL, *proc = NULL;
	char big[5000];
	size_t len = 0;

	memset(big, 'x', sizeof(big));
	eq_int(fd_replace_file_at(dir, "f", big, sizeof(big), 0600, true), 0, "written");
	eq_int(fd_read_file_at(dir, "f", 1 << 20, &text, &len), 0, "read");
	eq_int(len, sizeof(big), "all of it");
	ok(text && memcmp(text, big, sizeof(big)) == 0 && text[len] == '\0', "the same, and a NUL");
	eq_int(fd_read_file_at(dir, "f", sizeof(big), &bound, NULL), 0, "exactly the limit");
	eq_int(fd_read_file_at(dir, "f", sizeof(big) - 1, &proc, NULL), -EFBIG, "past the limit");
	eq_int(fd_read_file_at(AT_FDCWD, "/proc/self/status", 1 << 20, &proc, &len), 0,
	       "a file whose size is 0");
	ok(len > 100 && strstr(proc, "Pid:"), "has content");
	eq_int(symlinkat("f", dir, "link"), 0, "a link");
	free(TAKE_PTR(proc));
	eq_int(fd_read_file_at(dir, "link", 1 << 20, &proc, NULL), -ELOOP, "is not followed");
	unlinkat(dir, "f", 0);
	unlinkat(dir, "link", 0);
	rmdir(top);
}

TEST(replacing)
{
	cleanup_close int dir = open_top();
	cleanup_free char *text = NULL;
	struct stat st;

	eq_int(fd_replace_file_at(dir, "f", "one", 3, 0640, false), 0, "new");
	umask(077);
	eq_int(fd_replace_file_at(dir, "f", "two", 3, 0644, true), 0, "again");
	umask(022);
	ok(fstatat(dir, "f", &st, 0) == 0 && (st.st_mode & 07777) == 0644,
	   "the mode is what was asked for, whatever the umask");
	mkdirat(dir, "d", 0755);
	ok(fd_replace_file_at(dir, "d", "x", 1, 0644, false) < 0, "a directory is not replaced");
	ok(fstatat(dir, ".d.new", &st, 0) < 0, "and no temporary file is left");
	eq_int(fd_replace_file_at(dir, "d/f", "deep", 4, 0644, true), 0, "in a sub-directory");
	eq_int(fd_read_file_at(dir, "d/f", 100, &text, NULL), 0, "is there");
	eq_str(text, "deep", "whole");
	eq_int(fd_replace_file_at(dir, "none/f", "x", 1, 0644, true), -ENOENT, "no such directory");
	unlinkat(dir, "d/f", 0);
	unlinkat(dir, "d", AT_REMOVEDIR);
	unlinkat(dir, "f", 0);
	rmdir(top);
}

TEST(control_files)
{
	cleanup_close int dir = open_top();

	eq_int(fd_write_file_at(dir, "none", "1"), -ENOENT, "is never made");
	rmdir(top);
}

TEST(messages_with_fds)
{
	int pair[2], got[4], none[1];
	cleanup_close int a = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int three[3] = { a, a, a };
	char buf[16];
	size_t n;
	unsigned before;

	eq_int(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0, "a pair");
	before = open_fds();
	eq_int(fd_send(pair[0], "hello", 5, three, 3), 5, "three fds sent");
	eq_int(fd_recv(pair[1], buf, sizeof(buf), got, 4, &n), 5, "received");
	eq_int(n, 3, "three came");
	ok(fcntl(got[0], F_GETFD) & FD_CLOEXEC, "close-on-exec");
	for (size_t i = 0; i < n; i++)
		close(got[i]);
	fd_send(pair[0], "x", 1, three, 3);
	eq_int(fd_recv(pair[1], buf, sizeof(buf), got, 2, &n), -EMSGSIZE, "more fds than wanted");
	eq_int(n, 0, "none is handed over");
	fd_send(pair[0], "x", 1, three, 1);
	eq_int(fd_recv(pair[1], buf, sizeof(buf), none, 0, &n), -EMSGSIZE, "fds where none belong");
	fd_send(pair[0], "more than it holds", 18, three, 1);
	eq_int(fd_recv(pair[1], buf, 4, got, 4, &n), -EMSGSIZE, "a packet too long");
	eq_int(open_fds(), before, "no fd is leaked by any of these");
	eq_int(fd_send(pair[0], "x", 1, three, FD_MSG_MAX + 1), -EMSGSIZE, "too many to send");
	close(pair[0]);
	eq_int(fd_recv(pair[1], buf, sizeof(buf), got, 4, &n), 0, "the other end is gone");
	eq_int(fd_send(pair[1], "x", 1, NULL, 0), -EPIPE, "sending says so, without a signal");
	close(pair[1]);
}

TEST(no_room_for_fds)
{
	cleanup_close int a = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int pair[2], got[4], two[2] = { a, a };
	struct rlimit all, few;
	char buf[16] = "";
	size_t n;
	int next;

	eq_int(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0, "a pair");
	next = fcntl(a, F_DUPFD_CLOEXEC, 0);
	close(next);
	getrlimit(RLIMIT_NOFILE, &all);
	few = (struct rlimit){ (rlim_t)next + 1, all.rlim_max };
	setrlimit(RLIMIT_NOFILE, &few);
	fd_send(pair[0], "hello", 5, two, 2);
	eq_int(fd_recv(pair[1], buf, sizeof(buf), got, 4, &n), -EMFILE, "room for one of two");
	eq_int(n, 0, "none is handed over");
	eq_str(buf, "hello", "the bytes are there");
	ok(fcntl(next, F_GETFD) < 0, "the one that came is closed");
	setrlimit(RLIMIT_NOFILE, &all);
	fd_send(pair[0], "again", 5, two, 2);
	eq_int(fd_recv(pair[1], buf, sizeof(buf), got, 4, &n), 5, "received with room");
	for (size_t i = 0; i < n; i++)
		close(got[i]);
	close(pair[0]);
	close(pair[1]);
}

TEST(sealed)
{
	cleanup_close int fd = fd_memfd("t", "text", 4);
	char buf[8] = "";

	eq_int(read(fd, buf, sizeof(buf)), 4, "positioned at its start");
	eq_str(buf, "text", "content");
	eq_int(write(fd, "x", 1), -1, "not writable");
	eq_int(ftruncate(fd, 0), -1, "nor to be cut");
	eq_int(fcntl(fd, F_ADD_SEALS, 0), -1, "nor are its seals to be changed");
}

static unsigned table_size(void)
{
	cleanup_free char *text = NULL;
	const char *at;

	fd_read_file_at(AT_FDCWD, "/proc/self/status", 65536, &text, NULL);
	at = text ? strstr(text, "FDSize:") : NULL;
	return at ? (unsigned)strtoul(at + 7, NULL, 10) : 0;
}

TEST(reserved)
{
	unsigned before = open_fds();

	fd_reserve(1000);
	ok(table_size() >= 1000, "the table has room");
	eq_int(open_fds(), before, "nothing is open for it");
	ok(fcntl(999, F_GETFD) < 0, "up there, too");
}

TEST(flags)
{
	cleanup_close int fd = dup(0), high = fcntl(0, F_DUPFD, 100);

	eq_int(fd_set_cloexec(fd, true), 0, "close-on-exec");
	ok(fcntl(fd, F_GETFD) & FD_CLOEXEC, "on");
	eq_int(fd_set_cloexec(fd, false), 0, "and");
	ok(!(fcntl(fd, F_GETFD) & FD_CLOEXEC), "off");
	eq_int(fd_cloexec_from(100), 0, "all from one up");
	ok(fcntl(high, F_GETFD) & FD_CLOEXEC, "on for those");
	ok(!(fcntl(fd, F_GETFD) & FD_CLOEXEC), "not for those below");
	eq_int(fd_set_nonblock(-1, true), -EBADF, "no fd");
}
