/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/foreign.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "supervisor/protocol/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
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

/*
 * Under way, or waiting: a user has no more threads than connections, all users together have no more than that either, root's
 * included. Who sends more than that waits for himself. The list is everybody's.
 */
struct closing {
	struct closing *next;
	uid_t uid;
	bool served; /* a thread has it */
	size_t count;
	int fds[];
};
static struct closing *closings;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

size_t foreign_closing(uid_t uid, size_t *ret_users)
{
	size_t n = 0;

	*ret_users = 0;
	pthread_mutex_lock(&lock);
	for (const struct closing *c = closings; c; c = c->next) {
		n += c->uid == uid;
		*ret_users += c->uid != 0;
	}
	pthread_mutex_unlock(&lock);
	return n;
}

static bool may_begin(uid_t uid)
{
	size_t all = 0, same = 0;

	for (const struct closing *c = closings; c; c = c->next) {
		all += c->served;
		same += c->served && c->uid == uid;
	}
	return all < SERVER_CLIENTS_MAX && same < SERVER_UID_MAX;
}

/* The oldest one that may begin; or, where its user has as many threads as he may, the newest one of another. With the lock. */
static struct closing *next_one(void)
{
	struct closing *next = NULL;

	for (struct closing *c = closings; c; c = c->next)
		if (!c->served)
			next = c;
	if (!next || may_begin(next->uid))
		return next;
	for (struct closing *c = closings; c; c = c->next)
		if (!c->served && c->uid != next->uid && may_begin(c->uid))
			return c;
	return NULL;
}

/* It is closed: what waited for it is the thread's next one. */
static struct closing *strike(struct closing *c)
{
	struct closing **at = &closings, *next;

	pthread_mutex_lock(&lock);
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	next = next_one();
	if (next)
		next->served = true;
	pthread_mutex_unlock(&lock);
	free(c);
	return next;
}

static void *run(void *arg)
{
	for (struct closing *c = arg; c; c = strike(c))
		for (size_t i = 0; i < c->count; i++)
			close(c->fds[i]);
	return NULL;
}

static int begin(struct closing *c)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, was;
	int r;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, KIB(64));
	pthread_sigmask(SIG_SETMASK, &all, &was);
	r = pthread_create(&thread, &attr, run, c);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	pthread_attr_destroy(&attr);
	return r;
}

void foreign_close(uid_t uid, const int *fds, size_t count)
{
	struct closing *c = malloc(sizeof(*c) + count * sizeof(*fds));
	int r;

	if (!c) {
		log_warn("a client's files stay open: %s", strerrordesc_np(ENOMEM));
		return;
	}
	pthread_mutex_lock(&lock);
	*c = (struct closing){ .next = closings, .uid = uid, .count = count, .served = may_begin(uid) };
	memcpy(c->fds, fds, count * sizeof(*fds));
	closings = c;
	r = c->served ? begin(c) : 0;
	if (r != 0)
		c->served = false;
	pthread_mutex_unlock(&lock);
	/* They stay in the list: they count, and the next thread that is done has them. */
	if (r != 0)
		log_warn("a client's files stay open: %s", strerrordesc_np(r));
}

void foreign_hang_up(uid_t uid, int sock)
{
	char any;

	/* Nothing more comes from here on. */
	shutdown(sock, SHUT_RDWR);
	if (recv(sock, &any, sizeof(any), MSG_PEEK | MSG_DONTWAIT) > 0)
		foreign_close(uid, &sock, 1);
	else
		close(sock);
}
