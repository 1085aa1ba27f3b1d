/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Queueing disciplines, classes and filters that cannot be made again. */
#include "checkpoint/netqueues_internal.h"

#include "base/macro.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>

struct refusing {
	struct tcmsg root; /* the last table whose number the kernel has chosen */
	bool any_root;
	char what[96];
};

#define REFUSE(r, ...) snprintf((r)->what, sizeof((r)->what), __VA_ARGS__)

/* Something that is neither said again nor may be left out; 0: nothing. */
static uint16_t find_unknown(const struct net_shape *s, const struct nlattr *nest)
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
	const struct net_shape *s = net_shape_of(CKPT_NET_DISCIPLINE, m);
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
	const struct net_shape *s = net_shape_of(CKPT_NET_CLASS, m);
	uint16_t odd = s ? find_unknown(s, nl_attr(m, sizeof(struct tcmsg), TCA_OPTIONS)) : 0;

	if (odd)
		REFUSE(r, "a class of %s with attribute %u", s->kind, odd);
}

static void look_at_actions(const struct nlattr *list, struct refusing *r)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, list) {
		const struct net_shape *s = net_action_shape(a);
		char kind[NET_QUEUE_KIND_MAX];
		uint16_t odd = s ? find_unknown(s, nl_nested(a, TCA_ACT_OPTIONS)) : 0;

		net_queue_kind_read(nl_nested(a, TCA_ACT_KIND), kind);
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
	const struct net_shape *s = net_shape_of(CKPT_NET_CLASSIFIER, m),
			   *police = net_police_shape();
	const struct nlattr *options = nl_attr(m, sizeof(struct tcmsg), TCA_OPTIONS), *a;
	uint16_t protocol = net_classifier_protocol(m), odd;
	char kind[NET_QUEUE_KIND_MAX];

	net_queue_kind(CKPT_NET_CLASSIFIER, m, kind);
	if (!s) {
		REFUSE(r, "a filter of kind %s", kind);
		return;
	}
	look_at_table(m, r);
	odd = find_unknown(s, options);
	if (odd)
		REFUSE(r, "a filter of kind %s with attribute %u", kind, odd);
	if (net_classifier_is_of_vlan(s, options) && protocol != htons(ETH_P_8021Q) && protocol != htons(ETH_P_8021AD))
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
