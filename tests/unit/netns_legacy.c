/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "netns/internal.h"

#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

/* A chain's last entry, behind another one, as the kernel gives them. */
struct four {
	struct ipt_entry e;
	struct xt_standard_target t;
};
struct six {
	struct ip6t_entry e;
	struct xt_standard_target t;
};

static struct four entry4(int verdict)
{
	struct four f = { .e = { .target_offset = sizeof(f.e), .next_offset = sizeof(f) },
			  .t = { .target.u.user.target_size = sizeof(f.t), .verdict = verdict } };

	return f;
}

TEST(policy)
{
	struct four table[] = { entry4(-NF_ACCEPT - 1), entry4(-NF_DROP - 1) };
	struct six six = { .e = { .target_offset = sizeof(six.e), .next_offset = sizeof(six) },
			   .t = { .target.u.user.target_size = sizeof(six.t), .verdict = -NF_DROP - 1 } };

	ok(!netns_legacy_drops(table, sizeof(table), 0, AF_INET), "one that accepts");
	ok(netns_legacy_drops(table, sizeof(table), sizeof(table[0]), AF_INET), "one that drops");
	ok(netns_legacy_drops(&six, sizeof(six), 0, AF_INET6), "one of IPv6");
	strcpy(table[1].t.target.u.user.name, "LOG");
	ok(!netns_legacy_drops(table, sizeof(table), sizeof(table[0]), AF_INET), "another target is no verdict");
}

TEST(bounds)
{
	struct four table = entry4(-NF_DROP - 1);

	ok(!netns_legacy_drops(&table, sizeof(table), sizeof(table) + 1, AF_INET), "an entry behind the end");
	ok(!netns_legacy_drops(&table, sizeof(table) - 1, 0, AF_INET), "a target that is cut");
	table.e.target_offset = sizeof(table);
	ok(!netns_legacy_drops(&table, sizeof(table), 0, AF_INET), "one behind the end");
	table.e.target_offset = 1;
	ok(!netns_legacy_drops(&table, sizeof(table), 0, AF_INET), "one within the entry");
}
