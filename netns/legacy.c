/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The tables of the old iptables, which nftables does not show: ip_tables.h and ip6_tables.h of the kernel's uapi. */
#include "netns/internal.h"

#include "base/fd.h"
#include "base/macro.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#define TABLE_MAX (64u << 20)

/* Where the entries of the two families have what is read of them here. */
static const struct family {
	int family, level, info, entries;
	const char *names, *program;
	size_t head, target;
} families[] = {
	{ AF_INET, SOL_IP, IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES, "/proc/net/ip_tables_names", "iptables-legacy",
	  sizeof(struct ipt_entry), offsetof(struct ipt_entry, target_offset) },
	{ AF_INET6, SOL_IPV6, IP6T_SO_GET_INFO, IP6T_SO_GET_ENTRIES, "/proc/net/ip6_tables_names", "ip6tables-legacy",
	  sizeof(struct ip6t_entry), offsetof(struct ip6t_entry, target_offset) },
};

static const struct {
	unsigned hook;
	const char *chain;
} chains[] = { { NF_INET_FORWARD, "FORWARD" }, { NF_INET_LOCAL_IN, "INPUT" } };

/* Asking for a table that is not there would make it, and load its module. */
static bool has_filter(const char *names)
{
	cleanup_free char *text = NULL;

	if (fd_read_file_at(AT_FDCWD, names, 4096, &text, NULL) < 0)
		return false;
	return strncmp(text, "filter\n", 7) == 0 || strstr(text, "\nfilter\n");
}

bool netns_legacy_drops(const void *table, size_t size, size_t policy, int family)
{
	const struct family *f = family == AF_INET ? &families[0] : &families[1];
	struct xt_standard_target t;
	uint16_t target;

	if (policy > size || size - policy < f->head)
		return false;
	memcpy(&target, (const char *)table + policy + f->target, sizeof(target));
	if (target < f->head || target > size - policy || size - policy - target < sizeof(t))
		return false;
	memcpy(&t, (const char *)table + policy + target, sizeof(t));
	return !*t.target.u.user.name && t.verdict == -NF_DROP - 1;
}

/* *ret is NULL when there is none. The caller frees it. */
static int read_table(const struct family *f, struct ipt_getinfo *info, struct ipt_get_entries **ret, struct err *e)
{
	cleanup_close int fd = socket(f->family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	cleanup_free struct ipt_get_entries *got = NULL;
	socklen_t len = sizeof(*info);

	*ret = NULL;
	strcpy(info->name, "filter");
	if (fd < 0 || getsockopt(fd, f->level, f->info, info, &len) < 0)
		return err_sys(e, "look at %s", f->program);
	if (info->size > TABLE_MAX)
		return err_set(e, ERR_FAIL, "%s has more rules than are looked at", f->program);
	len = (socklen_t)(sizeof(*got) + info->size);
	got = calloc(1, len);
	if (!got)
		return err_code(e, -ENOMEM, "look at %s", f->program);
	strcpy(got->name, "filter");
	got->size = info->size;
	if (getsockopt(fd, f->level, f->entries, got, &len) < 0)
		return err_sys(e, "look at %s", f->program);
	*ret = TAKE_PTR(got);
	return 0;
}

int netns_legacy_drop(const struct netns_host *h, char *ret, size_t size, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *f = &families[i];
		cleanup_free struct ipt_get_entries *t = NULL;
		struct ipt_getinfo info = { 0 };
		int r = has_filter(f->names) ? read_table(f, &info, &t, e) : 0;

		if (r < 0)
			return r;
		/* A rule that names the bridge was made for it. */
		if (!t || memmem(t->entrytable, t->size, h->bridge, strlen(h->bridge)))
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(chains); k++) {
			unsigned hook = chains[k].hook;

			if (!(info.valid_hooks & 1u << hook) ||
			    !netns_legacy_drops(t->entrytable, t->size, info.underflow[hook], f->family))
				continue;
			snprintf(ret, size, "%s filter %s", f->program, chains[k].chain);
			return 1;
		}
	}
	return 0;
}
