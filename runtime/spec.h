/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_SPEC_H
#define RUNTIME_SPEC_H

#include "base/err.h"
#include "base/str.h"
#include "runtime/config.h"
#include "storage/root.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * All that is needed to start one VPS, resolved: the runtime looks nothing up. It travels from vpsd
 * to the monitor as JSON.
 */
struct rt_mount {
	char *host;  /* absolute path on the host */
	char *guest; /* absolute path inside */
	bool read_only;
};

struct rt_spec {
	char name[64];
	char uuid[37];
	char hostname[64];
	char run_dir[512];      /* run/vps/NAME of the state root; exists */
	char lib_dir[512];      /* lib/vps/NAME */
	char cgroup_parent[128];/* the state root's tag */
	struct storage_root root;

	/* Boot: argv is the template's init, PID 1. Otherwise argv is run by vps-init as its only
	 * child, with the caller's stdio (or the console when `tty`), user and directory. */
	bool boot;
	bool tty;
	struct strv argv;
	struct strv env;        /* "K=V" */
	char user[64];          /* "name", "uid", "uid:gid"; "" is root; !boot only */
	char cwd[512];          /* "" is / */

	int stop_signal;        /* to PID 1 for a clean stop */
	uint64_t stop_timeout_us;
	bool migratable;        /* seccomp refuses what could not be saved */
	struct rt_mount *mounts;
	size_t mount_count;
	struct strv dns;        /* addresses for resolv.conf; empty: the host's */
	struct strv rlimits;    /* "nofile=1024:524288" */
	struct config limits;   /* the settings that the cgroup and network layers apply */
};

#define RT_SPEC_MAX (1024 * 1024) /* bytes of JSON */

void rt_spec_done(struct rt_spec *s);

/* Fills it from a VPS's config and template (run_dir … must be set by the caller before). The
 * template's init, stop signal and the settings `init`, `env`, `mount`, … decide. */
struct storage_template;
int rt_spec_from_config(struct rt_spec *s, const char *name, const struct config *c,
			const struct storage_template *t, struct err *e);

/* JSON both ways. Parsing checks everything as if it came from a stranger; unknown members are
 * refused. rt_spec_format returns text that the caller frees, NULL when out of memory. */
int rt_spec_parse(struct rt_spec *s, const char *json, size_t len, struct err *e);
char *rt_spec_format(const struct rt_spec *s);

/* "host:guest[:ro]" into a mount, both absolute, without "..", ERR_USAGE else. */
int rt_mount_parse(const char *text, struct rt_mount *ret, struct err *e);
void rt_mount_done(struct rt_mount *m);

#endif
