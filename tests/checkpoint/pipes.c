/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Pipes: what is in them, their size, who holds which end, a reader and a writer asleep in them. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

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
	wait_for_restore();
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
	return done();
}
