/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_HANDSHAKE_H
#define CHECKPOINT_HANDSHAKE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * TCP connections in the queue of a listener, with the numbers and options that both ends agreed upon at another time. The
 * kernel makes one of the segment that ends a handshake, which a program says is good and for which listener
 * (bpf_sk_assign_tcp_reqsk(), Linux 6.9). It is made for hosts that answer handshakes in their stead of servers, by cookies:
 * so it takes the numbers from the segment, and all else from the program. That looks at what comes in by a namespace's
 * loopback interface, and ends with us or with the handle, whichever is first.
 */
struct ckpt_handshakes;

struct ckpt_agreed {
	uint32_t peer_timestamp, timestamp; /* the peer's last; ours, as of now */
	uint16_t mss;
	uint8_t receive_scale, send_scale;
	bool ecn, scales, sack, timestamps, microseconds;
};
/* The least mss that the kernel takes it from, of IPv4 and IPv6. */
#define CKPT_AGREED_MSS4 536
#define CKPT_AGREED_MSS6 1220

/* ERR_UNSUPPORTED where that cannot be had; and whether it can. */
int ckpt_handshakes_open(struct ckpt_handshakes **ret, struct err *e);
bool ckpt_handshakes_known(void);
/* NULL is allowed. It leaves the namespace, whose switches it puts back if it can. */
void ckpt_handshakes_close(struct ckpt_handshakes *h);
/* In this namespace (of a VPS that does not run yet) from here on. Switches of its that forbid what was agreed upon are put
 * aside until it is left. */
#define CKPT_HANDSHAKES_MTU 576 /* its lo must have, and be up */
int ckpt_handshakes_enter(struct ckpt_handshakes *h, int netns, struct err *e);
int ckpt_handshakes_leave(struct ckpt_handshakes *h, struct err *e);
/* How long a segment may be there. */
size_t ckpt_handshakes_room(const struct ckpt_handshakes *h);
/* The next ones are this listener's, which stays open until it is another's turn; -1: nobody's. One that shares its port is the
 * one that is chosen of its group until then, instead of whom a program of the group's chose, which is gone afterwards. */
int ckpt_handshakes_for(struct ckpt_handshakes *h, int listener, struct err *e);
/* The next segment with the lock's mark ends such a handshake. */
int ckpt_handshakes_next(struct ckpt_handshakes *h, const struct ckpt_agreed *a, struct err *e);
/* What the kernel said of it: 0, -EINPROGRESS while it has not come, or what is against it. */
int ckpt_handshakes_said(struct ckpt_handshakes *h);

#endif
