/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_DUMP_H
#define CHECKPOINT_DUMP_H

#include "base/err.h"
#include "cgroup/cgroup.h"
#include "checkpoint/image/image.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ckpt_dump_options {
	const struct rt_spec *spec; /* as it was started: its name, its volumes */
	enum ckpt_compression compression;
	bool leave_running;     /* else everything in the group is killed once the image is complete */
	bool durable;           /* fsync before that */
};

struct ckpt_dump_result {
	uint64_t frozen_us, bytes;
	size_t processes, threads, files;
};

/*
 * Saves the processes of a VPS to `fd`. `init` is the host's pid of its process 1, `c` its group. On
 * failure (ERR_UNSUPPORTED with the object, pid and fd when something cannot be saved) the VPS runs
 * on as if nothing had been; what was written to `fd` is no image, as it has no trailer. `ret` may be
 * NULL.
 */
int ckpt_dump(const struct cgroup *c, pid_t init, int fd, const struct ckpt_dump_options *o,
	      struct ckpt_dump_result *ret, struct err *e);

#endif
