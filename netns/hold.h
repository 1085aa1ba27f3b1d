/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_HOLD_H
#define NETNS_HOLD_H

#include "netns/netns.h"

#include <sys/types.h>

/*
 * Frames on their way to a VPS that stands still for a moment, kept and not lost: a lost one costs
 * TCP its retransmission timer (200 ms), a late one what it was late. They leave the host's end of the
 * veth by its clsact egress hook into a TAP of ours, from where we read them.
 *
 * What its stack sends by itself once it is given up, as it retransmits, is dropped: elsewhere a copy may answer
 * by then, and switches must not take its address for ours. A macvlan interface has no end on the host: its frames are
 * told by their MAC, where its parent receives and sends. (What another macvlan of the same parent sends to it does not come
 * by there, and is lost while it stands still: netns/README.md.)
 */
struct netns_hold;

#define NETNS_FRAME_MAX 65550 /* of a TAP; larger ones are cut by the kernel before */

/* Makes what is needed; nothing is held yet. */
int netns_hold_open(const struct netns_host *h, const struct netns_vps *v, struct netns_hold **ret,
		    struct err *e);
/* Once more does no harm. On failure nothing is held. If its holder dies, frames are lost until netns_hold_clear(). */
int netns_hold_begin(struct netns_hold *hold, struct err *e);

/* What its stack sends is dropped from now on. Not before it is given up: what a connection was about to send
 * goes out until it is saved, and one that runs for a moment more (ckpt_dump_options.stopped is called again
 * then) is heard. */
int netns_hold_silence(struct netns_hold *hold, struct err *e);

/* Takes out what has come; `fn` gets the interface's number and the frame, and stops it with other
 * than 0, which is returned. */
int netns_hold_take(struct netns_hold *hold,
		    int (*fn)(void *ctx, unsigned i, const void *frame, size_t len, struct err *e),
		    void *ctx, struct err *e);

/* Waits until one has come. 1: it has; 0: not in that time. */
int netns_hold_wait(struct netns_hold *hold, int timeout_ms);

/* Frames go to the VPS again; with `replay` first those that are held. Frees it; NULL is allowed. */
void netns_hold_end(struct netns_hold *hold, bool replay);

/* What a holder that died has left: frames go through again. Idempotent. */
int netns_hold_clear(const struct netns_host *h, const struct netns_vps *v, struct err *e);

/* An fd by which frames can be sent to interface `i` of the VPS, past shaping and, but for a macvlan's, holding:
 * write(2) one frame; it does not wait. */
int netns_hold_socket(const struct netns_host *h, const struct netns_vps *v, unsigned i, struct err *e);

/*
 * The links of a VPS that was made with `held`: its host's ends go up, and the way to it leads there.
 * Then its addresses are announced on each (gratuitous ARP, unsolicited neighbour advertisement), so that the switches
 * learn where they are now. `netns_fd` is its network namespace.
 */
int netns_vps_release(const struct netns_host *h, const struct netns_vps *v, int netns_fd,
		      struct err *e);

#endif
