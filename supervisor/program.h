/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROGRAM_H
#define SUPERVISOR_PROGRAM_H

#include "base/err.h"

#include <sys/types.h>

/* `fd` of ours becomes `as` of the program's. Negative ones are left out. */
struct spawn_fd {
	int fd;
	int as;
};

/*
 * Starts a helper program of ours as a child, in a session of its own, with a clean signal mask and
 * default dispositions; it has standard input from /dev/null unless that is in `fds`, standard
 * output and error of ours, and the fds given, nothing else. ERR_FAIL when it cannot be executed.
 */
int sup_spawn(const char *program, const char *const *argv, const struct spawn_fd *fds, size_t count,
	      pid_t *ret, struct err *e);

#endif
