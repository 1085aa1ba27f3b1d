/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_IN_H
#define MIGRATE_IN_H

#include "base/str.h"
#include "migrate/internal.h"
#include "storage/root.h"

/* Inside the folder: the destination at work. */

struct mig_receiving {
	struct mig_in *i;
	struct mig_channel *c;
	int vps;            /* lib/vps */
	int dir;            /* .receiving-NAME */
	int upper, limbo;
	char entry[96];
	struct storage_root root;
	struct storage_template_in *template;
	struct storage_receive *files;
	struct mig_frame frame; /* the next one to be looked at */
	int image;          /* to the monitor, or a file; -EBADF before it is begun */
	uint64_t image_len; /* of what has come, in a file */
	struct buf packets;
	bool named;         /* it has its name, and is not ours yet */
	bool taken;         /* it is ours: nothing may be undone */
	uint64_t from_us, told_us;
};

/* The next frame; that there is none is an error. */
int mig_in_next(struct mig_receiving *r, struct err *e);
int mig_in_bad(struct err *e);
int mig_in_write_config(struct mig_receiving *r, struct err *e);
/* `entry` below lib/vps gets the name of a VPS. */
int mig_in_give_name(int vps, const char *entry, const char *name, struct err *e);

/* in_agree.c: answers the offer, which is in i->offer. 1: it ends here, as something is in the way or only that was asked. */
int mig_in_agree(struct mig_in *i, struct err *e);
bool mig_in_has_template(const struct mig_in *i);

/* Now and then when it takes long, so that the source hears that we go on. */
int mig_in_told(void *ctx, const char *stage, uint64_t done, uint64_t total);

/* in_sync.c: all is on the disk when this returns. */
int mig_in_sync(struct mig_receiving *r, struct err *e);
/* The same of files that have come since (storage_receive_durable()). */
int mig_in_await_files(struct mig_receiving *r, struct err *e);

/* image.c: of one that comes suspended: a piece of its image; all have come. */
int mig_in_image_piece(struct mig_receiving *r, struct err *e);
int mig_in_image_end(struct mig_receiving *r, struct err *e);

/* in_live.c: of one that comes running. */
/* Answers MIG_BEGIN and MIG_SYNC. */
int mig_in_ready(struct mig_receiving *r, struct err *e);
int mig_in_image(struct mig_receiving *r, struct err *e);
/* A frame from the network is kept; those that were kept go to the VPS. */
int mig_in_keep_packet(struct mig_receiving *r, struct err *e);
void mig_in_pass_packets(struct mig_receiving *r);
/* It runs: its record is written, and frames that still come to the source go to it. */
int mig_in_settle(struct mig_receiving *r, struct err *e);

#endif
