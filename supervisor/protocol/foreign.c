/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/foreign.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define MOUNTS_MAX MIB(16)

/* In mountinfo (proc_pid_mountinfo(5)): "ID … - TYPE …". statfs(2) would ask the file system. */
static bool line_is_good(char *line)
{
	const char *type = strstr(line, " - ");

	return type && strncmp(type + 3, "fuse", 4) != 0;
}

static bool mount_is_good(uint64_t id)
{
	cleanup_free char *text = NULL;
	char *next, *line;

	if (fd_read_file_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTS_MAX, &text, NULL) < 0)
		return false;
	next = text;
	while ((line = strsep(&next, "\n")))
		if (strtoull(line, NULL, 10) == id)
			return line_is_good(line);
	return false; /* of another mount namespace, where it may be FUSE's */
}

bool foreign_is_good(int fd)
{
	struct statx st;

	/* What the kernel has at hand, without asking the file system. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_MNT_ID, &st) < 0)
		return false;
	if (S_ISREG(st.stx_mode) || S_ISDIR(st.stx_mode))
		return mount_is_good(st.stx_mnt_id);
	return S_ISFIFO(st.stx_mode) || S_ISCHR(st.stx_mode);
}

static void *run(void *arg)
{
	close((int)(intptr_t)arg);
	return NULL;
}

void foreign_close(int fd)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, was;
	int r;

	if (fd < 0)
		return;
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, KIB(64));
	pthread_sigmask(SIG_SETMASK, &all, &was);
	r = pthread_create(&thread, &attr, run, (void *)(intptr_t)fd);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	pthread_attr_destroy(&attr);
	if (r != 0)
		log_warn("a client's file stays open: %s", strerrordesc_np(r));
}

void foreign_hang_up(int sock)
{
	char any;

	/* Nothing more comes from here on. */
	shutdown(sock, SHUT_RDWR);
	if (recv(sock, &any, sizeof(any), MSG_PEEK | MSG_DONTWAIT) > 0)
		foreign_close(sock);
	else
		close(sock);
}
