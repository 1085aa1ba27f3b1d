/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_MOVE_H
#define MIGRATE_MOVE_H

#include "migrate/channel.h"
#include "migrate/offer.h"
#include "migrate/record.h"

/*
 * The two ends of a move or copy of a VPS that does not run; both are run by a vps-worker. README.md
 * has the order of what is said, and why no two copies can run.
 */

struct mig_status {
	const char *stage;
	uint64_t done, total; /* bytes; total 0: not known */
};
/* Now and then; non-zero cancels. */
typedef int (*mig_tell)(void *ctx, const struct mig_status *s);

struct mig_out {
	struct mig_channel *channel;
	struct mig_offer offer;
	const char *lib;   /* of the state root; the VPS is lib/vps/<offer.from> */
	uint32_t id_base;
	bool keep;
	mig_tell tell;
	void *ctx;
	/* Results. */
	json_t *obstacles; /* texts; of a dry run too */
	bool taken;        /* MIG_ASK: the destination has it */
	struct mig_record report;
};

/*
 * Sends it. Fails with ERR_STATE and *obstacles when the destination does not want it. When this
 * fails and the record says MIG_IS_COMMITTED, only the destination knows who has the VPS (MIG_ASK).
 */
int mig_out_run(struct mig_out *o, struct err *e);
void mig_out_done(struct mig_out *o);

struct mig_in {
	struct mig_channel *channel; /* the offer has been read from it */
	struct mig_offer offer;
	const char *lib;
	uint32_t id_base;
	const char *config;  /* text: as it is to be here */
	json_t *obstacles;   /* what vpsd has found; what is found here is added */
	mig_tell tell;
	void *ctx;
	/* Result. */
	bool told;           /* the source knows how it ended */
	struct mig_record report;
};

#define MIG_RECEIVING ".receiving-" /* and the name: lib/vps/.receiving-NAME is being received */

/* 1: nothing was to be done, or something stands in the way; the source was told. */
int mig_in_run(struct mig_in *i, struct err *e);

/*
 * What a worker that died has left in lib/vps/.receiving-NAME: removed, or, when it had been taken
 * over, given its name. 1: it is there now.
 */
int mig_in_recover(const char *lib, const char *name, struct err *e);

#endif
