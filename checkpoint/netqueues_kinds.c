/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Queueing disciplines, classes, filters and actions: the kinds that can be made again, and what is known of each. */
#include "checkpoint/netqueues_internal.h"

#include "base/macro.h"

#define BIT(n) ((uint64_t)1 << (n))

static const struct net_shape disciplines[] = {
	{ .kind = "pfifo" },
	{ .kind = "bfifo" },
	{ .kind = "pfifo_fast" },
	{ .kind = "tbf" },
	{ .kind = "fq" },
	{ .kind = "prio" },
	{ .kind = "sfq" },
	{ .kind = "hfsc" },
	{ .kind = "drr" },
	{ .kind = "ingress" },
	{ .kind = "clsact" },
	{ .kind = "htb", .last = 9, .refuse = BIT(9) /* TCA_HTB_OFFLOAD: to a device */ },
	{ .kind = "codel", .last = TCA_CODEL_MAX },
	{ .kind = "fq_codel", .last = 11 /* TCA_FQ_CODEL_CE_THRESHOLD_MASK */ },
};

/* Of other disciplines those that are there come with it. */
static const struct net_shape classes[] = {
	{ .kind = "htb", .last = 8 },
	{ .kind = "drr", .last = TCA_DRR_MAX },
	{ .kind = "hfsc", .last = TCA_HFSC_MAX },
};

static const struct net_shape classifiers[] = {
	{ .kind = "u32", .last = 12, .told = BIT(TCA_U32_PCNT) | BIT(12), .actions = TCA_U32_ACT,
	  .police = TCA_U32_POLICE, .flags = TCA_U32_FLAGS },
	{ .kind = "matchall", .last = 5, .told = BIT(4) | BIT(5), .actions = TCA_MATCHALL_ACT,
	  .flags = TCA_MATCHALL_FLAGS },
	{ .kind = "fw", .last = TCA_FW_MASK, .actions = TCA_FW_ACT, .police = TCA_FW_POLICE },
	{ .kind = "basic", .last = 6, .told = BIT(5) | BIT(6), .actions = TCA_BASIC_ACT, .police = TCA_BASIC_POLICE },
	/* Of a VLAN in a VLAN it is not told by what protocol that is one; nor, in later attributes, of PPPoE. */
	{ .kind = "flower", .last = 101 /* TCA_FLOWER_KEY_HASH_MASK */, .actions = TCA_FLOWER_ACT,
	  .flags = TCA_FLOWER_FLAGS, .also_told = TCA_FLOWER_IN_HW_COUNT, .refuse_first = TCA_FLOWER_KEY_CVLAN_ID,
	  .refuse_last = TCA_FLOWER_KEY_CVLAN_ETH_TYPE },
};

/* Times since they were made and used are only told. */
static const struct net_shape actions[] = {
	{ .kind = "gact", .last = 4, .told = BIT(1) | BIT(4) },
	{ .kind = "mirred", .last = 3, .told = BIT(1) | BIT(3) },
	{ .kind = "skbedit", .last = 10, .told = BIT(1) | BIT(6) },
	{ .kind = "vlan", .last = 8, .told = BIT(1) | BIT(5) },
	/* What a rate is found to be by an estimator, is no rate that can be said. */
	{ .kind = "police", .last = 11, .told = BIT(TCA_POLICE_TM) | BIT(TCA_POLICE_PAD),
	  .refuse = BIT(TCA_POLICE_AVRATE) },
};

void net_queue_kind_read(const struct nlattr *a, char ret[NET_QUEUE_KIND_MAX])
{
	bool text = a && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0;

	snprintf(ret, NET_QUEUE_KIND_MAX, "%s", text ? mnl_attr_get_str(a) : "");
}

static bool is_queue(enum ckpt_net_part p)
{
	return p == CKPT_NET_DISCIPLINE || p == CKPT_NET_CLASS || p == CKPT_NET_CLASSIFIER;
}

void net_queue_kind(enum ckpt_net_part p, const struct nlmsghdr *m, char ret[NET_QUEUE_KIND_MAX])
{
	net_queue_kind_read(!is_queue(p) ? NULL : nl_attr(m, sizeof(struct tcmsg), TCA_KIND), ret);
}

static const struct net_shape *find_kind(const struct net_shape *s, size_t count, const char *kind)
{
	for (size_t i = 0; i < count; i++)
		if (STREQ(s[i].kind, kind))
			return &s[i];
	return NULL;
}

const struct net_shape *net_shape_of(enum ckpt_net_part p, const struct nlmsghdr *m)
{
	char kind[NET_QUEUE_KIND_MAX];

	net_queue_kind(p, m, kind);
	if (p == CKPT_NET_DISCIPLINE)
		return find_kind(disciplines, ARRAY_SIZE(disciplines), kind);
	if (p == CKPT_NET_CLASS)
		return find_kind(classes, ARRAY_SIZE(classes), kind);
	return find_kind(classifiers, ARRAY_SIZE(classifiers), kind);
}

const struct net_shape *net_action_shape(const struct nlattr *action)
{
	char kind[NET_QUEUE_KIND_MAX];

	net_queue_kind_read(nl_nested(action, TCA_ACT_KIND), kind);
	return find_kind(actions, ARRAY_SIZE(actions), kind);
}

const struct net_shape *net_police_shape(void)
{
	return find_kind(actions, ARRAY_SIZE(actions), "police");
}

bool net_class_is_kept(const struct nlmsghdr *m)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(m);

	return TC_H_MIN(tc->tcm_handle) != 0 && net_shape_of(CKPT_NET_CLASS, m);
}

static bool is_table(const struct nlmsghdr *m)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(m);
	char kind[NET_QUEUE_KIND_MAX];

	net_queue_kind(CKPT_NET_CLASSIFIER, m, kind);
	return STREQ(kind, "u32") && tc->tcm_handle && !TC_U32_KEY(tc->tcm_handle);
}

bool net_classifier_is_root(const struct nlmsghdr *m)
{
	return is_table(m) && ((const struct tcmsg *)mnl_nlmsg_get_payload(m))->tcm_handle & NET_TABLE_CHOSEN;
}

bool net_shape_tells(const struct net_shape *s, uint16_t type)
{
	return (type < 64 && s->told >> type & 1) || (type && type == s->also_told);
}

bool net_classifier_is_of_vlan(const struct net_shape *s, const struct nlattr *options)
{
	return s && STREQ(s->kind, "flower") &&
	       (nl_nested(options, TCA_FLOWER_KEY_VLAN_ID) || nl_nested(options, TCA_FLOWER_KEY_VLAN_PRIO) ||
		nl_nested(options, TCA_FLOWER_KEY_VLAN_ETH_TYPE));
}

uint16_t net_classifier_protocol(const struct nlmsghdr *m)
{
	return (uint16_t)TC_H_MIN(((const struct tcmsg *)mnl_nlmsg_get_payload(m))->tcm_info);
}

void net_attr_copy(struct nlmsghdr *q, const struct nlattr *a)
{
	mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
}
