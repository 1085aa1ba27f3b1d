/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_KINDS_PTY_H
#define CHECKPOINT_KINDS_PTY_H

#include "checkpoint/kinds.h"

/*
 * Terminals of the VPS's own devpts. A pair has a master, which at most one open file stands for, and any
 * number of open files of its other end. What the pair holds is with the first of each. The console's
 * master is the holder's; that of `vps exec -t` was the client's, who is gone: the holder keeps another.
 */

/* struct termios2 and its calls; the kernel's header does not go together with libc's. */
struct ckpt_pty_modes {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line, cc[19];
	uint32_t ispeed, ospeed;
};
#define CKPT_PTY_GET 0x802c542au
#define CKPT_PTY_SET 0x402c542bu
#define CKPT_PTY_MAX 4096 /* pairs */

/* Modes in which nothing is done to what goes through, nor does it go back; in lines when it is in lines. */
struct ckpt_pty_modes ckpt_pty_transparent(const struct ckpt_pty_modes *m, bool lines,
					   bool in_reading);

/* The kinds' open(). (kinds/pty_open.c) */
int ckpt_pty_open_master(struct ckpt_opening *o, const Ckpt__File *f, struct err *e);
int ckpt_pty_open_slave(struct ckpt_opening *o, const Ckpt__File *f, struct err *e);

/* Fills out->pty from a terminal's file (not a master's). What is queued as input is taken out and put back. */
int ckpt_pty_state(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);

/* Whether a device number is that of the console. */
bool ckpt_pty_is_console(struct ckpt_dump *d, dev_t rdev);

/* Masters that nobody in the VPS has, once all files are collected. */
int ckpt_pty_resolve(struct ckpt_dump *d, struct err *e);
int ckpt_pty_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e);

/* The id of an open file of the terminal with this number; 0: there is none. */
uint32_t ckpt_pty_find(const struct ckpt_tree *t, uint32_t index);

/* In the first process: what all pairs hold, and terminals that were hung up, once all are opened. */
int ckpt_pty_finish(struct ckpt_opening *o, struct err *e);
/* In the holder: the console, by its master. */
int ckpt_pty_console(const struct ckpt_tree *t, int master, struct err *e);

#endif
