/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An init whose first thread has ended: another counts in a file, and ends on SIGTERM. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_NAME "/srv/n"

static void on_term(int sig)
{
	(void)sig;
	_exit(3);
}

static void *count(void *arg)
{
	(void)arg;
	for (long n = 1;; n++) {
		FILE *f = fopen(FILE_NAME ".new", "we");

		if (!f || fprintf(f, "%ld\n", n) < 0 || fclose(f) != 0 || rename(FILE_NAME ".new", FILE_NAME) < 0)
			_exit(1);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		usleep(10000);
	}
	return NULL;
}

int main(void)
{
	pthread_t t;

	signal(SIGTERM, on_term);
	if (pthread_create(&t, NULL, count, NULL) != 0)
		return 1;
	syscall(SYS_exit, 7);
	return 1;
}
