/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_STANDIN_H
#define CHECKPOINT_STANDIN_H

#include "base/err.h"

#include <sys/types.h>

/*
 * In the first process of a restored VPS, while it is alone: a process in the place of one that has ended,
 * for open files that speak of it. It waits until it is ended with the same status, and is reaped.
 */
struct standin_process {
	pid_t pid;
	int go; /* what it waits for */
};

/* With this number; 0: any. */
int standin_begin(struct standin_process *p, pid_t number, struct err *e);
/* `status` as wait(2) has it. */
void standin_end(struct standin_process *p, int status);

#endif
