/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_STUCK_H
#define TESTS_CHECKPOINT_STUCK_H

#include <sys/types.h>

/* Where every thread of `pid` and of its descendants is, as comments of TAP: of a program that was not heard of. */
void stuck_tell(pid_t pid);

#endif
