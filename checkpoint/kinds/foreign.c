/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sockets that are not saved, by name. The kernel or another machine holds their other end. */
#include "base/macro.h"
#include "checkpoint/kinds.h"
#include "checkpoint/sockets.h"

#include <sys/socket.h>

static const struct {
	int family;
	const char *name;
} names[] = {
	{ AF_VSOCK, "vsock (to the hypervisor)" }, { AF_ALG, "AF_ALG (the kernel's cryptography)" },
	{ AF_KEY, "PF_KEY (IPsec keys)" },         { 44 /* AF_XDP */, "AF_XDP" },
	{ AF_RDS, "RDS" },                         { 43 /* AF_SMC */, "SMC" },
	{ AF_KCM, "KCM" },                         { AF_TIPC, "TIPC" },
	{ AF_BLUETOOTH, "Bluetooth" },             { AF_CAN, "CAN" },
	{ 45 /* AF_MCTP */, "MCTP" },              { AF_QIPCRTR, "QRTR" },
	{ AF_PPPOX, "PPP" },                       { AF_NFC, "NFC" },
};

static bool is(const struct ckpt_fd *f)
{
	int family = ckpt_socket_family(f);

	return family >= 0 && family != AF_UNIX && family != AF_INET && family != AF_INET6 &&
	       family != AF_NETLINK && family != AF_PACKET;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	int family = ckpt_socket_family(f);

	(void)d;
	(void)out;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].family == family)
			return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is a socket of %s, which cannot "
				       "be saved", f->fd, (int)f->pid, names[i].name);
	return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is a socket of family %d, which cannot be saved",
		       f->fd, (int)f->pid, family);
}

const struct ckpt_kind ckpt_kind_foreign = { "foreign", is, dump, ckpt_socket_open, true };
