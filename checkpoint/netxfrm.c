/* SPDX-License-Identifier: GPL-2.0-or-later */

/* IPsec: security associations with their sequence numbers, policies, and what holds where there is none. */
#include "checkpoint/netrare.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/xfrm.h>
#include <stdlib.h>

#define SA_MAX 16384 /* bytes of one */

/* How many there are, in one answer each; a list only of those of which there are some. */
struct counts {
	const struct net_rare *r;
	uint32_t states, policies, at_sockets;
	int result;
};

static const struct nlattr *find(const struct nlmsghdr *m, size_t fixed, uint16_t type, size_t size)
{
	const struct nlattr *a = nl_attr(m, fixed, type);

	return a && mnl_attr_get_payload_len(a) >= size ? a : NULL;
}

static bool is_threshold(const struct nlmsghdr *m, uint16_t type, uint8_t bits)
{
	const struct nlattr *a = find(m, 4, type, sizeof(struct xfrmu_spdhthresh));
	const struct xfrmu_spdhthresh *t = a ? mnl_attr_get_payload(a) : NULL;

	return t && (t->lbits != bits || t->rbits != bits);
}

static void count_policies(struct counts *c, const struct nlmsghdr *m)
{
	const struct nlattr *a = find(m, 4, XFRMA_SPD_INFO, sizeof(struct xfrmu_spdinfo));
	struct xfrmu_spdinfo n;

	if (a) {
		memcpy(&n, mnl_attr_get_payload(a), sizeof(n));
		c->policies = n.incnt + n.outcnt + n.fwdcnt;
		c->at_sockets = n.inscnt + n.outscnt + n.fwdscnt;
	}
	if (is_threshold(m, XFRMA_SPD_IPV4_HTHRESH, 32) || is_threshold(m, XFRMA_SPD_IPV6_HTHRESH, 128))
		c->result = c->r->fn(CKPT_NET_POLICY_HASH, m, c->r->arg);
}

static int hear_counts(const struct nlmsghdr *m, void *arg)
{
	const struct xfrm_userpolicy_default *d = mnl_nlmsg_get_payload(m);
	struct counts *c = arg;
	const struct nlattr *a;

	if (m->nlmsg_type == XFRM_MSG_NEWSADINFO) {
		a = find(m, 4, XFRMA_SAD_CNT, 4);
		c->states = a ? mnl_attr_get_u32(a) : 0;
	} else if (m->nlmsg_type == XFRM_MSG_NEWSPDINFO) {
		count_policies(c, m);
	} else if (m->nlmsg_type == XFRM_MSG_GETDEFAULT && m->nlmsg_len >= NLMSG_LENGTH(sizeof(*d))) {
		if (d->in != XFRM_USERPOLICY_ACCEPT || d->out != XFRM_USERPOLICY_ACCEPT || d->fwd != XFRM_USERPOLICY_ACCEPT)
			c->result = c->r->fn(CKPT_NET_POLICY_DEFAULT, m, c->r->arg);
	}
	return c->result;
}

static int count(const struct net_rare *r, struct counts *c, struct err *e)
{
	static const uint16_t asked[] = { XFRM_MSG_GETSADINFO, XFRM_MSG_GETSPDINFO, XFRM_MSG_GETDEFAULT };
	uint32_t flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		nl_end(r->xfrm, nl_begin(r->xfrm, asked[i], 0, &flags, sizeof(flags), "count"));
		nl_ignore(r->xfrm, EINVAL);
	}
	return nl_talk(r->xfrm, "IPsec", hear_counts, c, e);
}

/* One without an algorithm waits for a key exchange, which begins again. */
static bool is_larval(const struct nlmsghdr *m)
{
	const struct xfrm_usersa_info *i = mnl_nlmsg_get_payload(m);
	static const uint16_t algorithms[] = { XFRMA_ALG_AUTH, XFRMA_ALG_AUTH_TRUNC, XFRMA_ALG_CRYPT, XFRMA_ALG_AEAD,
					       XFRMA_ALG_COMP };

	for (size_t k = 0; k < ARRAY_SIZE(algorithms); k++)
		if (nl_attr(m, sizeof(*i), algorithms[k]))
			return false;
	return i->id.proto == IPPROTO_ESP || i->id.proto == IPPROTO_AH || i->id.proto == IPPROTO_COMP || !i->id.spi;
}

static int hear_state(const struct nlmsghdr *m, void *arg)
{
	const struct net_rare *r = arg;
	struct xfrm_usersa_info *i;
	struct nlmsghdr *q;
	int done;

	if (m->nlmsg_type != XFRM_MSG_NEWSA || m->nlmsg_len < NLMSG_LENGTH(sizeof(*i)) || is_larval(m))
		return 0;
	if (m->nlmsg_len > SA_MAX)
		return -EMSGSIZE;
	q = calloc(1, SA_MAX + 1024);
	if (!q)
		return -ENOMEM;
	memcpy(q, m, m->nlmsg_len);
	i = mnl_nlmsg_get_payload(q);
	mnl_attr_put(q, XFRMA_LTIME_VAL, sizeof(i->curlft), &i->curlft);
	memset(&i->curlft, 0, sizeof(i->curlft));
	memset(&i->stats, 0, sizeof(i->stats));
	done = r->fn(CKPT_NET_SA, q, r->arg);
	free(q);
	return done;
}

/* A kernel that keeps its secrets from everybody tells keys of zeros. */
static int check_keys(struct err *e)
{
	cleanup_free char *text = NULL;

	if (fd_read_file_at(AT_FDCWD, "/sys/kernel/security/lockdown", 4096, &text, NULL) == 0 &&
	    strstr(text, "[confidentiality]"))
		return err_set(e, ERR_UNSUPPORTED, "the VPS's network has keys of IPsec, which this kernel does not tell (lockdown)");
	return 0;
}

struct policies {
	struct nlmsghdr **item;
	size_t count;
};

static int hear_policy(const struct nlmsghdr *m, void *arg)
{
	struct policies *p = arg;
	struct nlmsghdr **more;

	if (m->nlmsg_type != XFRM_MSG_NEWPOLICY || m->nlmsg_len < NLMSG_LENGTH(sizeof(struct xfrm_userpolicy_info)))
		return 0;
	if ((p->count & (p->count - 1)) == 0) {
		more = reallocarray(p->item, p->count ? 2 * p->count : 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		p->item = more;
	}
	p->item[p->count] = malloc(m->nlmsg_len);
	if (!p->item[p->count])
		return -ENOMEM;
	memcpy(p->item[p->count++], m, m->nlmsg_len);
	return 0;
}

static int take_policy(const struct net_rare *r, struct nlmsghdr *m, struct err *e)
{
	struct xfrm_userpolicy_info *i = mnl_nlmsg_get_payload(m);

	if (i->dir >= XFRM_POLICY_MAX)
		return err_set(e, ERR_UNSUPPORTED, "the VPS's network has a socket with a policy of its own (IP_XFRM_POLICY), "
			       "which cannot be saved yet");
	memset(&i->curlft, 0, sizeof(i->curlft));
	return r->fn(CKPT_NET_POLICY, m, r->arg);
}

/* The kernel lists the last one first, and of two that are equal goes by the first. */
static int collect_policies(const struct net_rare *r, struct err *e)
{
	struct policies p = { .item = NULL };
	int done;

	nl_end(r->xfrm, nl_begin(r->xfrm, XFRM_MSG_GETPOLICY, NLM_F_DUMP, "", 0, "list"));
	done = nl_talk(r->xfrm, "policies of IPsec", hear_policy, &p, e);
	for (size_t i = p.count; i-- > 0;) {
		if (done == 0)
			done = take_policy(r, p.item[i], e);
		free(p.item[i]);
	}
	free(p.item);
	return done;
}

int net_xfrm_collect(const struct net_rare *r, struct err *e)
{
	struct counts c = { .r = r };
	int done;

	if (r->xfrm->fd < 0) /* not in this kernel */
		return 0;
	done = count(r, &c, e);
	if (done == 0 && c.states)
		done = check_keys(e);
	if (done == 0 && c.states) {
		nl_end(r->xfrm, nl_begin(r->xfrm, XFRM_MSG_GETSA, NLM_F_DUMP, "", 0, "list"));
		done = nl_talk(r->xfrm, "associations of IPsec", hear_state, (void *)(uintptr_t)r, e);
	}
	return done == 0 && (c.policies || c.at_sockets) ? collect_policies(r, e) : done;
}

/* Associations first: what goes out by a policy without one asks for it. */
int net_xfrm_restore(const struct net_walk *all, struct err *e)
{
	static const enum ckpt_net_part parts[] = { CKPT_NET_SA, CKPT_NET_POLICY_HASH, CKPT_NET_POLICY, CKPT_NET_POLICY_DEFAULT };
	cleanup_nl struct nl n = NL_INIT;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		if (!net_rare_has(all, parts[i]))
			continue;
		if (n.fd < 0)
			r = nl_open(&n, NETLINK_XFRM, -1, e);
		if (r < 0)
			return r;
		r = net_rare_say(&n, all, parts[i], NLM_F_CREATE | NLM_F_EXCL, EEXIST, e);
		r = r < 0 ? r : nl_talk(&n, net_parts[parts[i]].name, NULL, NULL, e);
	}
	return r;
}
