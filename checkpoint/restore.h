/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_RESTORE_H
#define CHECKPOINT_RESTORE_H

#include "base/err.h"
#include "runtime/vps.h"

/*
 * Starts the VPS `spec` with the processes of the image that `fd` holds, in the place of init.
 * Namespaces, limits, seccomp and devices are the spec's, never the image's. All tasks stay stopped
 * until the whole image has been read and found good, then run on. On failure no process and no
 * kernel object is left. `stdio` as for rt_start().
 */
int ckpt_restore(const struct rt_spec *spec, const struct rt_stdio *stdio, int fd, struct rt_vps **ret,
		 struct err *e);

#endif
