/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_IDS_H
#define SUPERVISOR_IDS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Host ids of tenants: each VPS owns one aligned range of 65,536. They lie above what distributions
 * give to people, system users (systemd's UIDS-GIDS document) and, as far as that goes, the ranges
 * of /etc/subuid, and below 2^31, since some programs treat ids as signed.
 */
#define IDS_FIRST 0x80000u
#define IDS_END 0x6FFF0000u
#define IDS_SIZE 0x10000u

/*
 * The lowest free range at or after `from` (see ids_start()), wrapping around. `used` holds the
 * bases in use, in any order. Returns 0 with *ret, or ERR_NOSPACE when all are taken.
 */
int ids_alloc(uint32_t from, const uint32_t *used, size_t count, uint32_t *ret, struct err *e);

/* Where a state root with this tag begins, so that two roots on one machine rarely overlap:
 * IDS_FIRST for the default root's "vps". */
uint32_t ids_start(const char *tag);

#endif
