/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Queueing disciplines, classes and filters: which can be made again, and how what the kernel tells of them is said. */
#include "checkpoint/netstate_internal.h"

#include "base/macro.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>

#define BIT(n) ((uint64_t)1 << (n))
#define DEEP_MAX 16 /* tables that are made for rates of one filter */
#define HTB_TOLD 16 /* the kernel tells a version in the upper half, and takes it in the lower one */
#define CELL_LOG 3

/* The attributes of a kind, up to the last one that is known. Kinds may keep other things in them than attributes. */
struct shape {
	const char *kind;
	uint16_t last;   /* 0: none are looked at */
	uint64_t told;   /* only told, a bit each */
	uint64_t refuse; /* cannot be said again */
	uint16_t actions, police, flags; /* of filters: which attributes these are */
	uint16_t also_told, refuse_first, refuse_last; /* beyond those that have a bit */
};

static const struct shape disciplines[] = {
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
static const struct shape classes[] = {
	{ .kind = "htb", .last = 8 },
	{ .kind = "drr", .last = TCA_DRR_MAX },
	{ .kind = "hfsc", .last = TCA_HFSC_MAX },
};

static const struct shape classifiers[] = {
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
static const struct shape actions[] = {
	{ .kind = "gact", .last = 4, .told = BIT(1) | BIT(4) },
	{ .kind = "mirred", .last = 3, .told = BIT(1) | BIT(3) },
	{ .kind = "skbedit", .last = 10, .told = BIT(1) | BIT(6) },
	{ .kind = "vlan", .last = 8, .told = BIT(1) | BIT(5) },
	/* What a rate is found to be by an estimator, is no rate that can be said. */
	{ .kind = "police", .last = 11, .told = BIT(TCA_POLICE_TM) | BIT(TCA_POLICE_PAD),
	  .refuse = BIT(TCA_POLICE_AVRATE) },
};

static void read_kind(const struct nlattr *a, char ret[NET_QUEUE_KIND_MAX])
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
	read_kind(!is_queue(p) ? NULL : nl_attr(m, sizeof(struct tcmsg), TCA_KIND), ret);
}

static const struct shape *find_kind(const struct shape *s, size_t count, const char *kind)
{
	for (size_t i = 0; i < count; i++)
		if (STREQ(s[i].kind, kind))
			return &s[i];
	return NULL;
}

static const struct shape *shape_of(enum ckpt_net_part p, const struct nlmsghdr *m)
{
	char kind[NET_QUEUE_KIND_MAX];

	net_queue_kind(p, m, kind);
	if (p == CKPT_NET_DISCIPLINE)
		return find_kind(disciplines, ARRAY_SIZE(disciplines), kind);
	if (p == CKPT_NET_CLASS)
		return find_kind(classes, ARRAY_SIZE(classes), kind);
	return find_kind(classifiers, ARRAY_SIZE(classifiers), kind);
}

static const struct shape *action_shape(const struct nlattr *action)
{
	char kind[NET_QUEUE_KIND_MAX];

	read_kind(nl_nested(action, TCA_ACT_KIND), kind);
	return find_kind(actions, ARRAY_SIZE(actions), kind);
}

bool net_class_is_kept(const struct nlmsghdr *m)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(m);

	return TC_H_MIN(tc->tcm_handle) != 0 && shape_of(CKPT_NET_CLASS, m);
}

/* A table of u32, as filters are hung into. */
static bool is_table(const struct nlmsghdr *m)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(m);
	char kind[NET_QUEUE_KIND_MAX];

	net_queue_kind(CKPT_NET_CLASSIFIER, m, kind);
	return STREQ(kind, "u32") && tc->tcm_handle && !TC_U32_KEY(tc->tcm_handle);
}

/* Its number, which begins with this bit where the kernel has chosen it. */
#define CHOSEN 0x80000000u

bool net_classifier_is_root(const struct nlmsghdr *m)
{
	return is_table(m) && ((const struct tcmsg *)mnl_nlmsg_get_payload(m))->tcm_handle & CHOSEN;
}

static bool is_told(const struct shape *s, uint16_t type)
{
	return (type < 64 && s->told >> type & 1) || (type && type == s->also_told);
}

static void copy(struct nlmsghdr *q, const struct nlattr *a)
{
	mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
}

static void tidy_action(struct nlmsghdr *q, const struct nlattr *action)
{
	struct nlattr *nest = mnl_attr_nest_start(q, mnl_attr_get_type(action)), *options;
	const struct shape *s = action_shape(action);
	const struct nlattr *a, *b;

	mnl_attr_for_each_nested(a, action) {
		uint16_t type = mnl_attr_get_type(a);

		if (type == TCA_ACT_KIND || type == TCA_ACT_COOKIE || (type == TCA_ACT_OPTIONS && !s))
			copy(q, a);
		if (type != TCA_ACT_OPTIONS || !s)
			continue;
		options = mnl_attr_nest_start(q, TCA_ACT_OPTIONS);
		mnl_attr_for_each_nested(b, a)
			if (!is_told(s, mnl_attr_get_type(b)))
				copy(q, b);
		mnl_attr_nest_end(q, options);
	}
	mnl_attr_nest_end(q, nest);
}

static void tidy_actions(struct nlmsghdr *q, const struct nlattr *list)
{
	struct nlattr *nest = mnl_attr_nest_start(q, mnl_attr_get_type(list));
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, list)
		tidy_action(q, a);
	mnl_attr_nest_end(q, nest);
}

static void tidy_police(struct nlmsghdr *q, const struct nlattr *list)
{
	const struct shape *s = find_kind(actions, ARRAY_SIZE(actions), "police");
	struct nlattr *nest = mnl_attr_nest_start(q, mnl_attr_get_type(list));
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, list)
		if (!is_told(s, mnl_attr_get_type(a)))
			copy(q, a);
	mnl_attr_nest_end(q, nest);
}

/* Whether a device does it: never one of a VPS's, whatever that was asked. */
static void tidy_flags(struct nlmsghdr *q, const struct nlattr *a)
{
	uint32_t flags = mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) & TCA_CLS_FLAGS_SKIP_HW : 0;

	if (flags)
		mnl_attr_put_u32(q, mnl_attr_get_type(a), flags);
}

static void tidy_mark(struct nlmsghdr *q, const struct nlattr *a)
{
	struct tc_u32_mark mark;

	if (mnl_attr_get_payload_len(a) != sizeof(mark)) {
		copy(q, a);
		return;
	}
	memcpy(&mark, mnl_attr_get_payload(a), sizeof(mark));
	mark.success = 0;
	mnl_attr_put(q, TCA_U32_MARK, sizeof(mark), &mark);
}

void net_classifier_tidy(struct nlmsghdr *out, const struct nlmsghdr *m, const struct nlattr *options)
{
	const struct shape *s = shape_of(CKPT_NET_CLASSIFIER, m);
	struct nlattr *nest;
	const struct nlattr *a;

	if (!s) {
		copy(out, options);
		return;
	}
	nest = mnl_attr_nest_start(out, TCA_OPTIONS);
	mnl_attr_for_each_nested(a, options) {
		uint16_t type = mnl_attr_get_type(a);

		if (is_told(s, type))
			continue;
		if (type && type == s->actions)
			tidy_actions(out, a);
		else if (type && type == s->police)
			tidy_police(out, a);
		else if (type && type == s->flags)
			tidy_flags(out, a);
		else if (STREQ(s->kind, "u32") && type == TCA_U32_MARK)
			tidy_mark(out, a);
		else
			copy(out, a);
	}
	mnl_attr_nest_end(out, nest);
}

/*
 * Written.
 */

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
			copy(q, a);
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
		const struct shape *s = action_shape(a);

		one = mnl_attr_nest_start(q, mnl_attr_get_type(a));
		mnl_attr_for_each_nested(b, a)
			if (s && STREQ(s->kind, "police") && mnl_attr_get_type(b) == TCA_ACT_OPTIONS)
				put_police(q, b, TCA_ACT_OPTIONS, tables);
			else
				copy(q, b);
		mnl_attr_nest_end(q, one);
	}
	mnl_attr_nest_end(q, nest);
}

/* The table that comes with a priority has the number that the kernel chooses. */
static void put_hash(struct nlmsghdr *q, const struct nlattr *a)
{
	uint32_t hash = mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0;

	if (mnl_attr_get_payload_len(a) != 4)
		copy(q, a);
	else
		mnl_attr_put_u32(q, TCA_U32_HASH, hash & CHOSEN ? TC_U32_ROOT : hash);
}

/* Of a VLAN the protocol inside is told as the frame's, which is the filter's. */
static bool is_of_vlan(const struct shape *s, const struct nlattr *options)
{
	return s && STREQ(s->kind, "flower") &&
	       (nl_nested(options, TCA_FLOWER_KEY_VLAN_ID) || nl_nested(options, TCA_FLOWER_KEY_VLAN_PRIO) ||
		nl_nested(options, TCA_FLOWER_KEY_VLAN_ETH_TYPE));
}

static uint16_t protocol_of(const struct nlmsghdr *m)
{
	return (uint16_t)TC_H_MIN(((const struct tcmsg *)mnl_nlmsg_get_payload(m))->tcm_info);
}

static void put_classifier(struct nlmsghdr *q, const struct nlmsghdr *m, const struct nlattr *options)
{
	const struct shape *s = shape_of(CKPT_NET_CLASSIFIER, m);
	struct nlattr *nest = mnl_attr_nest_start(q, TCA_OPTIONS);
	const struct nlattr *a;
	bool vlan = is_of_vlan(s, options);
	unsigned tables = 0;

	if (vlan)
		mnl_attr_put_u16(q, TCA_FLOWER_KEY_ETH_TYPE, protocol_of(m));
	mnl_attr_for_each_nested(a, options) {
		uint16_t type = mnl_attr_get_type(a);

		if (s && type && type == s->actions)
			put_actions(q, a, &tables);
		else if (s && type && type == s->police)
			put_police(q, a, type, &tables);
		else if (s && STREQ(s->kind, "u32") && type == TCA_U32_HASH)
			put_hash(q, a);
		else if (!vlan || type != TCA_FLOWER_KEY_ETH_TYPE)
			copy(q, a);
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
			copy(q, a);
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
			copy(q, a);
	}
	mnl_attr_nest_end(q, nest);
}

static_assert(TCA_CODEL_TARGET == (int)TCA_FQ_CODEL_TARGET && TCA_CODEL_INTERVAL == (int)TCA_FQ_CODEL_INTERVAL,
	      "codel and fq_codel number times alike");

bool net_queue_put(struct nlmsghdr *q, enum ckpt_net_part p, const struct nlmsghdr *m, const struct nlattr *a)
{
	const struct shape *s;

	if (mnl_attr_get_type(a) != TCA_OPTIONS || (p != CKPT_NET_CLASSIFIER && p != CKPT_NET_DISCIPLINE))
		return false;
	s = shape_of(p, m);
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
	if (STREQ(kind, "u32") && tc->tcm_handle & CHOSEN)
		tc->tcm_handle = TC_U32_NODE(tc->tcm_handle);
}

/*
 * Refused.
 */

struct refusing {
	struct tcmsg root; /* the last table whose number the kernel has chosen */
	bool any_root;
	char what[96];
};

#define REFUSE(r, ...) snprintf((r)->what, sizeof((r)->what), __VA_ARGS__)

/* Something that is neither said again nor may be left out; 0: nothing. */
static uint16_t find_unknown(const struct shape *s, const struct nlattr *nest)
{
	const struct nlattr *a;

	if (s->last && nest)
		mnl_attr_for_each_nested(a, nest) {
			uint16_t type = mnl_attr_get_type(a);

			if (type > s->last || (type < 64 && s->refuse >> type & 1) ||
			    (type && type >= s->refuse_first && type <= s->refuse_last))
				return type;
		}
	return 0;
}

static void look_at_discipline(const struct nlmsghdr *m, struct refusing *r)
{
	const struct nlattr *options = nl_attr(m, sizeof(struct tcmsg), TCA_OPTIONS),
			    *stab = nl_attr(m, sizeof(struct tcmsg), TCA_STAB), *base = nl_nested(stab, TCA_STAB_BASE);
	const struct shape *s = shape_of(CKPT_NET_DISCIPLINE, m);
	char kind[NET_QUEUE_KIND_MAX];
	uint16_t odd;

	net_queue_kind(CKPT_NET_DISCIPLINE, m, kind);
	odd = s ? find_unknown(s, options) : 0;
	if (!s)
		REFUSE(r, "the queueing discipline %s", kind);
	else if (odd)
		REFUSE(r, "the queueing discipline %s with attribute %u", kind, odd);
	else if (nl_attr(m, sizeof(struct tcmsg), TCA_INGRESS_BLOCK) ||
		 nl_attr(m, sizeof(struct tcmsg), TCA_EGRESS_BLOCK))
		REFUSE(r, "a block of filters that queueing disciplines share");
	else if (base && mnl_attr_get_payload_len(base) >= sizeof(struct tc_sizespec) &&
		 ((const struct tc_sizespec *)mnl_attr_get_payload(base))->tsize)
		REFUSE(r, "a queueing discipline %s with a table of sizes", kind); /* which is not told */
}

static void look_at_class(const struct nlmsghdr *m, struct refusing *r)
{
	const struct shape *s = shape_of(CKPT_NET_CLASS, m);
	uint16_t odd = s ? find_unknown(s, nl_attr(m, sizeof(struct tcmsg), TCA_OPTIONS)) : 0;

	if (odd)
		REFUSE(r, "a class of %s with attribute %u", s->kind, odd);
}

static void look_at_actions(const struct nlattr *list, struct refusing *r)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, list) {
		const struct shape *s = action_shape(a);
		char kind[NET_QUEUE_KIND_MAX];
		uint16_t odd = s ? find_unknown(s, nl_nested(a, TCA_ACT_OPTIONS)) : 0;

		read_kind(nl_nested(a, TCA_ACT_KIND), kind);
		if (!s)
			REFUSE(r, "a filter with the action %s", kind);
		else if (odd)
			REFUSE(r, "a filter with the action %s with attribute %u", kind, odd);
	}
}

/* Two tables of one priority: which is the one that came with it is not told, and the other would be another's. */
static void look_at_table(const struct nlmsghdr *m, struct refusing *r)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(m), *o = &r->root;

	if (!net_classifier_is_root(m))
		return;
	if (r->any_root && o->tcm_ifindex == tc->tcm_ifindex && o->tcm_parent == tc->tcm_parent &&
	    o->tcm_info == tc->tcm_info)
		REFUSE(r, "a table of u32 filters whose number the kernel has chosen");
	r->root = *tc;
	r->any_root = true;
}

static void look_at_classifier(const struct nlmsghdr *m, struct refusing *r)
{
	const struct shape *s = shape_of(CKPT_NET_CLASSIFIER, m),
			   *police = find_kind(actions, ARRAY_SIZE(actions), "police");
	const struct nlattr *options = nl_attr(m, sizeof(struct tcmsg), TCA_OPTIONS), *a;
	char kind[NET_QUEUE_KIND_MAX];
	uint16_t odd;

	net_queue_kind(CKPT_NET_CLASSIFIER, m, kind);
	if (!s) {
		REFUSE(r, "a filter of kind %s", kind);
		return;
	}
	look_at_table(m, r);
	odd = find_unknown(s, options);
	if (odd)
		REFUSE(r, "a filter of kind %s with attribute %u", kind, odd);
	if (is_of_vlan(s, options) && protocol_of(m) != htons(ETH_P_8021Q) && protocol_of(m) != htons(ETH_P_8021AD))
		REFUSE(r, "a filter of kind %s for a VLAN of any protocol", kind);
	a = s->actions ? nl_nested(options, s->actions) : NULL;
	if (a)
		look_at_actions(a, r);
	a = s->police ? nl_nested(options, s->police) : NULL;
	if (a && find_unknown(police, a))
		REFUSE(r, "a filter that polices by an estimated rate");
}

int net_queues_refuse(const struct net_walk *all, struct err *e)
{
	static const struct {
		enum ckpt_net_part part;
		void (*look)(const struct nlmsghdr *m, struct refusing *r);
	} looks[] = { { CKPT_NET_DISCIPLINE, look_at_discipline },
		      { CKPT_NET_CLASS, look_at_class },
		      { CKPT_NET_CLASSIFIER, look_at_classifier } };
	struct refusing r = { .what = "" };

	for (size_t i = 0; i < ARRAY_SIZE(looks) && !r.what[0]; i++) {
		struct net_walk w = *all;
		const struct nlmsghdr *m;

		w.part = looks[i].part;
		while (!r.what[0] && (m = net_next(&w)))
			looks[i].look(m, &r);
	}
	if (r.what[0])
		return err_set(e, ERR_UNSUPPORTED, "the VPS's network has %s, which cannot be saved yet", r.what);
	return 0;
}
