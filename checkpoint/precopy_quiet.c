/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Files in memory that were certainly not written to since they were read, so that the stop need not look at their pages.
 * The time of a change (ctime) alone does not tell: write(2) sets it before it writes, and who has mapped a file may write
 * without it being set. But whoever does either has the file open for writing, or has mapped it by a file that was: until
 * that is over nobody can have a lease for reading (i_writecount, F_SETLEASE), and when it is, inotify(7) tells
 * (IN_CLOSE_WRITE; in the kernel that comes before the count falls). So where no such end was told of since a file was noted,
 * and a lease could be had now, there was nobody in between. truncate(2), which takes a path, sets the time.
 *
 * Two things are beyond that: memory that is pinned when its mapping goes (a disk writes to it, O_DIRECT), and the files of an
 * overlay above the file system, of which no end is told (FMODE_NONOTIFY). Where there may be such, nothing is quiet. A memfd
 * is not counted as open for writing by who has made it, and so never is (6.18).
 *
 * Who opens a file for writing in the microsecond of a lease waits for that long.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/mountinfo.h"
#include "checkpoint/precopy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define SPACES_MAX 64 /* mount namespaces; with more of them nothing is quiet */

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_earlier(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Whose who asks for it is told nothing by a signal that is ignored. */
static bool has_no_writer(int fd)
{
	if (fcntl(fd, F_SETSIG, SIGURG) < 0 || fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return false;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return true;
}

/* Other than the VPS's own root. */
static bool has_overlays(pid_t pid, dev_t root)
{
	cleanup_free struct ckpt_mountinfo *m = NULL;
	cleanup_free char *text = NULL;
	char path[64];
	struct err ignored;
	size_t n = 0;
	bool has = false;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	if (fd_read_file_at(AT_FDCWD, path, CKPT_MOUNTINFO_MAX, &text, NULL) < 0)
		return errno != ENOENT;
	if (ckpt_mountinfo_parse(text, &m, &n, &ignored) < 0)
		return true;
	for (size_t i = 0; i < n; i++)
		has |= STREQ(m[i].type, "overlay") && m[i].dev != root;
	return has;
}

static bool may_have_overlays(const struct ckpt_precopy *p)
{
	ino_t seen[SPACES_MAX];
	size_t count = 0, k;
	struct stat root, st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root", (int)proc_live_tid(p->init));
	if (stat(path, &root) < 0)
		return true;
	for (size_t i = 0; i < p->count; i++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)p->procs[i]->tid);
		if (!p->procs[i]->there || stat(path, &st) < 0)
			continue;
		for (k = 0; k < count && seen[k] != st.st_ino; k++)
			;
		if (k < count)
			continue;
		if (count == SPACES_MAX || has_overlays(p->procs[i]->tid, root.st_dev))
			return true;
		seen[count++] = st.st_ino;
	}
	return false;
}

static void tell(struct ckpt_precopy *p, const struct inotify_event *ev)
{
	for (size_t i = 0; i < p->shared_count; i++)
		if ((ev->mask & IN_Q_OVERFLOW) || p->shared[i].watch == ev->wd)
			p->shared[i].disturbed = true;
}

static void listen_to(struct ckpt_precopy *p)
{
	_Alignas(struct inotify_event) char buf[KIB(16)];
	ssize_t n;

	while (p->closes >= 0 && (n = read(p->closes, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const struct inotify_event *)(buf + at);

			tell(p, ev);
			at += (ssize_t)(sizeof(*ev) + ev->len);
		}
}

void ckpt_quiet_round(struct ckpt_precopy *p)
{
	bool direct = false;

	if (!p->stopped) {
		for (size_t i = 0; i < p->count; i++)
			direct |= p->procs[i]->there && p->procs[i]->direct;
		p->guarded = direct || p->rings || may_have_overlays(p);
	}
	listen_to(p);
}

static bool is_watched(struct ckpt_precopy *p, struct shared *s)
{
	char path[64];

	if (p->closes < 0)
		p->closes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->watch < 0 && p->closes >= 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
		s->watch = inotify_add_watch(p->closes, path, IN_CLOSE_WRITE);
	}
	return s->watch >= 0;
}

bool ckpt_quiet_note(struct ckpt_precopy *p, struct shared *s)
{
	struct timespec now;
	struct stat st;

	if (!s->place || p->stopped || p->guarded || !is_watched(p, s))
		return false;
	s->disturbed = false;
	/* Times are those of the last tick: of a change in this one the next would not be told (before Linux 6.13). */
	if (clock_gettime(CLOCK_REALTIME_COARSE, &now) < 0 || fstat(s->fd, &st) < 0 || !is_earlier(&st.st_ctim, &now))
		return false;
	s->changed = st.st_ctim;
	s->length = st.st_size;
	return true;
}

bool ckpt_quiet_holds(const struct ckpt_precopy *p, const struct shared *s)
{
	struct stat st;

	return s->quiet && !p->guarded && !s->disturbed && has_no_writer(s->fd) && fstat(s->fd, &st) == 0 &&
	       st.st_size == s->length && is_same_time(&st.st_ctim, &s->changed);
}

void ckpt_quiet_forget(struct ckpt_precopy *p, struct shared *s)
{
	if (s->watch >= 0)
		inotify_rm_watch(p->closes, s->watch);
	s->watch = -1;
	s->quiet = false;
}
