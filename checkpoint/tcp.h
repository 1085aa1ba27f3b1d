/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TCP_H
#define CHECKPOINT_TCP_H

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <stdint.h>

/* What the C library's has not got yet (linux/tcp.h, which is not to be had beside it). */
struct ckpt_tcp_info {
	struct tcp_info i;
	uint64_t rates[4];
	uint32_t segments[2];
	uint32_t unsent; /* Linux 4.6 */
};

/* TCP_*, or a negative errno value; `ret` may be NULL. */
int ckpt_tcp_state(int fd, struct ckpt_tcp_info *ret);

#endif
