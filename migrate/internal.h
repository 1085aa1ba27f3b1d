/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_INTERNAL_H
#define MIGRATE_INTERNAL_H

#include "checkpoint/dump.h"
#include "migrate/move.h"
#include "migrate/pump.h"
#include "netns/hold.h"
#include "storage/delta.h"

/* Files beside the config that go along, in pieces of MIG_SIDE. */
#define MIG_SIDE_MAX (1u << 20)
extern const char *const mig_sides[];
extern const size_t mig_side_count;

struct ckpt_dump;
struct ckpt_precopy;

/* The source at work. */
struct mig_sending {
	struct mig_out *o;
	struct mig_channel *c;
	enum mig_type type; /* of the records under way */
	struct mig_status status;
	bool template;      /* the destination wants it */
	enum ckpt_waiting waiting; /* whether it can make connections again that wait to be accepted */
	bool dry_run;
	int dir;            /* lib/vps/NAME */
	int upper;
	struct storage_send *files;
	bool watching;      /* passes over them look only at what was changed */
	uint64_t from_us;
	/* Of one that runs. */
	struct mig_pump pump;
	struct ckpt_precopy *precopy;
	struct ckpt_dump *dump;
	struct netns_hold *hold; /* frames that come for it while it stands */
	unsigned throttled; /* per cent of its processor time that it is left; 0: all */
	bool left;          /* only the destination knows */
	uint64_t frozen_at_us, over_us; /* it stands; it runs there */
	uint64_t stray_us;  /* the last frame came for it */
	uint64_t rate;      /* bytes a second, of the last round that tells; 0: none has */
	uint64_t files_us;  /* the last pass over the files took */
	struct ckpt_job *last_pass; /* under way (live.c) */
};

/* What the destination has to have for a VPS that runs. */
int mig_offer_live(struct mig_offer *o, const struct mig_source *v, struct err *e);
/* Adds what of it cannot be saved, and to the offer what huge pages it takes. It stands still for a moment. */
int mig_check_source(const struct mig_source *v, struct mig_offer *o, json_t *obstacles, struct err *e);
/* The same for one that is suspended, and what of it this host has not. */
int mig_offer_image(struct mig_offer *o, int image, struct err *e);
void mig_check_image(const struct mig_offer *o, json_t *obstacles);
/* Adds what this host has not. */
void mig_check_live(const struct mig_offer *o, json_t *obstacles);

int mig_send_tell(struct mig_sending *s, struct err *e);
/* (image.c) The image of one that is suspended. */
int mig_send_image(struct mig_sending *s, struct err *e);
/* live.c: instead of the steps for one that stands. */
int mig_live_up(void *ctx, struct err *e);
/* Lets it run on, unless it was given up. */
void mig_live_down(void *ctx);
int mig_live_hold(struct mig_sending *s, struct err *e);
/* (live_frames.c) Frames that were held go to the destination. */
int mig_live_frames(struct mig_sending *s, struct err *e);
/* It runs there: also those that still come here, as long as they come, but not for ever; then what the record says. */
void mig_live_strays(struct mig_sending *s, bool moved);
/* (out.c) To the destination, once the record is MIG_IS_MOVED. */
void mig_out_will_not_ask(struct mig_sending *s);
/* The destination has it: what is left here is killed. */
void mig_live_end(struct mig_sending *s);
/* Only the destination knows: it stands still when we are gone. */
void mig_live_leave(struct mig_sending *s);

/*
 * Files of the upper layer that its processes have mapped shared and could write through; with `all` also those that
 * are open for writing: ret->all, unless there are some that cannot be found. What comes and goes meanwhile while it runs
 * may be missing. *ret needs mig_writers_done() in any case.
 */
int mig_find_writers(const struct mig_source *v, int upper, bool all, struct storage_writers *ret, struct err *e);
void mig_writers_done(struct storage_writers *w);

/* lib/vps. */
int mig_open_vps(const char *lib, struct err *e);
/* A directory below it, or below another one of ours. */
int mig_open_dir(int parent, const char *path, struct err *e);

#endif
