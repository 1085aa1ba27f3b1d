/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_SECCOMP_H
#define RUNTIME_SECCOMP_H

#include "base/err.h"

#include <linux/filter.h>
#include <stddef.h>

/*
 * What a tenant may not ask of the kernel at all (seccomp(2)). Everything else is allowed: what may
 * be done is decided by its user namespace and capabilities. runtime/seccomp/generate.c holds the
 * list and the reasons; the filter is compiled when vps is built.
 */

#define RT_SECCOMP_MAX 512 /* instructions */

/* The filter of a VPS with these features (enum rt_feature bits of runtime/value.h), into a buffer
 * of RT_SECCOMP_MAX; returns the number of instructions. */
size_t rt_seccomp_program(unsigned features, struct sock_filter *ret);

/* Confines the calling thread for good. It needs CAP_SYS_ADMIN in its user namespace, because
 * no_new_privs would take set-user-ID programs from the tenant. Allocates nothing. */
int rt_seccomp_apply(unsigned features, struct err *e);

#endif
