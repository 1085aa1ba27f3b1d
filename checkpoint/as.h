/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_AS_H
#define CHECKPOINT_AS_H

#include "base/err.h"

/*
 * Runs fn(arg) as a process of that number with those ids, as the kernel notes them down for who connects,
 * listens or sends: in a child that shares memory and open files and ends with it. For the first process
 * of a VPS that is being restored; NULL credentials: as it is itself. `root`: a directory (an fd) that is the root
 * meanwhile, or negative. What fn returns is returned.
 */
struct Ckpt__Credentials;
int ckpt_as(const struct Ckpt__Credentials *c, int root, int (*fn)(void *arg, struct err *e), void *arg,
	    struct err *e);

#endif
