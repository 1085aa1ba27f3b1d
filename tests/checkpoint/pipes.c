/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Pipes: what is in them, their size, who holds which end, a reader and a writer asleep in them; messages
 * (O_DIRECT), pages of a file, memory that was given away. FIFOs: one end or both, with and without
 * contents, with a writer that never came or has left.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int packets[2], pages[2], fifo_both, fifo_reader, fifo_left, fifo_in, fifo_out;

static int fifo(const char *path, int flags)
{
	CHECK(mkfifo(path, 0600) == 0 || errno == EEXIST);
	return open(path, flags | O_NONBLOCK);
}

static short hears(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

/* A log that was given to its user, who opens it again by its name (/dev/stdout). */
static int given[2];

static void give(void)
{
	CHECK(pipe(given) == 0 && fchown(given[1], 1000, 1001) == 0 && fchmod(given[1], 0220) == 0);
	CHECK(write(given[1], "said", 4) == 4);
}

static void check_given(void)
{
	char path[64], got[8];
	struct stat st;
	int status;

	CHECK(fstat(given[0], &st) == 0 && st.st_uid == 1000 && st.st_gid == 1001 && st.st_mode == (S_IFIFO | 0220));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", given[1]);
	if (fork() == 0)
		_exit(setgid(1000) < 0 || setuid(1000) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0 ||
		      open(path, O_WRONLY) < 0 || open(path, O_RDONLY) >= 0);
	CHECK(wait(&status) > 0 && status == 0);
	CHECK(read(given[0], got, sizeof(got)) == 4 && memcmp(got, "said", 4) == 0);
}

static void set_up(void)
{
	int file = open("/root/file", O_RDWR | O_CREAT, 0600), left;
	struct iovec iov;
	loff_t at = 0;

	CHECK(pipe2(packets, O_DIRECT | O_NONBLOCK) == 0);
	CHECK(write(packets[1], "first", 5) == 5 && write(packets[1], "2", 1) == 1 &&
	      write(packets[1], "third", 5) == 5);
	CHECK(pipe(pages) == 0 && write(file, "of a file", 9) == 9);
	CHECK(splice(file, &at, pages[1], NULL, 9, 0) == 9);
	iov.iov_base = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	iov.iov_len = 4096;
	strcpy(iov.iov_base, "given");
	CHECK(vmsplice(pages[1], &iov, 1, SPLICE_F_GIFT) == 4096);
	fifo_both = fifo("/run/both", O_RDWR);
	CHECK(write(fifo_both, "kept", 4) == 4);
	fifo_reader = fifo("/run/reader", O_RDONLY);
	CHECK(hears(fifo_reader) == 0);
	fifo_left = fifo("/root/left", O_RDONLY);
	left = fifo("/root/left", O_WRONLY);
	CHECK(write(left, "bye", 3) == 3);
	close(left);
	fifo_in = fifo("/run/ends", O_RDONLY);
	fifo_out = fifo("/run/ends", O_WRONLY);
	CHECK(write(fifo_out, "through", 7) == 7);
}

static void verify(void)
{
	char got[8192];
	int writer;

	CHECK(read(packets[0], got, 3) == 3 && memcmp(got, "fir", 3) == 0 && read(packets[0], got, 100) == 1);
	CHECK(read(packets[0], got, 100) == 5 && memcmp(got, "third", 5) == 0);
	CHECK(write(packets[1], "ab", 2) == 2 && write(packets[1], "c", 1) == 1 && read(packets[0], got, 9) == 2);
	CHECK((fcntl(packets[1], F_GETFL) & O_DIRECT) && read(packets[0], got, 9) == 1);
	CHECK(read(packets[0], got, 9) < 0 && errno == EAGAIN);
	CHECK(read(pages[0], got, sizeof(got)) == 9 + 4096 && memcmp(got, "of a file", 9) == 0 &&
	      strcmp(got + 9, "given") == 0);
	CHECK(read(fifo_both, got, 9) == 4 && memcmp(got, "kept", 4) == 0 && hears(fifo_both) == 0);
	CHECK(hears(fifo_reader) == 0);
	writer = open("/run/reader", O_WRONLY | O_NONBLOCK);
	CHECK(writer >= 0 && write(writer, "x", 1) == 1 && read(fifo_reader, got, 9) == 1);
	close(writer);
	CHECK(hears(fifo_reader) == POLLHUP);
	CHECK(hears(fifo_left) == (POLLIN | POLLHUP) && read(fifo_left, got, 9) == 3 && memcmp(got, "bye", 3) == 0);
	CHECK(read(fifo_left, got, 9) == 0);
	CHECK(read(fifo_in, got, 9) == 7 && memcmp(got, "through", 7) == 0 && hears(fifo_in) == 0);
	close(fifo_out);
	CHECK(hears(fifo_in) == POLLHUP);
}

int main(void)
{
	int full[2], empty[2], closed[2], len, status;
	char big[70000], got[70000];
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	CHECK(pipe2(full, O_CLOEXEC) == 0 && pipe(empty) == 0 && pipe(closed) == 0);
	CHECK(fcntl(full[1], F_SETPIPE_SZ, 131072) == 131072);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 31);
	CHECK(write(full[1], big, sizeof(big)) == sizeof(big));
	CHECK(write(closed[1], "last", 4) == 4);
	close(closed[1]);
	fcntl(empty[1], F_SETFL, O_NONBLOCK);
	pid = fork();
	if (pid == 0) {
		char c;

		close(empty[1]);
		if (read(empty[0], &c, 1) != 1 || c != 'x')
			_exit(1);
		_exit(read(empty[0], &c, 1) == 0 ? 21 : 2);
	}
	set_up();
	give();
	wait_for_restore();
	verify();
	CHECK(ioctl(full[0], FIONREAD, &len) == 0 && len == sizeof(big));
	CHECK(fcntl(full[0], F_GETPIPE_SZ) == 131072);
	CHECK(fcntl(full[0], F_GETFD) == FD_CLOEXEC && fcntl(empty[0], F_GETFD) == 0);
	for (size_t at = 0; at < sizeof(big);) {
		ssize_t n = read(full[0], got + at, sizeof(got) - at);

		CHECK(n > 0);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	CHECK(memcmp(big, got, sizeof(big)) == 0);
	CHECK(read(closed[0], got, 10) == 4 && memcmp(got, "last", 4) == 0 && read(closed[0], got, 1) == 0);
	CHECK((fcntl(empty[1], F_GETFL) & O_NONBLOCK) && !(fcntl(empty[0], F_GETFL) & O_NONBLOCK));
	close(empty[0]);
	CHECK(write(empty[1], "x", 1) == 1);
	close(empty[1]);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 21);
	check_given();
	return done();
}
