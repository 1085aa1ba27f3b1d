/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_WORKER_H
#define SUPERVISOR_WORKER_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The parts of vps-worker. Each operation takes the job's parameters and fills *ret (NULL: {}).
 * vpsd has checked what it passes on from a client; names are checked again where a path is made.
 */
typedef int (*worker_op)(json_t *job, json_t **ret, struct err *e);

int worker_create(json_t *job, json_t **ret, struct err *e);
int worker_destroy(json_t *job, json_t **ret, struct err *e);
int worker_sweep(json_t *job, json_t **ret, struct err *e);
int worker_rename(json_t *job, json_t **ret, struct err *e);
int worker_cleanup(json_t *job, json_t **ret, struct err *e);
int worker_set(json_t *job, json_t **ret, struct err *e);
int worker_set_text(json_t *job, json_t **ret, struct err *e);
int worker_template_build(json_t *job, json_t **ret, struct err *e);
int worker_template_import(json_t *job, json_t **ret, struct err *e);
int worker_template_remove(json_t *job, json_t **ret, struct err *e);
int worker_template_sweep(json_t *job, json_t **ret, struct err *e);
int worker_push(json_t *job, json_t **ret, struct err *e);
int worker_pull(json_t *job, json_t **ret, struct err *e);
int worker_save(json_t *job, json_t **ret, struct err *e);
int worker_adopt(json_t *job, json_t **ret, struct err *e);
int worker_adopt_sweep(json_t *job, json_t **ret, struct err *e);
int worker_image_show(json_t *job, json_t **ret, struct err *e);
int worker_image_verify(json_t *job, json_t **ret, struct err *e);
int worker_check(json_t *job, json_t **ret, struct err *e);
int worker_move_out(json_t *job, json_t **ret, struct err *e);
int worker_move_offer(json_t *job, json_t **ret, struct err *e);
int worker_move_in(json_t *job, json_t **ret, struct err *e);
int worker_move_recover(json_t *job, json_t **ret, struct err *e);
int worker_discard(json_t *job, json_t **ret, struct err *e);
int worker_doctor(json_t *job, json_t **ret, struct err *e);

/* What this program does (worker_rows.c, packer_rows.c), and the program that does the rest, or NULL. */
struct worker_row {
	const char *name;
	worker_op run;
};
extern const struct worker_row worker_rows[];
extern const size_t worker_row_count;
extern const char *const worker_other;

/* A string parameter; "" when it is not there. */
const char *job_text(json_t *job, const char *key);

/* One line for vpsd (jobs.h); takes it over. */
/* Tells vpsd a line; takes the reference over. When vpsd is gone, the job counts as cancelled. */
void worker_say(json_t *line);
/* True when the job is to be undone. */
/* vpsd has asked for the end, or is gone. */
bool worker_cancelled(void);
/* A storage_progress: tells vpsd, at most ten times a second; non-zero when cancelled. */
int worker_progress(void *ctx, const char *stage, uint64_t done, uint64_t total);

/* An fd of lib/vps, the caller's. */
int worker_open_vps(json_t *job, struct err *e);

#endif
