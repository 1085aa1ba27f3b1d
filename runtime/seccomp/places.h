/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_SECCOMP_PLACES_H
#define RUNTIME_SECCOMP_PLACES_H

/* Errnos in the generated filter that stand for "depends on that feature". None is the kernel's. */
enum {
	PLACE_IO_URING = 3001,
	PLACE_USERFAULTFD,
	PLACE_LANDLOCK,
	PLACE_SOCKETCALL,
};

#endif
