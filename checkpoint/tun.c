/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/tun.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

static const struct nlattr *find(const struct nlattr *data, uint16_t type, size_t len)
{
	const struct nlattr *a;

	if (!data)
		return NULL;
	mnl_attr_for_each_nested(a, data)
	{
		if (mnl_attr_get_type(a) == type && mnl_attr_get_payload_len(a) == len)
			return a;
	}
	return NULL;
}

static unsigned byte(const struct nlattr *data, uint16_t type)
{
	const struct nlattr *a = find(data, type, 1);

	return a ? mnl_attr_get_u8(a) : 0;
}

void ckpt_tun_localize(const struct nlattr *data, uint32_t base)
{
	static const uint16_t owners[] = { IFLA_TUN_OWNER, IFLA_TUN_GROUP };

	for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
		const struct nlattr *a = find(data, owners[i], sizeof(uint32_t));
		uint32_t id;

		if (!a)
			continue;
		id = mnl_attr_get_u32(a) - base;
		memcpy(mnl_attr_get_payload(a), &id, sizeof(id));
	}
}

static int set(int fd, unsigned long what, unsigned long v, const char *name, struct err *e)
{
	return ioctl(fd, what, v) < 0 ? err_sys(e, "make interface %s again", name) : 0;
}

int ckpt_tun_make(const struct ckpt_tun *t, struct err *e)
{
	cleanup_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	const struct nlattr *owner = find(t->data, IFLA_TUN_OWNER, 4), *group = find(t->data, IFLA_TUN_GROUP, 4);
	unsigned type = byte(t->data, IFLA_TUN_TYPE);
	struct ifreq q = { 0 };
	int r;

	if (fd < 0) {
		err_sys(e, "make interface %s again: open /dev/net/tun", t->name);
		return err_hint(e, "it takes the setting device=/dev/net/tun:rw");
	}
	if (type != IFF_TUN && type != IFF_TAP)
		return err_set(e, ERR_FAIL, "the image is damaged: interface %s", t->name);
	snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", t->name);
	q.ifr_flags = (short)(type | (byte(t->data, IFLA_TUN_PI) ? 0 : IFF_NO_PI) |
			      (byte(t->data, IFLA_TUN_VNET_HDR) ? IFF_VNET_HDR : 0) |
			      (byte(t->data, IFLA_TUN_MULTI_QUEUE) ? IFF_MULTI_QUEUE : 0));
	if (ioctl(fd, TUNSETIFINDEX, &t->index) < 0 || ioctl(fd, TUNSETIFF, &q) < 0)
		return err_sys(e, "make interface %s again", t->name);
	r = owner ? set(fd, TUNSETOWNER, mnl_attr_get_u32(owner), t->name, e) : 0;
	if (r == 0 && group)
		r = set(fd, TUNSETGROUP, mnl_attr_get_u32(group), t->name, e);
	return r == 0 ? set(fd, TUNSETPERSIST, 1, t->name, e) : r;
}
