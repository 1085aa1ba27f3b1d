/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_ARCHIVE_H
#define CLI_ARCHIVE_H

#include "base/err.h"
#include "cli/progress.h"

#include <stdint.h>

/*
 * Files of the host as a pax stream through a pipe, and back. `signals` (cli_signals()) ends either
 * with ERR_CANCELLED.
 */
struct transfer {
	int fd;      /* the pipe */
	int signals;
	int answer;  /* packing ends when it is readable, as if nobody read; -EBADF: none */
	struct progress progress;
	const char *stage;
	uint64_t bytes, total; /* of file contents packed or unpacked */
	unsigned left_out;     /* sockets packed, device nodes unpacked: not possible */
};

/*
 * Packs a file or a whole directory under the name `top` ("." for the contents of a directory).
 * Symbolic links are packed as such; owners as numbers. -EPIPE: nobody reads; the reader knows why.
 */
int archive_pack(struct transfer *t, const char *const *sources, const char *const *tops,
		 size_t count, struct err *e);

/*
 * Unpacks below the directory `dir`; each entry's first component, which must be the same in all,
 * is replaced by `top`. The stream is a tenant's and is not trusted: nothing is written outside
 * `dir`/`top`, through a symbolic link, as a device, with another owner than the caller, or with
 * set-id bits or attributes.
 */
int archive_unpack(struct transfer *t, int dir, const char *top, struct err *e);

#endif
