/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/seccomp.h"

#include "base/macro.h"
#include "runtime/seccomp-filter.h"
#include "runtime/seccomp/places.h"
#include "runtime/value.h"

#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/syscall.h>

_Static_assert(ARRAY_SIZE(filter) <= RT_SECCOMP_MAX, "the filter fits");

/* What is put in a place: ALLOW with the feature, that errno without. */
static const struct {
	uint32_t place, errnum;
	unsigned feature;
} places[] = {
	{ PLACE_IO_URING, ENOSYS, RT_FEATURE_IO_URING }, /* programs fall back then */
	{ PLACE_USERFAULTFD, ENOSYS, RT_FEATURE_USERFAULTFD },
	{ PLACE_LANDLOCK, ENOSYS, RT_FEATURE_LANDLOCK },
	{ PLACE_SOCKETCALL, EAFNOSUPPORT, RT_FEATURE_SOCKETCALL },
};

size_t rt_seccomp_program(unsigned features, struct sock_filter *ret)
{
	memcpy(ret, filter, sizeof(filter));
	for (size_t i = 0; i < ARRAY_SIZE(filter); i++) {
		if (ret[i].code != (BPF_RET | BPF_K))
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(places); k++) {
			if (ret[i].k != (SECCOMP_RET_ERRNO | places[k].place))
				continue;
			ret[i].k = features & places[k].feature
					   ? SECCOMP_RET_ALLOW
					   : SECCOMP_RET_ERRNO | places[k].errnum;
			break;
		}
	}
	return ARRAY_SIZE(filter);
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
