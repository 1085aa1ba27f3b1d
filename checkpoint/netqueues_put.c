/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Queueing disciplines and filters as the kernel takes them, where that is not how it tells of them. */
#include "checkpoint/netqueues_internal.h"

#include "base/macro.h"

#define DEEP_MAX 16 /* tables that are made for rates of one filter */
#define HTB_TOLD 16 /* the kernel tells a version in the upper half, and takes it in the lower one */
#define CELL_LOG 3

/* A rate is told without the table that programs compute of it. The kernel wants one, but goes by the rate. */
static void put_table(struct nlmsghdr *q, const struct tc_ratespec *rate, uint16_t type, unsigned *tables)
{
	static const uint8_t table[TC_RTAB_SIZE];

	if (rate->rate && (*tables)++ < DEEP_MAX)
		mnl_attr_put(q, type, sizeof(table), table);
}

static void put_police(struct nlmsghdr *q, const struct nlattr *list, uint16_t type, unsigned *tables)
{
	struct nlattr *nest = mnl_attr_nest_start(q, type);
	const struct nlattr *a;
	struct tc_police t;

	mnl_attr_for_each_nested(a, list) {
		if (mnl_attr_get_type(a) != TCA_POLICE_TBF || mnl_attr_get_payload_len(a) < sizeof(t)) {
			net_attr_copy(q, a);
			continue;
		}
		memcpy(&t, mnl_attr_get_payload(a), sizeof(t));
		t.rate.cell_log = t.peakrate.cell_log = CELL_LOG;
		mnl_attr_put(q, TCA_POLICE_TBF, sizeof(t), &t);
		put_table(q, &t.rate, TCA_POLICE_RATE, tables);
		put_table(q, &t.peakrate, TCA_POLICE_PEAKRATE, tables);
	}
	mnl_attr_nest_end(q, nest);
}

static void put_actions(struct nlmsghdr *q, const struct nlattr *list, unsigned *tables)
{
	struct nlattr *nest = mnl_attr_nest_start(q, mnl_attr_get_type(list)), *one;
	const struct nlattr *a, *b;

	mnl_attr_for_each_nested(a, list) {
		const struct net_shape *s = net_action_shape(a);

		one = mnl_attr_nest_start(q, mnl_attr_get_type(a));
		mnl_attr_for_each_nested(b, a)
			if (s && STREQ(s->kind, "police") && mnl_attr_get_type(b) == TCA_ACT_OPTIONS)
				put_police(q, b, TCA_ACT_OPTIONS, tables);
			else
				net_attr_copy(q, b);
		mnl_attr_nest_end(q, one);
	}
	mnl_attr_nest_end(q, nest);
}

/* The table that comes with a priority has the number that the kernel chooses. */
static void put_hash(struct nlmsghdr *q, const struct nlattr *a)
{
	uint32_t hash = mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0;

	if (mnl_attr_get_payload_len(a) != 4)
		net_attr_copy(q, a);
	else
		mnl_attr_put_u32(q, TCA_U32_HASH, hash & NET_TABLE_CHOSEN ? TC_U32_ROOT : hash);
}

static void put_classifier(struct nlmsghdr *q, const struct nlmsghdr *m, const struct nlattr *options)
{
	const struct net_shape *s = net_shape_of(CKPT_NET_CLASSIFIER, m);
	struct nlattr *nest = mnl_attr_nest_start(q, TCA_OPTIONS);
	const struct nlattr *a;
	bool vlan = net_classifier_is_of_vlan(s, options);
	unsigned tables = 0;

	if (vlan)
		mnl_attr_put_u16(q, TCA_FLOWER_KEY_ETH_TYPE, net_classifier_protocol(m));
	mnl_attr_for_each_nested(a, options) {
		uint16_t type = mnl_attr_get_type(a);

		if (s && type && type == s->actions)
			put_actions(q, a, &tables);
		else if (s && type && type == s->police)
			put_police(q, a, type, &tables);
		else if (s && STREQ(s->kind, "u32") && type == TCA_U32_HASH)
			put_hash(q, a);
		else if (!vlan || type != TCA_FLOWER_KEY_ETH_TYPE)
			net_attr_copy(q, a);
	}
	mnl_attr_nest_end(q, nest);
}

static void put_htb(struct nlmsghdr *q, const struct nlattr *options)
{
	struct nlattr *nest = mnl_attr_nest_start(q, TCA_OPTIONS);
	const struct nlattr *a;
	struct tc_htb_glob g;

	mnl_attr_for_each_nested(a, options) {
		if (mnl_attr_get_type(a) != TCA_HTB_INIT || mnl_attr_get_payload_len(a) != sizeof(g)) {
			net_attr_copy(q, a);
			continue;
		}
		memcpy(&g, mnl_attr_get_payload(a), sizeof(g));
		g.version = g.version >> HTB_TOLD ? g.version >> HTB_TOLD : g.version;
		mnl_attr_put(q, TCA_HTB_INIT, sizeof(g), &g);
	}
	mnl_attr_nest_end(q, nest);
}

/* Microseconds that the kernel keeps in units of 1024 ns: it rounds down when it is told and when it tells. */
static void put_codel(struct nlmsghdr *q, const struct nlattr *options, uint16_t threshold)
{
	struct nlattr *nest = mnl_attr_nest_start(q, TCA_OPTIONS);
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, options) {
		uint16_t type = mnl_attr_get_type(a);
		bool is_time = type == TCA_CODEL_TARGET || type == TCA_CODEL_INTERVAL || type == threshold;
		uint32_t us = is_time && mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0;

		if (us && us < UINT32_MAX)
			mnl_attr_put_u32(q, type, us + 1);
		else
			net_attr_copy(q, a);
	}
	mnl_attr_nest_end(q, nest);
}

static_assert(TCA_CODEL_TARGET == (int)TCA_FQ_CODEL_TARGET && TCA_CODEL_INTERVAL == (int)TCA_FQ_CODEL_INTERVAL,
	      "codel and fq_codel number times alike");

bool net_queue_put(struct nlmsghdr *q, enum ckpt_net_part p, const struct nlmsghdr *m, const struct nlattr *a)
{
	const struct net_shape *s;

	if (mnl_attr_get_type(a) != TCA_OPTIONS || (p != CKPT_NET_CLASSIFIER && p != CKPT_NET_DISCIPLINE))
		return false;
	s = net_shape_of(p, m);
	if (!s)
		return false;
	if (p == CKPT_NET_CLASSIFIER)
		put_classifier(q, m, a);
	else if (STREQ(s->kind, "htb"))
		put_htb(q, a);
	else if (STREQ(s->kind, "codel"))
		put_codel(q, a, TCA_CODEL_CE_THRESHOLD);
	else if (STREQ(s->kind, "fq_codel"))
		put_codel(q, a, TCA_FQ_CODEL_CE_THRESHOLD);
	else
		return false;
	return true;
}

void net_queue_settle(enum ckpt_net_part p, const struct nlmsghdr *m, struct tcmsg *tc)
{
	char kind[NET_QUEUE_KIND_MAX];

	if (p != CKPT_NET_CLASSIFIER)
		return;
	net_queue_kind(CKPT_NET_CLASSIFIER, m, kind);
	if (STREQ(kind, "u32") && tc->tcm_handle & NET_TABLE_CHOSEN)
		tc->tcm_handle = TC_U32_NODE(tc->tcm_handle);
}
