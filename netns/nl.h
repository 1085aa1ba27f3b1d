/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_NL_H
#define NETNS_NL_H

#include "base/err.h"

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A conversation with the kernel over netlink: many requests in one sendmsg(2), their answers read
 * in one go. The kernel works them off in sendmsg() itself, so nothing here waits. Requests of
 * rtnetlink stand each for itself (the ones after a failed one are still done); those of nftables
 * between BATCH_BEGIN and BATCH_END happen all or none.
 */
struct nl {
	int fd;
	char *buf;
	size_t len, room;
	unsigned count; /* requests in buf */
	struct nl_what *what; /* one for each */
	size_t what_room;
	uint32_t first_seq;
	bool no_memory;
	bool kept; /* goes back to be used again */
};

struct nl_what {
	const char *text; /* for the error: "add the address" */
	int ignore[2]; /* errnos that count as done, or 0 */
};

/* netns_stay() was called: the sockets of nl_open_rules() are kept. */
void nl_stay(void);

/* Opens a socket of this protocol (NETLINK_ROUTE) in the namespace behind `netns_fd` (< 0: the caller's own).
 * nl_done() closes it; harmless on a zeroed one with fd -EBADF. */
int nl_open(struct nl *n, int protocol, int netns_fd, struct err *e);
/* For the host's nftables: NETLINK_NETFILTER, by a caller that is in the host's namespace. It may be one that was used
 * before (nl_stay()), and belongs to the namespace in which that was opened: never for a tenant's. */
int nl_open_rules(struct nl *n, struct err *e);
void nl_done(struct nl *n);
#define cleanup_nl __attribute__((cleanup(nl_done)))
#define NL_INIT              \
	{                    \
		.fd = -EBADF \
	}

/*
 * A new request with `extra` bytes of fixed header after struct nlmsghdr (zeroed). NLM_F_REQUEST is
 * added. The attributes follow with mnl_attr_put*(), at most 64 KiB; nl_end() closes it. `what`
 * must live until nl_talk(). Returns NULL when out of memory, which nl_talk() will report; nl_end()
 * takes NULL, the caller must not put attributes into it.
 */
struct nlmsghdr *nl_begin(struct nl *n, uint16_t type, uint16_t flags, const void *extra,
			  size_t extra_len, const char *what);
void nl_end(struct nl *n, struct nlmsghdr *m);
/* The request made last may fail with this errno (positive). */
void nl_ignore(struct nl *n, int errnum);

/* Sends what was collected, takes all answers and empties the buffer. `data` (may be NULL) gets
 * the answers that carry something; a negative value it returns becomes the result. The first
 * request that failed and is not ignored fills *e: "<what> of <subject>: <reason>". */
typedef int (*nl_data_fn)(const struct nlmsghdr *m, void *ctx);
int nl_talk(struct nl *n, const char *subject, nl_data_fn data, void *ctx, struct err *e);
/* The same when so much was collected that more might not be taken at once (an unprivileged socket takes 208 KiB). */
int nl_talk_if_much(struct nl *n, const char *subject, struct err *e);

/* The first attribute of this type, behind `head` bytes of fixed header or in a nest (may be NULL); NULL: none. */
const struct nlattr *nl_attr(const struct nlmsghdr *m, size_t head, uint16_t type);
const struct nlattr *nl_nested(const struct nlattr *nest, uint16_t type);
/* Whether it is text, and this text. */
bool nl_attr_is(const struct nlattr *a, const char *text);

/* The index of a link, 0 when there is none of that name. */
int nl_ifindex(const struct nl *n, const char *name);

#endif
