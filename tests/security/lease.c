/* SPDX-License-Identifier: GPL-2.0-or-later */

/* lease FILE...: holds a lease on each, and gives none back: who opens one waits (fcntl(2), F_SETLEASE). */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	signal(SIGIO, SIG_IGN);
	for (int i = 1; i < argc; i++) {
		int fd = open(argv[i], O_RDWR);

		if (fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
			perror(argv[i]);
			return 1;
		}
	}
	puts("held");
	fflush(stdout);
	for (;;)
		pause();
}
