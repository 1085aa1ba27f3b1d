/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_GUEST_H
#define TESTS_CHECKPOINT_GUEST_H

/*
 * A test program is process 1 of a VPS: it sets its object up, says that it is ready, waits (all of it
 * is saved, killed and restored meanwhile, which it must not notice), and verifies.
 *
 *	int main(void)
 *	{
 *		int fd = eventfd(7, 0);
 *
 *		wait_for_restore();
 *		CHECK(read(fd, &v, 8) == 8 && v == 7);
 *		return done();
 *	}
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

static int guest_failed;

#define CHECK(cond)                                                                         \
	do {                                                                                \
		if (!(cond)) {                                                              \
			dprintf(1, "failed: %s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, \
				errno);                                                     \
			guest_failed = 1;                                                   \
		}                                                                           \
	} while (0)

/* The line that was typed on the console. */
static char guest_line[64];

__attribute__((unused)) static void wait_for_line(void)
{
	size_t n = 0;
	char c;

	memset(guest_line, 0, sizeof(guest_line));
	do {
		if (read(0, &c, 1) != 1) {
			dprintf(1, "failed: read of the console, errno %d\n", errno);
			exit(1);
		}
		if (n < sizeof(guest_line) - 1 && c != '\n')
			guest_line[n++] = c;
	} while (c != '\n');
}

__attribute__((unused)) static void wait_for_restore(void)
{
	dprintf(1, "ready\n");
	wait_for_line();
}

__attribute__((unused)) static int done(void)
{
	dprintf(1, guest_failed ? "bad\n" : "good\n");
	return guest_failed;
}

__attribute__((unused)) static void put_text(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CREAT, 0644);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

__attribute__((unused)) static bool has_text(const char *file, const char *text)
{
	char now[64] = { 0 };
	int fd = open(file, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, now, sizeof(now) - 1);

	close(fd);
	return n == (ssize_t)strlen(text) && strcmp(now, text) == 0;
}

/* A signal that is pending, and blocked, is taken. */
__attribute__((unused)) static bool take_signal(int signal, siginfo_t *si)
{
	struct timespec none = { 0, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	return sigtimedwait(&set, si, &none) == signal;
}

/* In a mount namespace of the caller's. With its masks nobody may mount /proc anew but who owns the namespace
 * (mount_namespaces(7)). */
__attribute__((unused)) static void unmask_proc(void)
{
	char line[4096], at[1024];
	FILE *f = fopen("/proc/self/mountinfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d %*d %*s %*s %1023s", at) == 1 && strncmp(at, "/proc/", 6) == 0)
			CHECK(umount2(at, MNT_DETACH) == 0);
	fclose(f);
}

/* What it takes of all memory, shared pages in part. */
__attribute__((unused)) static long pss(pid_t pid)
{
	char path[64], line[256];
	long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Pss: %ld", &kib);
	if (f)
		fclose(f);
	return kib;
}

/* Mappings of the caller: a refused dump leaves none of its own. */
__attribute__((unused)) static size_t count_maps(void)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	size_t lines = 0;
	char c;

	while (read(fd, &c, 1) == 1)
		lines += c == '\n';
	close(fd);
	return lines;
}

#endif
