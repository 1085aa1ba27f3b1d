/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_INTERNAL_H
#define MIGRATE_INTERNAL_H

#include "migrate/move.h"

/* Files beside the config that go along, in pieces of MIG_SIDE. */
#define MIG_SIDE_MAX (1u << 20)
extern const char *const mig_sides[];
extern const size_t mig_side_count;

/* lib/vps. */
int mig_open_vps(const char *lib, struct err *e);
/* A directory below it, or below another one of ours. */
int mig_open_dir(int parent, const char *path, struct err *e);

#endif
