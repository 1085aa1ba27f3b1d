/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the kernel tells of a filter, without what it only tells: of two that are the same it is the same. */
#include "checkpoint/netqueues_internal.h"

#include "base/macro.h"

static void tidy_action(struct nlmsghdr *q, const struct nlattr *action)
{
	struct nlattr *nest = mnl_attr_nest_start(q, mnl_attr_get_type(action)), *options;
	const struct net_shape *s = net_action_shape(action);
	const struct nlattr *a, *b;

	mnl_attr_for_each_nested(a, action) {
		uint16_t type = mnl_attr_get_type(a);

		if (type == TCA_ACT_KIND || type == TCA_ACT_COOKIE || (type == TCA_ACT_OPTIONS && !s))
			net_attr_copy(q, a);
		if (type != TCA_ACT_OPTIONS || !s)
			continue;
		options = mnl_attr_nest_start(q, TCA_ACT_OPTIONS);
		mnl_attr_for_each_nested(b, a)
			if (!net_shape_tells(s, mnl_attr_get_type(b)))
				net_attr_copy(q, b);
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
	const struct net_shape *s = net_police_shape();
	struct nlattr *nest = mnl_attr_nest_start(q, mnl_attr_get_type(list));
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, list)
		if (!net_shape_tells(s, mnl_attr_get_type(a)))
			net_attr_copy(q, a);
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
		net_attr_copy(q, a);
		return;
	}
	memcpy(&mark, mnl_attr_get_payload(a), sizeof(mark));
	mark.success = 0;
	mnl_attr_put(q, TCA_U32_MARK, sizeof(mark), &mark);
}

void net_classifier_tidy(struct nlmsghdr *out, const struct nlmsghdr *m, const struct nlattr *options)
{
	const struct net_shape *s = net_shape_of(CKPT_NET_CLASSIFIER, m);
	struct nlattr *nest;
	const struct nlattr *a;

	if (!s) {
		net_attr_copy(out, options);
		return;
	}
	nest = mnl_attr_nest_start(out, TCA_OPTIONS);
	mnl_attr_for_each_nested(a, options) {
		uint16_t type = mnl_attr_get_type(a);

		if (net_shape_tells(s, type))
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
			net_attr_copy(out, a);
	}
	mnl_attr_nest_end(out, nest);
}
