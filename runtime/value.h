/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_VALUE_H
#define RUNTIME_VALUE_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/resource.h>

/*
 * The forms of string settings. The checks fill ERR_USAGE with a message without the setting's
 * name, "x..y is not a host name", and a hint of what is; they are the `check` of the settings
 * table and are used again where such text arrives from elsewhere.
 */

/* RFC 1123: labels of letters, digits and inner hyphens, at most 63 bytes in all. */
int value_hostname(const char *s, struct err *e);
/* "/sbin/init arg …": an absolute path and words, separated by blanks. */
int value_init(const char *s, struct err *e);
/* K=V, K of letters, digits and underscores. */
int value_env(const char *s, struct err *e);
/* rt_mount_parse()'s form. */
int value_mount(const char *s, struct err *e);
int value_feature(const char *s, struct err *e);
int value_rlimit(const char *s, struct err *e);
/* An IPv4 or IPv6 address. */
int value_address(const char *s, struct err *e);
int value_signal(const char *s, struct err *e);
/* A list of CPUs as cpuset(7) writes it: "0-3,8". */
int value_cpus(const char *s, struct err *e);
/* "/dev/fuse" or "/dev/fuse:rwm". */
int value_device(const char *s, struct err *e);
/* "name=eth0,mode=bridge,ip=10.20.0.5/24,…". */
int value_net(const char *s, struct err *e);
/* "[ADDRESS:]PORT[-PORT]:PORT[-PORT][/tcp|/udp|/tcp+udp]", an IPv6 address in brackets. */
int value_publish(const char *s, struct err *e);
/* "NAME", "ADDRESS[/PREFIX]" or "host", optionally followed by ":PORT[/tcp|/udp]". */
/* "deny 22/tcp from 192.0.2.0/24", netns/net.h. */
int value_firewall(const char *s, struct err *e);
int value_allow(const char *s, struct err *e);
/* 8-4-4-4-12 lower-case hexadecimal digits. */
int value_uuid(const char *s, struct err *e);

/* True for an absolute path without empty, "." and ".." components; "/" is one. */
bool path_is_normal(const char *path);

/* What a VPS may have beyond the defaults (setting `feature`), as bits. */
enum rt_feature {
	RT_FEATURE_IO_URING = 1,
	RT_FEATURE_USERFAULTFD = 2,
	RT_FEATURE_NESTING = 4,    /* containers inside: nothing is mounted over /proc and /sys */
	RT_FEATURE_LANDLOCK = 8,
	RT_FEATURE_SOCKETCALL = 16,/* 32-bit x86 programs may make sockets; of any family, then */
};
/* Those whose kernel objects cannot be saved. */
#define RT_FEATURES_NOT_MIGRATABLE \
	(RT_FEATURE_IO_URING | RT_FEATURE_USERFAULTFD | RT_FEATURE_LANDLOCK)

/* The bit of a feature by name, 0 when there is none of that name. */
unsigned rt_feature_find(const char *name);
/* Its name; `bit` must be one of the above. */
const char *rt_feature_name(enum rt_feature bit);

/*
 * "nofile=1024:524288" or "nofile=1024" (both), numbers with a size unit where the limit is one of
 * bytes, `max` for RLIM_INFINITY: into setrlimit(2)'s resource and limits. ERR_USAGE else.
 */
int rt_rlimit_parse(const char *text, int *ret_resource, struct rlimit *ret, struct err *e);

#endif
