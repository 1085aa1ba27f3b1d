/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_OFFER_H
#define MIGRATE_OFFER_H

#include "base/err.h"
#include "storage/template.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What the source says first (MIG_HELLO): all that the destination needs to know to say what stands
 * in the way. It answers with MIG_ANSWER {obstacles: [text…], template: bool}; with no obstacle the
 * source goes on.
 */

enum mig_mode {
	MIG_MOVE,   /* gone here when it is there */
	MIG_COPY,   /* another one: with an identity and addresses of its own */
	MIG_STREAM, /* one way: no answer, nothing becomes of the source */
	MIG_ASK,    /* whether migration `id` was taken over; nothing is sent */
};

struct mig_offer {
	enum mig_mode mode;
	bool live, dry_run;
	bool paused;        /* of a live one: it is, and stays so */
	bool resume;        /* of a suspended one: it is to be resumed when it is there */
	char id[37];        /* of this migration */
	char name[64];      /* what it is to be called */
	char from[64];      /* what it is called at the source */
	char version[32];   /* of vps */
	char arch[16];      /* uname -m */
	char kernel[65];    /* uname -r */
	char *config;       /* the file's text */
	bool has_template;  /* it is in the stream whether asked for or not */
	struct storage_template template;
	uint64_t bytes, entries; /* of the root's own files, about */
	uint64_t memory;         /* that it uses now */
	uint64_t image;          /* bytes of the image that it is suspended in; 0: it is not */
	json_t *cpu;             /* checkpoint's own facts; may be NULL */
};

/* The caller's; NULL when out of memory or when a text is not UTF-8. */
json_t *mig_offer_format(const struct mig_offer *o);
/* ERR_USAGE when it is none. Lengths and forms are checked, the config's text is not. */
int mig_offer_parse(json_t *j, struct mig_offer *ret, struct err *e);
/* Fills what is said of this host. */
void mig_offer_host(struct mig_offer *o);
/* Frees what it holds; harmless on a zeroed one. */
void mig_offer_done(struct mig_offer *o);

/* Adds a text to a list of what stands in the way. */
__attribute__((format(printf, 2, 3))) void mig_obstacle(json_t *list, const char *fmt, ...);

const char *mig_mode_name(enum mig_mode m);
int mig_mode_find(const char *name); /* -EINVAL */

#endif
