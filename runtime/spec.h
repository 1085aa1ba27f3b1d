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
	char pool4[32];         /* its pools of addresses, as netns_host_init() takes them; */
	char pool6[64];         /* "": what the tag makes them */
	bool arriving;          /* it runs elsewhere until it is committed here: netns_vps.arriving */
	struct storage_root root;

	/* Boot: argv is the template's init, PID 1. Otherwise argv is run by vps-init as its only
	 * child, with the caller's stdio (or the console when `tty`), user and directory. */
	bool boot;
	bool tty;
	struct strv argv;
	struct strv env;        /* "K=V" */
	char user[64];          /* "name", "uid", "uid:gid"; "" is root; !boot only */
	char cwd[4096];         /* "" is / */

	int stop_signal;        /* to PID 1 for a clean stop */
	uint64_t stop_timeout_us;
	unsigned features;      /* enum rt_feature bits, runtime/value.h */
	bool migratable;        /* no feature hinders it; seccomp refuses what could not be saved */
	struct rt_mount *mounts;
	size_t mount_count;
	struct strv dns;        /* addresses for resolv.conf; empty: the host's */
	struct strv search;     /* domains for resolv.conf, of one label each */
	struct strv rlimits;    /* "nofile=1024:524288" */
	struct config limits;   /* the settings that the cgroup and network layers apply */
};

#define RT_SPEC_MAX (8 << 20) /* bytes of JSON */

void rt_spec_done(struct rt_spec *s);

/*
 * Fills a zeroed spec from a VPS's config and template, as one that boots. run_dir, lib_dir,
 * cgroup_parent and root.lower are set by the caller, before or after; root.dir is lib_dir/root
 * unless it was set before. `t` may be NULL when the setting `init` is there. ERR_USAGE when the
 * config lacks uuid or id.base, or there is no init. *s needs rt_spec_done() also on failure.
 */
struct storage_template;
int rt_spec_from_config(struct rt_spec *s, const char *name, const struct config *c,
			const struct storage_template *t, struct err *e);

/* Adds "host:guest[:ro]"; sets "K=V", in the place of an entry of that K. ERR_USAGE when malformed. */
int rt_spec_add_mount(struct rt_spec *s, const char *text, struct err *e);
int rt_spec_set_env(struct rt_spec *s, const char *entry, struct err *e);

/* JSON both ways. Parsing checks everything as if it came from a stranger. Writer and reader may be
 * of different versions: a member that the writer names in `may_ignore` may be unknown to the reader,
 * any other is refused; missing may be what has a harmless zero. On failure (ERR_USAGE) *s is empty.
 * rt_spec_format returns text that the caller frees, NULL when out of memory or when a string is not
 * UTF-8. */
int rt_spec_parse(struct rt_spec *s, const char *json, size_t len, struct err *e);
char *rt_spec_format(const struct rt_spec *s);

/* "host:guest[:ro]" into a mount, both absolute, without "..", ERR_USAGE else; so are guest paths
 * that the runtime mounts itself: /, /dev, /proc and /sys with all below. */
int rt_mount_parse(const char *text, struct rt_mount *ret, struct err *e);
void rt_mount_done(struct rt_mount *m);

#endif
