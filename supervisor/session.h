/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_SESSION_H
#define SUPERVISOR_SESSION_H

#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

/*
 * A session is a SOCK_SEQPACKET connection between a client and the monitor of a VPS, for exec, run
 * and console. vpsd checks who asks, makes the socket pair, gives one end to the monitor and the
 * other to the client, and is out of the way: a session outlives vpsd. One packet is one message: a
 * header and up to SESSION_DATA_MAX bytes.
 */
#define SESSION_DATA_MAX (32 * 1024)

enum session_type {
	/* client to monitor */
	SESSION_SIGNAL = 1, /* value: signal for the command (exec, run) */
	SESSION_RESIZE = 2, /* value: rows << 16 | columns (console and tty run) */
	SESSION_INPUT = 3,  /* data: keyboard input (console) */
	/* monitor to client */
	SESSION_STARTED = 16, /* value: pid on the host; with one fd, the pty master, for exec -t */
	SESSION_OUTPUT = 17,  /* data: output (console); what a slow client cannot take is dropped */
	SESSION_EXIT = 18,    /* value: exit status, or 128 + signal; the last message */
	SESSION_ERROR = 19,   /* data: a struct err; the last message */
	SESSION_CLOSED = 20,  /* the VPS stopped (console); the last message */
	SESSION_DROPPED = 21, /* value: bytes of output that were dropped just before this */
};

struct session_header {
	uint32_t type;
	int32_t value;
};

/*
 * Sends one message, `fd` with it when it is not negative. Returns 0 or a negative errno value
 * (-EAGAIN: the peer's queue is full; -EPIPE: it is gone).
 */
int session_send(int sock, enum session_type type, int32_t value, const void *data, size_t len,
		 int fd);

/*
 * Receives one: returns the length of the data (0 or more), -EPIPE at the end, -EBADMSG for a
 * packet that is none, else a negative errno value. *ret_fd is -EBADF or a fd that the caller owns.
 */
ssize_t session_recv(int sock, struct session_header *h, void *data, size_t size, int *ret_fd);

#endif
