/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TIMES_H
#define CHECKPOINT_TIMES_H

/*
 * Where the time goes: with VPS_TIMES=1 in the environment each call prints on stderr how long it was, by the
 * clock and of this thread's own processor time, since the last one of this thread. What the clock has more was
 * waited for.
 */
void ckpt_time(const char *what);

#endif
