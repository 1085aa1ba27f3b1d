/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_RECORD_H
#define MIGRATE_RECORD_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What both ends write down so that at most one copy ever runs, whoever dies when; README.md has the
 * argument. lib/vps/NAME/migration (a letter for the state, then JSON) is the source's, and later the
 * destination's report. The destination's word that it has taken a VPS over is lib/migrations/ID ("+",
 * then the name), which stays until the source has said that it will not ask any more: for good when it was
 * cut off, as who asks a year later still must not run.
 */

enum mig_role { MIG_SOURCE, MIG_DESTINATION };

/* Of the source; each is on the disk before what it allows is done. Without a record: RUNNING. */
enum mig_state {
	MIG_IS_FROZEN,    /* the tenant stands still; it may go on here */
	MIG_IS_PREPARED,  /* so does its copy there; it may go on here, the copy may not */
	MIG_IS_COMMITTED, /* it may not go on here any more, unless the destination denies having it */
	MIG_IS_MOVED,     /* the destination has it */
};

struct mig_record {
	char id[37]; /* of the migration */
	enum mig_role role;
	enum mig_state state;
	unsigned epoch;  /* counts the states written */
	char peer[256];  /* "root@host2" */
	bool keep;       /* the files stay here when it has moved */
	bool live, paused; /* `paused`: and is so when it arrives */
	uint64_t at_us;  /* CLOCK_REALTIME */
	uint64_t pause_us, total_us, bytes, rounds;
};

/* `dir` is lib/vps/NAME. -ENOENT: there is none; -EBADMSG: it cannot be read, which its holder must
 * treat as MIG_IS_COMMITTED. */
int mig_record_read(int dir, struct mig_record *ret);
/* Counts the epoch on; returns when it is on the disk. */
int mig_record_write(int dir, struct mig_record *r, struct err *e);
/* The record that is there says another state: one byte, one write to the disk, for within the pause. */
int mig_record_turn(int dir, enum mig_state state, struct err *e);
int mig_record_remove(int dir, struct err *e);
/* -EBADMSG: it is none. */
int mig_record_parse(json_t *j, struct mig_record *ret);
json_t *mig_record_json(const struct mig_record *r);
const char *mig_state_name(enum mig_state s);

/* The destination's word. Prepared it says that it has not been given yet; given it is on the disk when
 * this returns. `lib` is the state root's. */
int mig_taken_prepare(const char *lib, const char *id, const char *name, struct err *e);
int mig_taken_give(const char *lib, const char *id, struct err *e);
/* It will not be given; or nobody asks for it any more, and the VPS' own record says that it is here. */
void mig_taken_drop(const char *lib, const char *id);
/* 1: it was given, 0: not, negative: that cannot be found out. */
int mig_taken_has(const char *lib, const char *id, struct err *e);

bool mig_id_is_valid(const char *id);

#endif
