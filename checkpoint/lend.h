/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_LEND_H
#define CHECKPOINT_LEND_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * After a pre-copy the processes of a VPS are there before its files are opened, so that as.h cannot make one
 * of the same number. The helper that opens files asks the engine for the one call that the kernel is to note
 * a process down for, and the engine has that process make it, by a list of calls.
 */
enum ckpt_lend_op {
	CKPT_LEND_LISTEN,   /* fd, value: the backlog */
	CKPT_LEND_PAIR,     /* value: the type; `place`: -1 or the network namespace; two fds come back */
	CKPT_LEND_CONNECT,  /* fd, addr; `place`, when it is not -1, is opened (O_PATH) on what has the path */
	CKPT_LEND_OP_COUNT,
};

#define CKPT_LEND_GROUPS 1024
#define CKPT_LEND_ADDR 128 /* sockaddr_storage */

struct ckpt_lend {
	uint32_t op, pid, uid, gid, n_groups, value, len;
	int32_t fd, place;
	uint32_t groups[CKPT_LEND_GROUPS];
	uint8_t addr[CKPT_LEND_ADDR];
};

/* In the helper. True when a process of that number is there. */
bool ckpt_lend_is_taken(pid_t pid);
/* Asks through `sock`; fills ids in from `who`. ret_fds: CKPT_LEND_PAIR alone. */
struct Ckpt__Credentials;
int ckpt_lend_ask(int sock, const struct Ckpt__Credentials *who, struct ckpt_lend *q, int ret_fds[2],
		  struct err *e);

/* Adds to a list of a process that is the VPS's root: these ids from here on, for what the kernel notes down. */
struct list;
void ckpt_lend_become(struct list *l, uint32_t uid, uint32_t gid, const uint32_t *groups, uint32_t n);

/* In the engine: reads one question of the helper, whose number in the VPS is `helper`, and answers it. 1: it
 * has no more. */
struct restore;
int restore_lend(struct restore *r, pid_t helper, int sock, struct list *l, struct err *e);

#endif
