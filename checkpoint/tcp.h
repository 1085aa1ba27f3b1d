/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TCP_H
#define CHECKPOINT_TCP_H

#include <netinet/in.h>
#include <netinet/tcp.h>

/* As TCPI_OPT_*: timestamps count microseconds (TCPI_OPT_USEC_TS, Linux 6.7). */
#define CKPT_TCPI_OPT_MICROSECONDS 64

/* TCP_*, or a negative errno value; `ret` may be NULL. */
int ckpt_tcp_state(int fd, struct tcp_info *ret);

#endif
