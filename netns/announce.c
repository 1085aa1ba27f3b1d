/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/fd.h"
#include "base/macro.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/*
 * "These addresses are here now", in the name of a VPS that has begun, or has come from elsewhere: an ARP request for
 * its own address (RFC 5227, announcement), and a neighbour advertisement that nobody asked for
 * (RFC 4861, 7.2.6).
 */

struct arp_frame {
	struct ethhdr eth;
	struct ether_arp arp;
} __attribute__((packed));

struct na_frame {
	struct ethhdr eth;
	struct ip6_hdr ip;
	struct nd_neighbor_advert na;
	struct {
		uint8_t type, length, mac[6];
	} option;
} __attribute__((packed));

static size_t make_arp(struct arp_frame *f, const uint8_t mac[6], const struct netns_addr *a)
{
	*f = (struct arp_frame){ .eth.h_proto = htons(ETH_P_ARP) };
	memset(f->eth.h_dest, 0xff, 6);
	memcpy(f->eth.h_source, mac, 6);
	f->arp.ea_hdr.ar_hrd = htons(ARPHRD_ETHER);
	f->arp.ea_hdr.ar_pro = htons(ETH_P_IP);
	f->arp.ea_hdr.ar_hln = 6;
	f->arp.ea_hdr.ar_pln = 4;
	f->arp.ea_hdr.ar_op = htons(ARPOP_REQUEST);
	memcpy(f->arp.arp_sha, mac, 6);
	memcpy(f->arp.arp_spa, a->bytes, 4);
	memcpy(f->arp.arp_tpa, a->bytes, 4);
	return sizeof(*f);
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint32_t add_words(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static size_t make_na(struct na_frame *f, const uint8_t mac[6], const struct netns_addr *a)
{
	static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };
	const size_t len = sizeof(f->na) + sizeof(f->option);
	uint32_t sum;

	*f = (struct na_frame){ .eth.h_proto = htons(ETH_P_IPV6) };
	memcpy(f->eth.h_dest, (const uint8_t[]){ 0x33, 0x33, 0, 0, 0, 1 }, 6);
	memcpy(f->eth.h_source, mac, 6);
	f->ip.ip6_flow = htonl(6u << 28);
	f->ip.ip6_plen = htons((uint16_t)len);
	f->ip.ip6_nxt = IPPROTO_ICMPV6;
	f->ip.ip6_hlim = 255;
	memcpy(&f->ip.ip6_src, a->bytes, 16);
	memcpy(&f->ip.ip6_dst, all_nodes, 16);
	f->na.nd_na_type = ND_NEIGHBOR_ADVERT;
	f->na.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
	memcpy(&f->na.nd_na_target, a->bytes, 16);
	f->option.type = ND_OPT_TARGET_LINKADDR;
	f->option.length = 1;
	memcpy(f->option.mac, mac, 6);
	sum = add_words(0, &f->ip.ip6_src, 32);
	sum = add_words(sum + (uint32_t)len + IPPROTO_ICMPV6, &f->na, len);
	f->na.nd_na_cksum = htons(fold(sum));
	return sizeof(*f);
}

void netns_await_carrier(int fd, const char *link)
{
	struct ethtool_value v = { .cmd = ETHTOOL_GLINK };
	struct ifreq ifr = { .ifr_data = (void *)&v };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", link);
	ioctl(fd, SIOCETHTOOL, &ifr);
}

/* The addresses of an interface are told on `link`, which has this MAC; `fd` is of the link's namespace. */
static void tell(const struct netns_if *i, int fd, const char *link, const uint8_t mac[6])
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", link);
	if (ioctl(fd, SIOCGIFINDEX, &ifr) < 0)
		return;
	to.sll_ifindex = ifr.ifr_ifindex;
	for (size_t k = 0; k < i->addr_count; k++) {
		union {
			struct arp_frame arp;
			struct na_frame na;
		} f;
		size_t len = i->addr[k].family == AF_INET ? make_arp(&f.arp, mac, &i->addr[k])
							   : make_na(&f.na, mac, &i->addr[k]);

		/* It is a courtesy: who does not hear it asks. */
		sendto(fd, &f, len, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
	}
}

/* For addresses that are routed to the VPS the host answers, on the link outside and with the link's own MAC. */
static void tell_for_routed(const struct netns_if *i, int fd)
{
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", i->parent);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) == 0 && ifr.ifr_hwaddr.sa_family == ARPHRD_ETHER)
		tell(i, fd, i->parent, (const uint8_t *)ifr.ifr_hwaddr.sa_data);
}

static int open_socket(int netns_fd)
{
	struct err ignored;
	int fd = netns_socket(netns_fd, AF_PACKET, SOCK_RAW, 0, &ignored), on = 1;

	/* Past the queue, which a link that has just come up may not have yet. */
	if (fd >= 0)
		setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on));
	return fd;
}

/* From inside, as the VPS itself would: rules of the host that look at who sends what see it. */
void netns_announce(const struct netns_vps *v, int netns_fd)
{
	int inside = -EBADF, outside = -EBADF;

	for (unsigned i = 0; i < v->if_count; i++) {
		const struct netns_if *f = &v->ifs[i];
		bool routed = f->mode == NETNS_ROUTED;
		int *fd = routed ? &outside : &inside;

		if (f->mode == NETNS_NONE || f->mode == NETNS_HOST || !f->addr_count || (routed && !*f->parent))
			continue;
		if (*fd < 0)
			*fd = open_socket(routed ? -EBADF : netns_fd);
		if (*fd < 0)
			continue;
		if (routed) {
			tell_for_routed(f, *fd);
			continue;
		}
		netns_await_carrier(*fd, f->name);
		tell(f, *fd, f->name, f->mac);
	}
	fd_close_later(&inside);
	fd_close_later(&outside);
}
