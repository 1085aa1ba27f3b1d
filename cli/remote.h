/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include "base/err.h"

#include <sys/types.h>

/* `vps receive` on another host, by a remote shell: what it reads and writes. */
struct remote {
	pid_t pid;
	int in, out; /* its output, its input */
};

/* `rsh` is split into words ("ssh -p 2222"), NULL is ssh; `program` is vps's name there, NULL is
 * vps. Host and command follow the words, as with rsync(1). */
int remote_open(struct remote *r, const char *rsh, const char *host, const char *program,
		struct err *e);
/* Its ends are somebody else's by now: closes ours. */
void remote_let_go(struct remote *r);
/* Waits for its end; the exit status, or 128 and the signal. */
int remote_wait(struct remote *r);

#endif
