/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CGROUP_DEVICES_H
#define CGROUP_DEVICES_H

#include "cgroup/cgroup.h"

#include <stddef.h>

/*
 * The devices that a VPS may open or make. A BPF program (BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15)
 * on its v2 group, or on the parent of all VPSs when it has no devices of its own, decides; that
 * works on hybrid hosts too and needs CAP_BPF or CAP_SYS_ADMIN. The group keeps it, nothing has to
 * hold it, and it goes with the group.
 *
 * Always allowed: null, zero, full, random, urandom, tty, console, ptmx and all pseudo-terminals;
 * making a node of any device (mknod(2)), since what counts is opening it.
 */
enum cgroup_device_access {
	CGROUP_DEVICE_MKNOD = 1, /* the numbers are BPF_DEVCG_ACC_* */
	CGROUP_DEVICE_READ = 2,
	CGROUP_DEVICE_WRITE = 4,
};

#define CGROUP_DEVICE_ANY UINT32_MAX

struct cgroup_device {
	char type; /* 'c' or 'b' */
	uint32_t major, minor; /* or CGROUP_DEVICE_ANY */
	unsigned access;
};

#define CGROUP_DEVICES_MAX 256

/* "PATH[:rwm]" (absolute; rw when no access is given) of a device node on this host. ERR_USAGE when
 * it is not of the form or no device, ERR_NOT_FOUND when there is none. */
int cgroup_device_parse(const char *text, struct cgroup_device *ret, struct err *e);

/* Allows the devices above and `extra`, and no others. Replaces what an earlier call allowed, in
 * one step, also while the VPS runs. Without `extra` 20 us, but for the first VPS, with it 0.4 ms.
 * ERR_UNSUPPORTED when the kernel has no such programs or the caller may not load them. */
int cgroup_devices_set(const struct cgroup *c, const struct cgroup_device *extra, size_t count,
		       struct err *e);

#endif
