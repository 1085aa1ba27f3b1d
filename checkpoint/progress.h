/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PROGRESS_H
#define CHECKPOINT_PROGRESS_H

#include <stdint.h>

/*
 * How far a dump or a restore is. tell() is called from the calling thread about every MiB of memory
 * with bytes done and expected. What is expected is an estimate made at the beginning (0: unknown), and
 * what is done may end below or above it. A value other than 0 cancels: the call undoes what it has
 * done and fails with ERR_CANCELLED.
 */
struct ckpt_progress {
	int (*tell)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

#endif
