/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_MACRO_H
#define BASE_MACRO_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Scope-owned resources. A variable declared with one of the cleanup_ attributes is released when
 * it goes out of scope; TAKE_PTR and TAKE_FD hand it on to somebody else. Fds are born -EBADF.
 */

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define STREQ(a, b) (strcmp((a), (b)) == 0)

#define TAKE_PTR(p)                      \
	({                               \
		__typeof__(p) _t = (p);  \
		(p) = NULL;              \
		_t;                      \
	})
#define TAKE_FD(fd)           \
	({                    \
		int _f = (fd);\
		(fd) = -EBADF;\
		_f;           \
	})

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define cleanup_free __attribute__((cleanup(cleanup_freep)))
#define cleanup_close __attribute__((cleanup(cleanup_closep)))
#define cleanup_fclose __attribute__((cleanup(cleanup_fclosep)))
#define cleanup_closedir __attribute__((cleanup(cleanup_closedirp)))

/* Closes *fd if it is open and marks it closed; keeps errno. */
static inline void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -9; /* -EBADF, without pulling errno.h into every file */
}

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)

#endif
