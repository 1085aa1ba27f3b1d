/* SPDX-License-Identifier: GPL-2.0-or-later */

/* /dev/net/tun, and what is attached through it to an interface (checkpoint/tun.h). */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/enter.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define MODES (IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR | IFF_MULTI_QUEUE)

/* What the image has in `more`. */
enum { HEADER, SEND_BUFFER, LITTLE, BIG, OFFLOAD, FACTS };

static bool is(const struct ckpt_fd *f)
{
	return S_ISCHR(f->st.st_mode) && major(f->st.st_rdev) == 10 && minor(f->st.st_rdev) == 200;
}

static uint64_t get(int fd, unsigned long what)
{
	int v = 0;

	return ioctl(fd, what, &v) < 0 ? 0 : (uint64_t)(unsigned)v;
}

static unsigned feature(int sock, const char *name, unsigned what)
{
	struct ethtool_value v = { .cmd = what };
	struct ifreq q = { .ifr_data = (void *)&v };

	snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", name);
	return ioctl(sock, SIOCETHTOOL, &q) < 0 ? 0 : v.data;
}

struct asking {
	const char *name;
	uint64_t offload;
};

/* TUNSETOFFLOAD tells nobody what it was told, but the interface has it among its features. */
static int ask_offload(void *arg, struct err *e)
{
	struct asking *q = arg;
	cleanup_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return err_sys(e, "ask for an interface");
	if (feature(sock, q->name, ETHTOOL_GTXCSUM))
		q->offload = TUN_F_CSUM | (feature(sock, q->name, ETHTOOL_GTSO) ? TUN_F_TSO4 | TUN_F_TSO6 : 0);
	return 0;
}

static bool is_filtered(int fd)
{
	struct sock_fprog p = { 0 };

	return ioctl(fd, TUNGETFILTER, &p) == 0 && p.len;
}

static int dump_attached(struct ckpt_dump *d, const struct ckpt_fd *f, const struct ifreq *q, Ckpt__File *out,
			 struct err *e)
{
	struct asking ask = { .name = q->ifr_name };
	cleanup_close int its = ioctl(f->own, TUNGETDEVNETNS);
	int id = its < 0 ? err_sys(e, "ask for the network namespace of %s", q->ifr_name)
			 : ckpt_spaces_add(d, CKPT_SPACE_NET, its, 0, e), r;

	if (id < 0)
		return id;
	out->net = (uint32_t)id == d->spaces.main[CKPT_SPACE_NET] ? 0 : (uint32_t)id;
	if (is_filtered(f->own))
		return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d filters what interface %s gets "
			       "(TUNATTACHFILTER), which cannot be saved", f->fd, (int)f->pid, q->ifr_name);
	r = ckpt_within(&its, 1, ask_offload, &ask, e);
	out->value = (uint16_t)q->ifr_flags;
	out->name.data = ckpt_memdup(ckpt_dump_arena(d), q->ifr_name, IF_NAMESIZE);
	out->name.len = strnlen(q->ifr_name, IF_NAMESIZE);
	out->more = ckpt_alloc(ckpt_dump_arena(d), FACTS * sizeof(*out->more));
	if (!out->name.data || !out->more)
		return err_code(e, -ENOMEM, "collect files");
	out->n_more = FACTS;
	out->more[HEADER] = get(f->own, TUNGETVNETHDRSZ);
	out->more[SEND_BUFFER] = get(f->own, TUNGETSNDBUF);
	out->more[LITTLE] = get(f->own, TUNGETVNETLE);
	out->more[BIG] = get(f->own, TUNGETVNETBE);
	out->more[OFFLOAD] = ask.offload;
	return r;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct ifreq q = { 0 };
	char proc[64];
	int r;

	snprintf(proc, sizeof(proc), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	r = ckpt_place_find(d, proc, f->link, &f->st, &out->path, &out->ghost, &out->space, e);
	if (r == 0 && ioctl(f->own, TUNGETIFF, &q) == 0)
		r = dump_attached(d, f, &q, out, e);
	return r;
}

static int set(int fd, unsigned long what, uint64_t v)
{
	int n = (int)v;

	return ioctl(fd, what, &n) < 0 ? -errno : 0;
}

/* What only a header in front of packets has is set only where there is one. */
static int attach(int fd, const Ckpt__File *f)
{
	struct ifreq q = { .ifr_flags = (short)(f->value & MODES) };
	int r = 0;

	memcpy(q.ifr_name, f->name.data, f->name.len);
	if (ioctl(fd, TUNSETIFF, &q) < 0)
		return -errno;
	if (f->value & IFF_VNET_HDR) {
		r = set(fd, TUNSETVNETHDRSZ, f->more[HEADER]);
		if (r == 0)
			r = set(fd, TUNSETVNETLE, f->more[LITTLE]);
		if (r == 0 && f->more[BIG])
			r = set(fd, TUNSETVNETBE, f->more[BIG]);
	}
	if (r == 0 && f->more[SEND_BUFFER])
		r = set(fd, TUNSETSNDBUF, f->more[SEND_BUFFER]);
	if (r == 0 && ioctl(fd, TUNSETOFFLOAD, (unsigned long)f->more[OFFLOAD]) < 0)
		r = -errno;
	if (r == 0 && ioctl(fd, TUNSETPERSIST, (unsigned long)!!(f->value & IFF_PERSIST)) < 0)
		r = -errno;
	if (r == 0 && (f->value & IFF_DETACH_QUEUE)) {
		q.ifr_flags = IFF_DETACH_QUEUE;
		r = ioctl(fd, TUNSETQUEUE, &q) < 0 ? -errno : 0;
	}
	return r;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int fd, r = 0;

	if (f->name.len && (f->name.len >= IF_NAMESIZE || f->n_more != FACTS))
		return err_set(e, ERR_FAIL, "the image is damaged: an interface");
	fd = path_open_no_magic(f->path, (int)(f->flags & O_ACCMODE) | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return err_code(e, fd, "open %s again", f->path);
	if (f->net && ckpt_opening_enter(o, f->net, e) < 0) {
		close(fd);
		return -EPERM;
	}
	if (f->name.len)
		r = attach(fd, f);
	if (f->net && ckpt_opening_enter(o, 0, e) < 0)
		r = -EPERM;
	if (r < 0)
		close(fd);
	return r < 0 ? err_code(e, r, "attach to interface %.*s again", (int)f->name.len, (const char *)f->name.data)
		     : fd;
}

const struct ckpt_kind ckpt_kind_tun = { "tun", is, dump, open_again, false };
