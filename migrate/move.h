/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_MOVE_H
#define MIGRATE_MOVE_H

#include "cgroup/cgroup.h"
#include "checkpoint/verify.h"
#include "migrate/channel.h"
#include "migrate/offer.h"
#include "migrate/record.h"
#include "runtime/network.h"
#include "runtime/spec.h"

/*
 * The two ends of a move or copy; both are run by a vps-worker. README.md has the order of what is
 * said, and why no two copies can run.
 */

struct mig_status {
	const char *stage;
	uint64_t done, total; /* bytes; total 0: not known */
	unsigned round;       /* of memory, from 1 on; 0: none */
	uint64_t remaining;   /* bytes of memory written to since they were sent */
	uint64_t predicted_us;/* the pause, were it now */
	unsigned throttled;   /* per cent of its processor time that it is left; 0: all */
};
/* Now and then; non-zero cancels. */
typedef int (*mig_tell)(void *ctx, const struct mig_status *s);

/* A running VPS, at the source. */
struct mig_source {
	struct rt_spec spec; /* as it was started */
	struct cgroup_host host;
	struct cgroup cgroup;
	pid_t init;
	int pidfd;           /* of init */
	bool paused;         /* its monitor keeps it frozen */
	struct rt_network network;
	uint64_t max_pause_us;
	unsigned max_rounds; /* 0: all memory goes in the pause */
	/* Everything stands, the copy too. Returns when the monitor holds the VPS frozen whatever
	 * becomes of us, and the record says MIG_IS_COMMITTED on the disk. */
	int (*hold)(void *ctx, struct err *e);
};

/* From the records of its monitor. */
int mig_source_open(struct mig_source *s, const char *run_dir, pid_t init, uint64_t start,
		    struct err *e);
void mig_source_done(struct mig_source *s);

struct mig_out {
	struct mig_channel *channel;
	struct mig_offer offer;
	const char *lib;   /* of the state root; the VPS is lib/vps/<offer.from> */
	uint32_t id_base;
	bool keep;
	struct mig_source *live; /* NULL: it does not run */
	int image;         /* that it is suspended in; -EBADF: it is not */
	mig_tell tell;
	void *ctx;
	/* Results. */
	json_t *obstacles; /* texts; of a dry run too */
	bool taken;        /* MIG_ASK: the destination has it */
	struct mig_record report;
};

/*
 * Sends it. Fails with ERR_STATE and *obstacles when the destination does not want it. When this
 * fails and the record says MIG_IS_COMMITTED, only the destination knows who has the VPS (MIG_ASK);
 * a running one stands still then until somebody decides. It was killed when this succeeds.
 */
int mig_out_run(struct mig_out *o, struct err *e);
void mig_out_done(struct mig_out *o);

/* What the destination's vpsd and monitor do for a VPS that arrives with its processes. */
struct mig_arrival {
	/* Its files have their name; the monitor is started. Returns the fd that it reads the image
	 * from, which stays the callee's. */
	int (*image)(void *ctx, struct err *e);
	/* The image is complete: returns when all is there, stopped. */
	int (*prepared)(void *ctx, struct err *e);
	/* What was prepared is still there, as far as is known: asked before the source hears of it, and before it
	 * becomes ours. */
	int (*stands)(void *ctx, struct err *e);
	/* It is ours: returns when it runs. */
	int (*commit)(void *ctx, struct err *e);
	/* A frame that was on its way to interface `i`; may be lost. */
	void (*frame)(void *ctx, unsigned i, const void *frame, size_t len);
	/* Of one that is suspended, whose own directory will be `dir`. Opens the file that its image goes into, for
	 * reading and writing; and, when that is whole and good, makes it what the VPS is suspended in. */
	int (*image_file)(void *ctx, int dir, struct err *e);
	int (*suspended)(void *ctx, int dir, const struct ckpt_facts *f, uint64_t bytes, struct err *e);
};

struct mig_in {
	struct mig_channel *channel; /* the offer has been read from it */
	struct mig_offer offer;
	const char *lib;
	uint32_t id_base;
	const char *config;  /* text: as it is to be here */
	json_t *obstacles;   /* what vpsd has found; what is found here is added */
	const struct mig_arrival *arrival; /* with ctx */
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
 * over, given its name. 1: it is there now. `id`: of the migration that it was part of, of which it may have got so far as
 * to give it its name; "" at the start of vpsd, which then finds it by that.
 */
int mig_in_recover(const char *lib, const char *name, const char *id, struct err *e);

#endif
