/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How far long work is, on standard error: a bar with rate and remaining time on a terminal, one
 * line a stage elsewhere, or every five seconds. Zero-initialise it; progress_end() takes the bar away.
 */
struct progress {
	bool quiet; /* shows nothing (--json) */
	char stage[64];
	uint64_t stage_us, drawn_us; /* CLOCK_MONOTONIC */
	bool drawn;
};

/* Bytes of this stage so far; `total` 0: unknown. */
void progress_show(struct progress *p, const char *stage, uint64_t done, uint64_t total);
void progress_end(struct progress *p);

#endif
