/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_KINDS_PTY_H
#define CHECKPOINT_KINDS_PTY_H

#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"

/*
 * Terminals, of the VPS's own devpts and of those that nested containers mount. A pair has a master, which at most
 * one open file stands for, and any number of open files of its other end. What the pair holds is with the first of
 * each. The console's master is the holder's; that of `vps exec -t` was the client's, who is gone: the holder keeps
 * another.
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
#define CKPT_PTY_UNKNOWN UINT32_MAX /* the devpts of what /dev/tty has opened, until all files are there */

/* Modes in which nothing is done to what goes through, nor does it go back; in lines when it is in lines, of which
 * `end` ends one and the file: a byte that is not typed as itself. */
struct ckpt_pty_modes ckpt_pty_transparent(const struct ckpt_pty_modes *m, bool lines, uint8_t end, bool in_reading);
/* A byte that is not among these, nor `but`: any that ends no line. 0: there is none. */
uint8_t ckpt_pty_unused(const uint8_t *data, size_t len, uint8_t but);
#define CKPT_PTY_END 4 /* where there is none */

/* The kinds' open(). (kinds/pty_open.c) */
int ckpt_pty_open_master(struct ckpt_opening *o, const Ckpt__File *f, struct err *e);
int ckpt_pty_open_slave(struct ckpt_opening *o, const Ckpt__File *f, struct err *e);

/* Fills out->pty from a terminal's file (not a master's). What is queued as input is taken out and put back. */
int ckpt_pty_state(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);

int ckpt_pty_dump_slave(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);

/* What was typed and not read, and whether it is stopped, into `pty`, whose modes are known; by a file of ours that can be
 * read. Whoever is killed meanwhile, the terminal is as it was. */
int ckpt_pty_input(struct ckpt_dump *d, int slave, Ckpt__Pty *pty, struct err *e);

/* Lets a terminal of which nothing waits to be read go on, by a file of ours that does not wait: what had stopped it. And stops it
 * like that again, unless it is; its modes are as `m` says. `master` may be -EBADF where we may type for others (TIOCSTI).
 * (kinds/pty_stop.c) */
enum { CKPT_PTY_RUNS, CKPT_PTY_STOPPED_BY_CALL, CKPT_PTY_STOPPED_BY_KEY, CKPT_PTY_STOPPED_COUNT };
unsigned ckpt_pty_start(int slave);
/* The same, and it stays so. One that is full of what waits to be read looks as if stopped by a key. */
unsigned ckpt_pty_stopped(int slave);
void ckpt_pty_stop(int master, int slave, const struct ckpt_pty_modes *m, unsigned how);
/* What was typed has been put where it is read, and with other modes from now on nothing happens to it any more.
 * `bare`: its modes now; `key`: a byte that was not typed, or 0. */
void ckpt_pty_settle(int master, int slave, const struct ckpt_pty_modes *bare, uint8_t key);

/* A device number of a terminal, and which it is. */
bool ckpt_pty_is_device(dev_t rdev);
uint32_t ckpt_pty_index(dev_t rdev);
/* Whether it is the console. */
bool ckpt_pty_is_console(struct ckpt_dump *d, const Ckpt__Pty *pty);
/* One and the same terminal, as far as that is known by now. */
bool ckpt_pty_same(const Ckpt__Pty *a, const Ckpt__Pty *b);
/* Which devpts it is of, and whose it is: login(1) and others give it away. What /dev/tty has opened is told when all
 * files are collected, by ckpt_pty_tell_apart(). (kinds/pty_instance.c) */
int ckpt_pty_instance(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__Pty *pty, struct err *e);
int ckpt_pty_tell_apart(struct ckpt_dump *d, struct err *e);
/* The devpts of the terminal with this number that controls a session, which is the host's number. */
uint32_t ckpt_pty_of_session(const struct ckpt_tree *t, uint32_t index, pid_t session);
/* These are nobody's business once that was asked. */
void ckpt_pty_forget_sessions(const struct ckpt_tree *t);

/* Masters that nobody in the VPS has, once all files are collected. */
int ckpt_pty_resolve(struct ckpt_dump *d, struct err *e);
int ckpt_pty_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e);

/* The id of an open file of the terminal with this number; 0: there is none. */
uint32_t ckpt_pty_find(const struct ckpt_tree *t, uint32_t devpts, uint32_t index);

/*
 * In the first process, when all terminals are opened and nothing is mounted yet: what all pairs hold, and
 * terminals that were hung up. When everything is mounted: those that a path leads to are opened by that, so that
 * ttyname(3) finds it; and what would prevent that is set.
 */
int ckpt_pty_fill(struct ckpt_opening *o, struct err *e);
int ckpt_pty_finish(struct ckpt_opening *o, struct err *e);
/* In the holder: the console, by its master. */
int ckpt_pty_console(const struct ckpt_tree *t, int master, struct err *e);

#endif
