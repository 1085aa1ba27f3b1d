/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_DRIVE_H
#define TESTS_CHECKPOINT_DRIVE_H

/* The parts of `drive`, which saves and restores the test programs (see drive.c). */
#include "base/err.h"
#include "checkpoint/dump.h"
#include "runtime/vps.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* From the command line: see drive.c. */
extern struct drive_options {
	const char *typed, *device, *hook;
	const char *tree; /* what else is in the root: PROGRAM may be a script then */
	bool command_wanted, command_tty;
	bool keep, restricts, show, late, last_of_many, save_fails, restore_fails, killed, phases, networked, beside, clocks;
	int times, rounds, patience_s;
	enum ckpt_compression compression;
	char *altered[32];
	size_t altered_count;
} drive_opt;
extern char drive_dir[64]; /* of the VPS at work */

struct console {
	char text[65536];
	size_t len;
};

/* (drive_host.c) */
int drive_make_root(const char *program, struct err *e);
void drive_remove_root(void);
int drive_network_up(struct err *e);
int drive_add_interface(struct rt_spec *s, struct err *e);
pid_t drive_start_peer(const char *program);
int drive_end_peer(pid_t pid, int r, struct err *e);
int drive_run_hook(const struct rt_vps *v, const char *what, struct err *e);
int drive_make_spec(struct rt_spec *s);

/* (drive_save.c) Until the console says `word` on a line of its own. */
int drive_expect(const struct rt_vps *v, struct console *c, const char *word, struct err *e);
/* Whose last word is asked for. */
void drive_hear(const struct rt_vps *v, struct console *c);
int drive_save(const struct rt_spec *s, const struct rt_vps *v, int fd, struct ckpt_dump_result *res, struct err *e);

/* (drive_tries.c) True when nothing of a VPS is there. */
bool drive_nothing_left(const struct rt_spec *s);
int drive_kill_engines(const struct rt_spec *s, const struct rt_vps *v, struct err *e);
int drive_fail_to_save(const struct rt_spec *s, const struct rt_vps *v, struct err *e);
int drive_try_dump(const struct rt_spec *s, struct rt_vps *v, struct err *e);
int drive_try_restore(const struct rt_spec *s, int fd, struct err *e);
int drive_try_altered(const struct rt_spec *s, int fd, char *how, struct err *e);
int drive_try_clock(const struct rt_spec *s, int fd, const char *clock, struct err *e);

#endif
