/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_BESIDE_H
#define CHECKPOINT_BESIDE_H

#include <pthread.h>
#include <stdbool.h>

/* Begins a thread of the engine's own that gets no signals, which are the main thread's. A leaf. False: there is none, and
 * the caller does its work. */
bool ckpt_beside(pthread_t *ret, void *(*run)(void *arg), void *arg);

#endif
