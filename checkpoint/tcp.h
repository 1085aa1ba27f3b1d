/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TCP_H
#define CHECKPOINT_TCP_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the C library's has not got yet (linux/tcp.h, which is not to be had beside it). */
struct ckpt_tcp_info {
	struct tcp_info i;
	uint64_t rates[4];
	uint32_t segments[2];
	uint32_t unsent; /* Linux 4.6 */
};

/* As TCPI_OPT_*: timestamps count microseconds (TCPI_OPT_USEC_TS, Linux 6.7). */
#define CKPT_TCPI_OPT_MICROSECONDS 64

/* TCP_*, or a negative errno value; `ret` may be NULL. */
int ckpt_tcp_state(int fd, struct ckpt_tcp_info *ret);

/* In process 1's network, now: sockets of TCP, and bytes in their queues. (tcp_ahead.c) */
unsigned long ckpt_tcp_count(pid_t init);
size_t ckpt_tcp_queued(pid_t init);

#endif
