/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_ORACLE_H
#define CHECKPOINT_ORACLE_H

#include "base/err.h"
#include "checkpoint/tree.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A check for tests, switched on by VPS_ORACLE=1 in the environment: remembers a hash of every page that
 * goes to a stream, and at the final stop reads all pages again and compares them with what the reader
 * of the stream would hold. It finds a page whose write was not seen.
 */
struct ckpt_oracle;
struct ckpt_ranges;

/* NULL when it is not asked for; *e is filled when there is no memory for it. */
struct ckpt_oracle *ckpt_oracle_new(void);
void ckpt_oracle_free(struct ckpt_oracle *o);
/* Pages from address `start` on go to the stream. From any thread. -ENOMEM. */
int ckpt_oracle_note(struct ckpt_oracle *o, uint64_t mm, uint64_t start, const uint8_t *data, size_t len);
/* Pages that a child has from its parent were sent as that's. -ENOMEM. */
int ckpt_oracle_inherit(struct ckpt_oracle *o, uint64_t parent, uint64_t child, const struct ckpt_ranges *pages);
/* While all is stopped and after everything was sent: ERR_FAIL with the process and address of the first
 * page that differs. */
int ckpt_oracle_check(struct ckpt_oracle *o, const struct ckpt_tree *t, const int *shmem_fd, struct err *e);

#endif
