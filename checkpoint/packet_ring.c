/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Rings of packet sockets (the kernel's packet_mmap.rst): memory that a socket shares with who has mapped it, and a
 * position in it that the kernel keeps to itself. It is read from the kernel's own memory (kernel.h), and brought about
 * again by packets over the loopback, as only these move it.
 */
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/sockets.h"
#include "checkpoint/sockopt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/packet_diag.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define RINGS_MAX MIB(64)
#define SMALL 60        /* bytes of a packet that only moves the position */
#define BIG 60000       /* and of one that fills a block; the loopback takes them */
#define WAIT_MAX_US 5000000
#define RETIRE_MAX_MS 3000
#define NOTHING 0xffff  /* a protocol that nobody has (IANA) */
#define LO 1            /* the index of the loopback in every network namespace */

int ckpt_ring_add(const struct ckpt_sock *k, bool tx, const struct packet_diag_ring *g, struct err *e)
{
	struct ckpt_arena *a = ckpt_dump_arena(k->d);
	Ckpt__PacketRing *r = ckpt_alloc(a, sizeof(*r));

	if (!r || ckpt_push(a, &k->s->ring, &k->s->n_ring, r) < 0)
		return err_code(e, -ENOMEM, "collect sockets");
	ckpt__packet_ring__init(r);
	r->tx = tx;
	r->block_size = g->pdr_block_size;
	r->block_count = g->pdr_block_nr;
	r->frame_size = g->pdr_frame_size;
	r->frame_count = g->pdr_frame_nr;
	r->retire_ms = g->pdr_retire_tmo;
	r->private_size = g->pdr_sizeof_priv;
	r->features = g->pdr_features;
	return 0;
}

static size_t size_of(const Ckpt__PacketRing *r)
{
	return (size_t)r->block_size * r->block_count;
}

static size_t total_of(const Ckpt__Socket *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_ring; i++)
		n += size_of(s->ring[i]);
	return n;
}

static int version_of(const Ckpt__Socket *s)
{
	return ckpt_sockopt_number(s, SOL_PACKET, PACKET_VERSION);
}

/* Which of its blocks or, of the other versions, frames the kernel fills or sends next. */
static bool has_blocks(const Ckpt__Socket *s, const Ckpt__PacketRing *r)
{
	return version_of(s) == TPACKET_V3 && !r->tx;
}

static int position(const struct ckpt_sock *k, Ckpt__PacketRing *r, struct err *e)
{
	uint64_t socket, sk, at;
	int n = k->d->kernel ? 0 : ckpt_kernel_open(&k->d->kernel, e);

	if (n == 0)
		n = ckpt_kernel_file(k->d->kernel, k->fd, &socket, e);
	if (n == 0)
		n = ckpt_kernel_member(k->d->kernel, socket, "socket", "sk", 8, &sk, e);
	if (n == 0 && has_blocks(k->s, r))
		n = ckpt_kernel_member(k->d->kernel, sk, "packet_sock", "rx_ring.prb_bdqc.kactive_blk_num", 2, &at, e);
	else if (n == 0)
		n = ckpt_kernel_member(k->d->kernel, sk, "packet_sock", r->tx ? "tx_ring.head" : "rx_ring.head", 4, &at,
				       e);
	r->head = n == 0 ? (uint32_t)at : 0;
	return n;
}

int ckpt_rings_collect(const struct ckpt_sock *k, struct err *e)
{
	size_t total = total_of(k->s), n;
	uint8_t *map;
	int r = 0;

	if (!total)
		return 0;
	if (total > RINGS_MAX)
		return ckpt_sock_refuse(k, "for packets with very large rings", e);
	for (size_t i = 0; r == 0 && i < k->s->n_ring; i++)
		r = position(k, k->s->ring[i], e);
	if (r < 0)
		return err_wrap(e, "fd %d of process %d, a socket with a ring", k->number, (int)k->pid);
	for (size_t i = 0; i < k->s->n_ring; i++)
		if (k->s->ring[i]->retire_ms > RETIRE_MAX_MS)
			return ckpt_sock_refuse(k, "whose ring hands packets over after seconds only", e);
	map = mmap(NULL, total, PROT_READ, MAP_SHARED, k->fd, 0);
	if (map == MAP_FAILED)
		return err_sys(e, "look at the ring of a packet socket");
	for (size_t at = 0; r == 0 && at < total; at += n) {
		n = total - at < CKPT_SOCKET_PIECE ? total - at : CKPT_SOCKET_PIECE;
		r = ckpt_sock_queue(k, 0, map + at, n) ? 0 : err_code(e, -ENOMEM, "collect sockets");
	}
	munmap(map, total);
	return r;
}

int ckpt_ring_areas_resolve(struct ckpt_dump *d, struct err *e)
{
	for (size_t i = 0; i < d->tree.task_count; i++) {
		const Ckpt__Mm *mm = d->tree.tasks[i].mm;

		for (size_t k = 0; k < mm->n_area; k++) {
			Ckpt__Area *a = mm->area[k];
			uint32_t id = 1;

			if (a->memfd_file != CKPT_AREA_SOCKET)
				continue;
			while (id <= d->tree.file_count && (d->tree.files[id - 1]->kind != CKPT_FILE_PACKET ||
							    d->tree.files[id - 1]->value != a->offset))
				id++;
			if (id > d->tree.file_count || a->end - a->start != total_of(d->tree.files[id - 1]->socket))
				return err_set(e, ERR_UNSUPPORTED,
					       "process %d has mapped a socket, not all of it or one "
					       "that nobody has open, which cannot be saved",
					       (int)d->tree.tasks[i].pid);
			a->memfd_file = id;
			a->offset = 0;
		}
	}
	return 0;
}

static bool is_good(const Ckpt__Socket *s, const Ckpt__PacketRing *r)
{
	return r->frame_size && r->block_size >= r->frame_size && r->block_count && r->block_size <= RINGS_MAX &&
	       r->block_count <= RINGS_MAX / r->block_size &&
	       r->frame_count == r->block_size / r->frame_size * r->block_count &&
	       r->head < (has_blocks(s, r) ? r->block_count : r->frame_count) && r->frame_size >= 32;
}

bool ckpt_rings_are_good(const Ckpt__Socket *s)
{
	for (size_t i = 0; i < s->n_ring; i++)
		if (i > 1 || !is_good(s, s->ring[i]) || (i == 1 && (!s->ring[1]->tx || s->ring[0]->tx)))
			return false;
	return true;
}

static int make_ring(int fd, const Ckpt__Socket *s, const Ckpt__PacketRing *r, struct err *e)
{
	struct tpacket_req3 q = { .tp_block_size = r->block_size, .tp_block_nr = r->block_count,
				  .tp_frame_size = r->frame_size, .tp_frame_nr = r->frame_count };

	if (has_blocks(s, r)) {
		q.tp_retire_blk_tov = r->retire_ms;
		q.tp_sizeof_priv = r->private_size;
		q.tp_feature_req_word = r->features;
	}
	return setsockopt(fd, SOL_PACKET, r->tx ? PACKET_TX_RING : PACKET_RX_RING, &q,
			  version_of(s) == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req)) < 0
		? err_sys(e, "make the ring of a packet socket") : 0;
}

/* A ring while it is brought to its position. */
struct moving {
	const Ckpt__Socket *s;
	const Ckpt__PacketRing *r;
	uint8_t *at;      /* mapped */
	int fd, sender;
};

static uint8_t *frame(const struct moving *m, uint32_t n)
{
	uint32_t in_block = m->r->block_size / m->r->frame_size;

	return m->at + (size_t)(n / in_block) * m->r->block_size + (size_t)(n % in_block) * m->r->frame_size;
}

/* Where the kernel says whose turn it is: of a block, of a frame. A long of the first version is as good in its
 * half. */
static volatile uint32_t *status(const struct moving *m, uint32_t n)
{
	if (has_blocks(m->s, m->r))
		return (volatile uint32_t *)(void *)(m->at + (size_t)n * m->r->block_size +
						    offsetof(struct tpacket_block_desc, hdr.bh1.block_status));
	if (version_of(m->s) == TPACKET_V3)
		return (volatile uint32_t *)(void *)(frame(m, n) + offsetof(struct tpacket3_hdr, tp_status));
	return (volatile uint32_t *)(void *)frame(m, n);
}

static struct sockaddr_ll over_lo(uint16_t protocol)
{
	return (struct sockaddr_ll){ .sll_family = AF_PACKET, .sll_ifindex = LO, .sll_protocol = htons(protocol) };
}

static int send_one(const struct moving *m, size_t size, struct err *e)
{
	static const uint8_t packet[BIG] = { [12] = ETH_P_802_EX1 >> 8, [13] = ETH_P_802_EX1 & 0xff };
	struct sockaddr_ll a = over_lo(ETH_P_802_EX1);

	return sendto(m->sender, packet, size, 0, (struct sockaddr *)&a, sizeof(a)) < 0
		? err_sys(e, "send a packet over the loopback") : 0;
}

/* Those of a block, which has been empty. */
static uint32_t packets(const struct moving *m, uint32_t block)
{
	return *(volatile uint32_t *)(void *)(m->at + (size_t)block * m->r->block_size +
					      offsetof(struct tpacket_block_desc, hdr.bh1.num_pkts));
}

/* How many have come so far. */
static uint32_t in_blocks(const struct moving *m)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i <= m->r->head; i++)
		n += packets(m, i);
	return n;
}

static bool is_full(const struct moving *m, uint32_t n)
{
	return *status(m, n) & TP_STATUS_USER;
}

static bool has_come(const struct moving *m, uint32_t n)
{
	return has_blocks(m->s, m->r) ? in_blocks(m) > n : is_full(m, n);
}

/* The loopback hands a packet over by itself, at once as a rule. */
static int await(const struct moving *m, uint32_t n, bool (*there)(const struct moving *m, uint32_t n), struct err *e)
{
	uint64_t end = now_monotonic_us() + WAIT_MAX_US;

	while (!there(m, n)) {
		if (now_monotonic_us() > end)
			return err_set(e, ERR_TIMEOUT, "the ring of a packet socket does not move");
		sched_yield();
	}
	return 0;
}

static int fill_frames(const struct moving *m, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < m->r->head; i++) {
		r = send_one(m, SMALL, e);
		if (r == 0)
			r = await(m, i, has_come, e);
	}
	return r;
}

/*
 * Blocks are full when the next packet does not fit, which goes into the one behind, or when their timer says so: the last
 * of those that are to be behind the kernel gets one, and is left to it.
 */
static int fill_blocks(const struct moving *m, struct err *e)
{
	uint32_t head = m->r->head;
	int r = 0;

	for (uint32_t i = 0; r == 0 && !packets(m, head - 1); i++) {
		r = send_one(m, head > 1 ? BIG : SMALL, e);
		if (r == 0)
			r = await(m, i, has_come, e);
	}
	return r == 0 ? await(m, head - 1, is_full, e) : r;
}

/* Afterwards bound to what nobody sends: others are moved yet, and ckpt_packet_bind() comes last. */
static int receive(const struct moving *m, struct err *e)
{
	struct sockaddr_ll all = over_lo(ETH_P_ALL), nothing = over_lo(NOTHING);
	int on = 1, was = ckpt_sockopt_number(m->s, SOL_PACKET, PACKET_IGNORE_OUTGOING), r;

	if (setsockopt(m->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0 ||
	    bind(m->fd, (struct sockaddr *)&all, sizeof(all)) < 0)
		return err_sys(e, "bind a packet socket to the loopback");
	r = has_blocks(m->s, m->r) ? fill_blocks(m, e) : fill_frames(m, e);
	if (r == 0 && (bind(m->fd, (struct sockaddr *)&nothing, sizeof(nothing)) < 0 ||
		       setsockopt(m->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &was, sizeof(was)) < 0))
		return err_sys(e, "bind a packet socket to nothing");
	return r;
}

/* One that was never bound to any protocol could not be so again; it has received nothing. */
static bool receives(const Ckpt__Socket *s)
{
	const struct sockaddr_ll *a = (const void *)s->name.data;

	return s->type != SOCK_PACKET && a->sll_protocol;
}

static void put_frame(const struct moving *m, uint32_t n)
{
	int version = version_of(m->s);
	void *p = frame(m, n);

	if (version == TPACKET_V1) {
		*(struct tpacket_hdr *)p = (struct tpacket_hdr){ .tp_len = SMALL };
		((struct tpacket_hdr *)p)->tp_mac = ((struct tpacket_hdr *)p)->tp_net =
			TPACKET_HDRLEN - sizeof(struct sockaddr_ll);
	} else if (version == TPACKET_V2) {
		*(struct tpacket2_hdr *)p = (struct tpacket2_hdr){ .tp_len = SMALL };
		((struct tpacket2_hdr *)p)->tp_mac = ((struct tpacket2_hdr *)p)->tp_net =
			TPACKET2_HDRLEN - sizeof(struct sockaddr_ll);
	} else {
		*(struct tpacket3_hdr *)p = (struct tpacket3_hdr){ .tp_len = SMALL };
		((struct tpacket3_hdr *)p)->tp_mac = ((struct tpacket3_hdr *)p)->tp_net =
			TPACKET3_HDRLEN - sizeof(struct sockaddr_ll);
	}
	*status(m, n) = TP_STATUS_SEND_REQUEST;
}

static int transmit(const struct moving *m, struct err *e)
{
	struct sockaddr_ll a = over_lo(ETH_P_802_EX1);

	for (uint32_t i = 0; i < m->r->head; i++)
		put_frame(m, i);
	return sendto(m->fd, NULL, 0, 0, (struct sockaddr *)&a, sizeof(a)) < 0
		? err_sys(e, "send from the ring of a packet socket") : 0;
}

/* The loopback takes packets only while it is up. */
static int move_on(const struct moving *m, struct err *e)
{
	struct ifreq f = { .ifr_name = "lo" };
	int r, was;

	if (!m->r->head || (!m->r->tx && !receives(m->s)))
		return 0;
	if (ioctl(m->fd, SIOCGIFFLAGS, &f) < 0)
		return err_sys(e, "look at the loopback");
	was = f.ifr_flags;
	f.ifr_flags |= IFF_UP;
	if (!(was & IFF_UP) && ioctl(m->fd, SIOCSIFFLAGS, &f) < 0)
		return err_sys(e, "set the loopback up");
	r = m->r->tx ? transmit(m, e) : receive(m, e);
	f.ifr_flags = (short)was;
	if (!(was & IFF_UP) && ioctl(m->fd, SIOCSIFFLAGS, &f) < 0 && r == 0)
		r = err_sys(e, "set the loopback down");
	return r;
}

/* All that was in it but for the block that the kernel is at, which it has begun anew. */
static int put_contents(const struct ckpt_tree *t, uint32_t id, uint8_t *map, size_t total, struct err *e)
{
	const Ckpt__Socket *s = t->files[id - 1]->socket;
	const Ckpt__PacketRing *r = s->ring[0];
	size_t count, at = 0, skip = total, skip_end = total;
	Ckpt__SocketData **q = ckpt_socket_queue(t, id, &count);

	if (has_blocks(s, r)) {
		skip = (size_t)r->head * r->block_size;
		skip_end = skip + r->block_size;
	}
	for (size_t i = 0; i < count; i++) {
		const ProtobufCBinaryData *d = &q[i]->data;

		if (d->len > total - at)
			return err_set(e, ERR_FAIL, "the image is damaged: the ring of file %u", id);
		for (size_t k = 0; k < d->len; k++)
			if (at + k < skip || at + k >= skip_end)
				map[at + k] = d->data[k];
		at += d->len;
	}
	return 0;
}

int ckpt_rings_make(const struct ckpt_opening *o, int fd, uint32_t id, struct err *e)
{
	const Ckpt__File *f = o->tree->files[id - 1];
	const Ckpt__Socket *s = f->socket;
	size_t total = total_of(s), at = 0;
	struct tpacket_stats_v3 ignored;
	socklen_t len = sizeof(ignored);
	cleanup_close int sender = -EBADF;
	uint8_t *map;
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->n_ring; i++)
		r = make_ring(fd, s, s->ring[i], e);
	if (r < 0 || !total)
		return r;
	sender = ckpt_opening_socket(o, f->space, AF_PACKET, SOCK_RAW, 0, e);
	if (sender < 0)
		return sender;
	map = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_sys(e, "map the ring of a packet socket");
	for (size_t i = 0; r == 0 && i < s->n_ring; at += size_of(s->ring[i]), i++)
		r = move_on(&(struct moving){ s, s->ring[i], map + at, fd, sender }, e);
	if (r == 0)
		r = put_contents(o->tree, id, map, total, e);
	munmap(map, total);
	getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &ignored, &len); /* begins anew when it is read */
	return r;
}
