/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/bpf.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD_TRIES 20u

int bpf_call(int cmd, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

/* A signal that comes while the kernel looks through it ends that (EAGAIN). */
int bpf_load(union bpf_attr *attr)
{
	int fd = -EAGAIN;

	for (unsigned tries = 0; fd == -EAGAIN && tries < LOAD_TRIES; tries++)
		fd = bpf_call(BPF_PROG_LOAD, attr);
	return fd;
}
