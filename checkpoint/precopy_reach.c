/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Who gets at shared memory otherwise than by the mappings that are found, so that marks in these do not tell all:
 *
 *   anonymous memory   nobody (fdless.h)
 *   System V memory    shmat(2), which sets the time at which the file behind it was accessed. Nobody has that file open but we do,
 *                      with O_NOATIME: nothing else sets it, and nobody can have it stay
 *   a sealed memfd     nobody: with F_SEAL_FUTURE_WRITE only who has it mapped already writes to it, with F_SEAL_WRITE none
 *                      does (both wait for a write(2) that is under way, and F_SEAL_WRITE for a disk's)
 *   any other memfd    who has it open: by write(2), fallocate(2) and the like, or mapped for a moment. All of that sets times,
 *                      but so does each write that has left a mark, and a long write(2) does at its beginning. It is read whole
 */
#include "base/macro.h"
#include "checkpoint/fdless.h"
#include "checkpoint/precopy_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1 */
#endif
#define SIZE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

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

bool ckpt_reach_is_known(const struct shared *s)
{
	return s->sysv || ckpt_is_fdless(s->fd) || has_seals(s, F_SEAL_FUTURE_WRITE);
}

/* Times are those of the last tick: of an access in this one the next would not be told. */
void ckpt_reach_note(struct shared *s)
{
	struct timespec now;
	struct stat st;

	s->noted = clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 && fstat(s->fd, &st) == 0 &&
		   (st.st_atim.tv_sec < now.tv_sec ||
		    (st.st_atim.tv_sec == now.tv_sec && st.st_atim.tv_nsec < now.tv_nsec));
	if (s->noted)
		s->accessed = st.st_atim;
}

bool ckpt_reach_holds(const struct shared *s)
{
	struct stat st;

	return !s->sysv || (s->noted && fstat(s->fd, &st) == 0 && st.st_atim.tv_sec == s->accessed.tv_sec &&
			    st.st_atim.tv_nsec == s->accessed.tv_nsec);
}
