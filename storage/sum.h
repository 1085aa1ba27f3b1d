/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_SUM_H
#define STORAGE_SUM_H

#include "base/err.h"

/*
 * SHA-256 by libcrypto, which is linked when the first sum is begun (dlopen(3)): it takes longer to begin than all
 * that a worker does to make or remove a VPS, and sums are for templates alone. ERR_UNSUPPORTED when it is not there.
 */
struct storage_sum;

/* The caller frees it. */
int storage_sum_new(struct storage_sum **ret, struct err *e);
void storage_sum_add(struct storage_sum *s, const void *data, size_t len);
/* Nothing can be added afterwards. */
int storage_sum_end(struct storage_sum *s, unsigned char ret[32], struct err *e);
void storage_sum_free(struct storage_sum *s);

#endif
