/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/value.h"

#include "netns/net.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"
#include "runtime/spec.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>

#define SHOWN ".80s" /* a value's part in a message */

/* ASCII only, whatever the locale. */
static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int value_hostname(const char *s, struct err *e)
{
	size_t label = 0, len = strlen(s);
	bool good = len > 0 && len <= 63;

	for (size_t i = 0; good && i <= len; i++) {
		if (s[i] == '.' || s[i] == '\0') {
			good = label > 0 && s[i - 1] != '-';
			label = 0;
		} else {
			good = is_alnum(s[i]) || (s[i] == '-' && label > 0);
			label++;
		}
	}
	if (good)
		return 0;
	err_set(e, ERR_USAGE, "%" SHOWN " is not a host name", s);
	return err_hint(e, "letters, digits and inner hyphens, 63 at most, for example web1");
}

bool path_is_normal(const char *path)
{
	if (path[0] != '/')
		return false;
	if (path[1] == '\0')
		return true;
	while (*path == '/') {
		size_t len = strcspn(++path, "/");

		if (len == 0 || (len == 1 && path[0] == '.') ||
		    (len == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		path += len;
	}
	return true;
}

int value_init(const char *s, struct err *e)
{
	cleanup_strv struct strv words = { 0 };

	int r = strv_split_words(&words, s);

	if (r == -EINVAL)
		return err_set(e, ERR_USAGE, "%" SHOWN " has a quote without its end", s);
	if (r < 0)
		return err_code(e, r, "read a command");
	if (words.count > 0 && path_is_normal(words.item[0]) && words.item[0][1])
		return 0;
	err_set(e, ERR_USAGE, "%" SHOWN " is not a command with an absolute path", s);
	return err_hint(e, "for example /sbin/init");
}

int value_env(const char *s, struct err *e)
{
	size_t i = 0;

	while (is_alnum(s[i]) || s[i] == '_')
		i++;
	if (i > 0 && s[i] == '=' && !(s[0] >= '0' && s[0] <= '9'))
		return 0;
	err_set(e, ERR_USAGE, "%" SHOWN " is not NAME=VALUE", s);
	return err_hint(e, "for example LANG=C.UTF-8");
}

/* What the runtime mounts itself; a tenant's view of the kernel must not be swapped for another. */
static bool guest_is_reserved(const char *path)
{
	static const char *const trees[] = { "/proc", "/sys" };

	if (STREQ(path, "/") || STREQ(path, "/dev"))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(trees); i++) {
		size_t n = strlen(trees[i]);

		if (strncmp(path, trees[i], n) == 0 && (path[n] == '/' || path[n] == '\0'))
			return true;
	}
	return false;
}

void rt_mount_done(struct rt_mount *m)
{
	free(m->host);
	free(m->guest);
	*m = (struct rt_mount){ 0 };
}

static int bad_mount(const char *text, struct err *e)
{
	err_set(e, ERR_USAGE, "%" SHOWN " is not HOST:GUEST[:ro], two absolute paths without ..",
		text);
	return err_hint(e, "for example /srv/data:/data:ro");
}

int rt_mount_parse(const char *text, struct rt_mount *ret, struct err *e)
{
	const char *colon = strchr(text, ':'), *mode;
	struct rt_mount m = { 0 };

	*ret = m;
	if (!colon)
		return bad_mount(text, e);
	mode = strchrnul(colon + 1, ':');
	m.read_only = STREQ(mode, ":ro");
	if (*mode && !m.read_only && !STREQ(mode, ":rw"))
		return bad_mount(text, e);
	m.host = strndup(text, (size_t)(colon - text));
	m.guest = strndup(colon + 1, (size_t)(mode - colon - 1));
	if (!m.host || !m.guest) {
		rt_mount_done(&m);
		return err_code(e, -ENOMEM, "read a mount");
	}
	if (!path_is_normal(m.host) || !path_is_normal(m.guest) || strlen(m.host) >= 4096 ||
	    strlen(m.guest) >= 4096) {
		rt_mount_done(&m);
		return bad_mount(text, e);
	}
	if (guest_is_reserved(m.guest)) {
		err_set(e, ERR_USAGE, "%" SHOWN ": nothing can be mounted at %" SHOWN " inside",
			text, m.guest);
		rt_mount_done(&m);
		return err_errno(ERR_USAGE);
	}
	*ret = m;
	return 0;
}

int value_mount(const char *s, struct err *e)
{
	struct rt_mount m;
	int r = rt_mount_parse(s, &m, e);

	if (r == 0)
		rt_mount_done(&m);
	return r;
}

static const struct {
	const char *name;
	enum rt_feature bit;
} features[] = {
	{ "io_uring", RT_FEATURE_IO_URING },
	{ "userfaultfd", RT_FEATURE_USERFAULTFD },
	{ "landlock", RT_FEATURE_LANDLOCK },
	{ "nesting", RT_FEATURE_NESTING },
	{ "socketcall", RT_FEATURE_SOCKETCALL },
};

unsigned rt_feature_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (STREQ(features[i].name, name))
			return features[i].bit;
	return 0;
}

const char *rt_feature_name(enum rt_feature bit)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].bit == bit)
			return features[i].name;
	return "";
}

int value_feature(const char *s, struct err *e)
{
	if (rt_feature_find(s))
		return 0;
	err_set(e, ERR_USAGE, "%" SHOWN " is not a feature", s);
	return err_hint(e, "io_uring, landlock, nesting, socketcall or userfaultfd");
}

static const struct {
	const char *name;
	int resource;
	bool bytes;
} rlimits[] = {
	{ "as", RLIMIT_AS, true },
	{ "core", RLIMIT_CORE, true },
	{ "cpu", RLIMIT_CPU, false },
	{ "data", RLIMIT_DATA, true },
	{ "fsize", RLIMIT_FSIZE, true },
	{ "locks", RLIMIT_LOCKS, false },
	{ "memlock", RLIMIT_MEMLOCK, true },
	{ "msgqueue", RLIMIT_MSGQUEUE, true },
	{ "nice", RLIMIT_NICE, false },
	{ "nofile", RLIMIT_NOFILE, false },
	{ "nproc", RLIMIT_NPROC, false },
	{ "rss", RLIMIT_RSS, true },
	{ "rtprio", RLIMIT_RTPRIO, false },
	{ "rttime", RLIMIT_RTTIME, false },
	{ "sigpending", RLIMIT_SIGPENDING, false },
	{ "stack", RLIMIT_STACK, true },
};

static int parse_limit(const char *s, bool bytes, rlim_t *ret)
{
	uint64_t v;
	int r;

	if (STREQ(s, "max") || STREQ(s, "unlimited") || STREQ(s, "infinity")) {
		*ret = RLIM_INFINITY;
		return 0;
	}
	r = bytes ? parse_size(s, &v) : parse_u64(s, &v);
	if (r == 0 && v == RLIM_INFINITY)
		return -ERANGE;
	*ret = v;
	return r;
}

int rt_rlimit_parse(const char *text, int *ret_resource, struct rlimit *ret, struct err *e)
{
	const char *equals = strchrnul(text, '='), *value = *equals ? equals + 1 : equals;
	const char *colon = strchrnul(value, ':'), *hard = *colon ? colon + 1 : value;
	size_t name_len = (size_t)(equals - text), soft_len = (size_t)(colon - value);
	char soft[32];

	for (size_t i = 0; i < ARRAY_SIZE(rlimits) && soft_len < sizeof(soft); i++) {
		if (strlen(rlimits[i].name) != name_len ||
		    strncmp(rlimits[i].name, text, name_len) != 0)
			continue;
		memcpy(soft, value, soft_len);
		soft[soft_len] = '\0';
		if (parse_limit(soft, rlimits[i].bytes, &ret->rlim_cur) < 0 ||
		    parse_limit(*colon ? hard : soft, rlimits[i].bytes, &ret->rlim_max) < 0)
			break;
		if (ret->rlim_cur > ret->rlim_max)
			return err_set(e, ERR_USAGE, "%" SHOWN ": soft is above hard", text);
		*ret_resource = rlimits[i].resource;
		return 0;
	}
	err_set(e, ERR_USAGE, "%" SHOWN " is not NAME=SOFT[:HARD] of a resource limit", text);
	return err_hint(e, "for example nofile=1024:524288 or core=max");
}

int value_rlimit(const char *s, struct err *e)
{
	struct rlimit limit;
	int resource;

	return rt_rlimit_parse(s, &resource, &limit, e);
}

static bool is_address(const char *s)
{
	unsigned char bin[16];

	return inet_pton(AF_INET, s, bin) == 1 || inet_pton(AF_INET6, s, bin) == 1;
}

int value_address(const char *s, struct err *e)
{
	if (is_address(s))
		return 0;
	err_set(e, ERR_USAGE, "%" SHOWN " is not an IP address", s);
	return err_hint(e, "for example 192.0.2.53 or 2001:db8::53");
}

int value_signal(const char *s, struct err *e)
{
	if (parse_signal(s) > 0)
		return 0;
	err_set(e, ERR_USAGE, "%" SHOWN " is not a signal", s);
	return err_hint(e, "for example SIGTERM or SIGRTMIN+3");
}

int value_cpus(const char *s, struct err *e)
{
	cleanup_strv struct strv ranges = { 0 };
	bool good = s[0] && s[0] != ',' && s[strlen(s) - 1] != ',' && !strstr(s, ",,");

	if (strv_split(&ranges, s, ",") < 0)
		return err_code(e, -ENOMEM, "read a list of CPUs");
	for (size_t i = 0; good && i < ranges.count; i++) {
		char *dash = strchr(ranges.item[i], '-');
		uint64_t first, last;

		if (dash)
			*dash++ = '\0';
		good = parse_u64(ranges.item[i], &first) == 0 &&
		       parse_u64(dash ? dash : ranges.item[i], &last) == 0 && first <= last &&
		       last < 8192; /* the largest NR_CPUS of x86-64 */
	}
	if (good)
		return 0;
	err_set(e, ERR_USAGE, "%" SHOWN " is not a list of CPUs", s);
	return err_hint(e, "for example 0-3,8");
}

int value_device(const char *s, struct err *e)
{
	const char *colon = strchrnul(s, ':');
	char path[256];

	if ((size_t)(colon - s) < sizeof(path)) {
		memcpy(path, s, (size_t)(colon - s));
		path[colon - s] = '\0';
		if (strncmp(path, "/dev/", 5) == 0 && path_is_normal(path) &&
		    (!*colon || (colon[1] && strspn(colon + 1, "rwm") == strlen(colon + 1))))
			return 0;
	}
	err_set(e, ERR_USAGE, "%" SHOWN " is not a device", s);
	return err_hint(e, "for example /dev/fuse or /dev/nvme1n1:r");
}

int value_net(const char *s, struct err *e)
{
	struct netns_if i;

	return netns_if_parse(s, &i, e);
}

int value_publish(const char *s, struct err *e)
{
	struct netns_publish p;

	return netns_publish_parse(s, &p, e);
}

int value_firewall(const char *s, struct err *e)
{
	struct netns_rule r;

	return netns_rule_parse(s, &r, e);
}

int value_allow(const char *s, struct err *e)
{
	struct netns_allow a;

	return netns_allow_parse(s, &a, e);
}

int value_uuid(const char *s, struct err *e)
{
	bool good = strlen(s) == 36;

	for (int i = 0; good && i < 36; i++)
		good = i == 8 || i == 13 || i == 18 || i == 23 ?
			       s[i] == '-' :
			       (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f');
	if (good)
		return 0;
	return err_set(e, ERR_USAGE, "%" SHOWN " is not a UUID", s);
}
