/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Who gets at shared memory otherwise than by the mappings that are found, so that marks in these do not tell all:
 *
 *   anonymous memory   nobody (fdless.h)
 *   System V memory    shmat(2), which sets the time at which the file behind it was accessed. Nobody has that file open but we do,
 *                      with O_NOATIME: nothing else sets it, and nobody can have it stay
 *   a sealed memfd     nobody: with F_SEAL_FUTURE_WRITE only who has it mapped already writes to it, with F_SEAL_WRITE none
 *                      does (both wait for a write(2) that is under way, and F_SEAL_WRITE for a disk's)
 *   any other memfd    who has it open. write(2), splice(2), fallocate(2) and the like set the time of its change, whoever asks
 *                      for them; a new mapping is written to without that (a page that was read first is writable), but
 *                      to make one sets the time of its access, as for System V memory. Both times the same: nobody has
 *                      written to it but by mappings that have marks. A write that has left a mark sets the time, too,
 *                      so this is for memory that nothing is written to; other memory is read whole, and once that has
 *                      been seen it gets no marks any more.
 *                      A long write(2) sets the time when it begins, and holds the inode's lock until it ends, which is
 *                      asked for after the times were noted and before anything is read.
 *                      Who says O_NOATIME of a memfd may map it unseen, as may who has a disk write to it while he
 *                      unmaps it (O_DIRECT): while there is either it is read whole
 */
#include "base/macro.h"
#include "checkpoint/fdless.h"
#include "checkpoint/precopy_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1 */
#endif
#define SIZE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#define RESTLESS_MAX 2 /* marks are not for nothing: each takes who writes a microsecond */

/* What is no memfd has none. */
static bool has_seals(const struct shared *s, int which)
{
	int seals = s->sysv || ckpt_is_fdless(s->fd) ? -1 : fcntl(s->fd, F_GET_SEALS);

	return seals >= 0 && (seals & (which | SIZE_SEALS)) == (which | SIZE_SEALS);
}

bool ckpt_reach_is_final(const struct shared *s)
{
	return has_seals(s, F_SEAL_WRITE);
}

static bool is_by_times(const struct shared *s)
{
	return !s->sysv && !s->place && !ckpt_is_fdless(s->fd) && !has_seals(s, F_SEAL_FUTURE_WRITE) && ckpt_is_memfd(s->fd);
}

bool ckpt_reach_is_known(const struct shared *s)
{
	return s->sysv || ckpt_is_fdless(s->fd) || has_seals(s, F_SEAL_FUTURE_WRITE) ||
	       (s->by_times && s->restless < RESTLESS_MAX);
}

static bool is_same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_earlier(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/*
 * Times are those of the last tick: of an access in this one the next would not be told. As long as they hold nothing is
 * noted anew: what comes between a look at them and the next one would be lost.
 */
void ckpt_reach_note(struct shared *s)
{
	struct timespec now;
	struct stat st;

	if (s->steady)
		return;
	s->noted = clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 && fstat(s->fd, &st) == 0 &&
		   is_earlier(&st.st_atim, &now) && (!s->by_times || is_earlier(&st.st_ctim, &now));
	if (!s->noted)
		return;
	s->accessed = st.st_atim;
	s->touched = st.st_ctim;
	/* Takes the inode's lock (shmem_file_llseek()): whoever had it has written all by now. */
	if (s->by_times)
		lseek(s->fd, 0, SEEK_DATA);
}

static bool holds(const struct shared *s)
{
	struct stat st;

	if (!s->sysv && !s->by_times)
		return true;
	return s->noted && fstat(s->fd, &st) == 0 && is_same(&st.st_atim, &s->accessed) &&
	       (!s->by_times || is_same(&st.st_ctim, &s->touched));
}

/* That it was written to is what it is there for: no doubt that another round could settle. */
void ckpt_reach_look(struct shared *s)
{
	bool by_times = is_by_times(s);

	if (s->steady && !holds(s)) {
		s->steady = false;
		s->restless += s->by_times;
		s->was_steady = s->was_steady && !s->by_times;
	}
	/* Sealed meanwhile: who had written before that did not leave a mark. */
	s->steady = s->steady && by_times == s->by_times;
	s->by_times = by_times;
}
