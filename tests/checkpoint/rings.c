/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Rings of packet sockets, of all versions, received from and sent to, which have been gone around; some packets wait
 * in them. Afterwards the kernel goes on where it was, and so does who reads. One is mapped by a child too, one by
 * nobody; two are a fanout group.
 */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define BLOCK 8192
#define FRAME 2048
#define FRAMES 8 /* in two blocks */
#define BLOCKS3 5

static int sender;

static struct sockaddr_ll lo(int protocol)
{
	return (struct sockaddr_ll){ .sll_family = AF_PACKET,
				     .sll_ifindex = 1,
				     .sll_protocol = htons((uint16_t)protocol) };
}

static void send_one(int protocol, uint8_t mark)
{
	struct sockaddr_ll a = lo(protocol);
	uint8_t packet[100] = { [12] = (uint8_t)(protocol >> 8), [13] = (uint8_t)protocol, [14] = mark };

	CHECK(sendto(sender, packet, sizeof(packet), 0, (void *)&a, sizeof(a)) == sizeof(packet));
}

struct ring {
	int fd, version, protocol, blocks;
	uint8_t *at;
	uint32_t next;  /* that is to be read */
	uint8_t marked; /* the last one that was read */
};

static void make(struct ring *r, int version, int protocol, int blocks, bool tx, bool mapped)
{
	struct sockaddr_ll a = lo(protocol);
	struct tpacket_req3 q = { BLOCK, (unsigned)blocks, FRAME, (unsigned)blocks * (BLOCK / FRAME), 0, 0, 0 };

	*r = (struct ring){ .version = version, .protocol = protocol, .blocks = blocks, .at = NULL };
	r->fd = socket(AF_PACKET, SOCK_RAW, htons((uint16_t)(tx ? 0 : protocol)));
	q.tp_retire_blk_tov = version == TPACKET_V3 && !tx ? 20 : 0;
	CHECK(setsockopt(r->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) == 0);
	CHECK(setsockopt(r->fd, SOL_PACKET, tx ? PACKET_TX_RING : PACKET_RX_RING, &q,
			 version == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req)) == 0);
	CHECK(tx || bind(r->fd, (void *)&a, sizeof(a)) == 0);
	if (mapped)
		r->at = mmap(NULL, (size_t)blocks * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	CHECK(r->fd >= 0 && r->at != MAP_FAILED);
}

static volatile uint32_t *status(const struct ring *r, uint32_t n)
{
	if (r->version == TPACKET_V3)
		return (void *)(r->at + (size_t)n * BLOCK + offsetof(struct tpacket_block_desc, hdr.bh1.block_status));
	return (void *)(r->at + (size_t)n * FRAME);
}

static uint8_t mark_of(const struct ring *r, uint32_t n)
{
	const uint8_t *p = r->at + (size_t)n * FRAME;

	if (r->version == TPACKET_V3) {
		const struct tpacket_block_desc *b = (void *)(r->at + (size_t)n * BLOCK);

		p = (const uint8_t *)b + b->hdr.bh1.offset_to_first_pkt;
		return p[((const struct tpacket3_hdr *)(const void *)p)->tp_mac + 14];
	}
	return p[(r->version == TPACKET_V1 ? ((const struct tpacket_hdr *)(const void *)p)->tp_mac
					   : ((const struct tpacket2_hdr *)(const void *)p)->tp_mac) + 14];
}

/* The next frame or block, which holds one packet. */
static void take(struct ring *r)
{
	struct pollfd p = { r->fd, POLLIN, 0 };

	for (int i = 0; i < 100 && !(*status(r, r->next) & TP_STATUS_USER); i++)
		poll(&p, 1, 50);
	CHECK((*status(r, r->next) & TP_STATUS_USER) && mark_of(r, r->next) == (uint8_t)(r->marked + 1));
	r->marked++;
	*status(r, r->next) = TP_STATUS_KERNEL;
	r->next = (r->next + 1) % (uint32_t)(r->version == TPACKET_V3 ? r->blocks : r->blocks * (BLOCK / FRAME));
}

static void give(const struct ring *r, uint8_t from, uint8_t to)
{
	for (uint8_t mark = from; mark <= to; mark++) {
		send_one(r->protocol, mark);
		/* Until its block is handed over. */
		for (int i = 0; r->version == TPACKET_V3 && i < 1000 &&
				!(*status(r, (r->next + mark - r->marked - 1u) % (uint32_t)r->blocks) & TP_STATUS_USER);
		     i++)
			usleep(1000);
	}
}

/* Sends packets from a ring, of which nobody may be left out. */
static void transmit(struct ring *r, uint8_t mark)
{
	struct sockaddr_ll a = lo(0x88b9);
	uint8_t *p = r->at + (size_t)r->next * FRAME, *data = p + TPACKET2_HDRLEN - sizeof(a);

	memset(data, 0, 60);
	data[12] = 0x88;
	data[13] = 0xb9;
	data[14] = mark;
	CHECK(*status(r, r->next) == TP_STATUS_AVAILABLE);
	((struct tpacket2_hdr *)(void *)p)->tp_len = 60;
	*status(r, r->next) = TP_STATUS_SEND_REQUEST;
	CHECK(sendto(r->fd, NULL, 0, 0, (void *)&a, sizeof(a)) == 60);
	r->next = (r->next + 1) % FRAMES;
}

static int heard(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	uint8_t packet[128];

	poll(&p, 1, 5000);
	return recv(fd, packet, sizeof(packet), MSG_DONTWAIT) > 14 ? packet[14] : -1;
}

static void join(int fd)
{
	int arg = 77 | PACKET_FANOUT_ROLLOVER << 16;

	CHECK(setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &arg, sizeof(arg)) == 0);
}

int main(int argc, char **argv)
{
	struct ring r[3], tx, unmapped, fan[2];
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct sockaddr_ll a = lo(0x88b9);
	int plain = socket(AF_PACKET, SOCK_RAW, 0), told[2], status_of, arg;
	socklen_t len = sizeof(arg);
	pid_t child;
	char c;

	(void)argc;
	(void)argv;
	CHECK(ioctl(plain, SIOCSIFFLAGS, &up) == 0 && bind(plain, (void *)&a, sizeof(a)) == 0 && pipe(told) == 0);
	sender = socket(AF_PACKET, SOCK_RAW, 0);
	make(&r[0], TPACKET_V1, 0x88b5, 2, false, true);
	make(&r[1], TPACKET_V2, 0x88b6, 2, false, true);
	make(&r[2], TPACKET_V3, 0x88b7, BLOCKS3, false, true);
	make(&tx, TPACKET_V2, 0, 2, true, true);
	make(&unmapped, TPACKET_V2, 0x88ba, 2, false, false);
	make(&fan[0], TPACKET_V2, 0x88bb, 2, false, true);
	make(&fan[1], TPACKET_V2, 0x88bb, 2, false, true);
	join(fan[0].fd);
	join(fan[1].fd);
	for (int i = 0; i < 2; i++) { /* around, and on: three wait, the kernel is at frame 5 */
		give(&r[i], 1, FRAMES - 1);
		for (int k = 0; k < FRAMES - 1; k++)
			take(&r[i]);
		give(&r[i], FRAMES, FRAMES + 5);
		for (int k = 0; k < 3; k++)
			take(&r[i]);
	}
	give(&r[2], 1, BLOCKS3 - 1);
	for (int k = 0; k < BLOCKS3 - 1; k++)
		take(&r[2]);
	give(&r[2], BLOCKS3, BLOCKS3 + 3);
	take(&r[2]);
	for (uint8_t mark = 1; mark <= FRAMES + 3; mark++) {
		transmit(&tx, mark);
		CHECK(heard(plain) == mark);
	}
	child = fork();
	if (child == 0) {
		CHECK(read(told[0], &c, 1) == 1);
		r[1].next += 2; /* the parent has read those */
		r[1].marked += 2;
		take(&r[1]);
		_exit(guest_failed);
	}
	wait_for_restore();
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 2 + (i == 0); k++)
			take(&r[i]);
	CHECK(write(told[1], "x", 1) == 1 && waitpid(child, &status_of, 0) == child && status_of == 0);
	r[1].next = (r[1].next + 1) % FRAMES;
	r[1].marked++;
	for (int k = 0; k < 3; k++)
		take(&r[2]);
	for (int i = 0; i < 3; i++)
		for (uint8_t k = 0; k < 12; k++) {
			give(&r[i], (uint8_t)(r[i].marked + 1), (uint8_t)(r[i].marked + 1));
			take(&r[i]);
		}
	for (uint8_t mark = FRAMES + 4; mark <= 3 * FRAMES; mark++) {
		transmit(&tx, mark);
		CHECK(heard(plain) == mark);
	}
	send_one(0x88bb, 1);
	CHECK(poll((struct pollfd[]){ { fan[0].fd, POLLIN, 0 }, { fan[1].fd, POLLIN, 0 } }, 2, 5000) >= 1);
	CHECK((*status(&fan[0], 0) & TP_STATUS_USER) || (*status(&fan[1], 0) & TP_STATUS_USER));
	CHECK(getsockopt(fan[1].fd, SOL_PACKET, PACKET_FANOUT, &arg, &len) == 0 && (arg & 0xffff) == 77);
	unmapped.at = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, unmapped.fd, 0);
	CHECK(unmapped.at != MAP_FAILED);
	give(&unmapped, 1, 1);
	take(&unmapped);
	return done();
}
