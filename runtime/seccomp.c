/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/seccomp.h"

#include "base/macro.h"
#include "runtime/value.h"
#include "seccomp-filters.h"

#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/syscall.h>

/* Which of the generated filters apply: those whose `feature` the VPS has not, and with `with` the
 * one whose feature it has. */
static const struct part {
	const struct sock_filter *insn;
	size_t count;
	unsigned without, with;
} parts[] = {
	{ filter_base, ARRAY_SIZE(filter_base), 0, 0 },
	{ filter_io_uring, ARRAY_SIZE(filter_io_uring), RT_FEATURE_IO_URING, 0 },
	{ filter_userfaultfd, ARRAY_SIZE(filter_userfaultfd), RT_FEATURE_USERFAULTFD, 0 },
	{ filter_landlock, ARRAY_SIZE(filter_landlock), RT_FEATURE_LANDLOCK, 0 },
	{ filter_sockets, ARRAY_SIZE(filter_sockets), RT_FEATURE_SOCKETCALL, 0 },
	{ filter_sockets_native, ARRAY_SIZE(filter_sockets_native), 0, RT_FEATURE_SOCKETCALL },
};

_Static_assert(ARRAY_SIZE(filter_base) + ARRAY_SIZE(filter_io_uring) +
		       ARRAY_SIZE(filter_userfaultfd) + ARRAY_SIZE(filter_landlock) +
		       ARRAY_SIZE(filter_sockets) + ARRAY_SIZE(filter_sockets_native) < RT_SECCOMP_MAX,
	       "the filters fit together");

/*
 * One filter of several: where a part would allow, the next one is asked. Jumps are relative and
 * lead forward only, so a part can stand anywhere; the kernel's cache of calls that are always
 * allowed (Linux 5.11) follows the unconditional jumps.
 */
size_t rt_seccomp_program(unsigned features, struct sock_filter *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		const struct part *p = &parts[i];

		if (features & p->without || (features & p->with) != p->with)
			continue;
		for (size_t k = 0; k < p->count; k++) {
			struct sock_filter insn = p->insn[k];

			if (insn.code == (BPF_RET | BPF_K) && insn.k == SECCOMP_RET_ALLOW)
				insn = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA,
								    (uint32_t)(p->count - k - 1));
			ret[n++] = insn;
		}
	}
	ret[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return n;
}

int rt_seccomp_apply(unsigned features, struct err *e)
{
	struct sock_filter insn[RT_SECCOMP_MAX];
	struct sock_fprog prog = { .filter = insn };

	prog.len = (unsigned short)rt_seccomp_program(features, insn);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		return err_sys(e, "set the system call filter");
	return 0;
}
