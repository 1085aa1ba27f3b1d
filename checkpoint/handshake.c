/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/handshake.h"

#include "base/bpf.h"
#include "base/fd.h"
#include "base/macro.h"
#include "base/step.h"
#include "checkpoint/kernel.h"
#include "netns/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOPBACK 1         /* its number in each namespace */
#define TCX_INGRESS 46     /* BPF_TCX_INGRESS and BPF_F_BEFORE, Linux 6.6 */
#define BEFORE (1u << 3)
#define KFUNC_CALL 2       /* BPF_PSEUDO_KFUNC_CALL, Linux 5.13 */
#define WAITS (-EINPROGRESS)

/* struct bpf_tcp_req_attrs, include/net/tcp.h */
struct attrs {
	uint32_t peer_timestamp, timestamp;
	uint16_t mss;
	uint8_t receive_scale, send_scale, ecn, scales, sack, timestamps, microseconds, reserved[3];
};
/* Between us and the program. */
struct order {
	uint32_t armed;
	struct attrs attrs;
	int32_t said;
};

/* Switches of a namespace that the kernel asks, and what it must not find. */
static const struct {
	const char *path, *want;
	bool at_least; /* or it is that */
} switches[] = {
	{ "/proc/sys/net/ipv4/tcp_syncookies", "1", true },
	{ "/proc/sys/net/ipv4/tcp_window_scaling", "1", true },
	{ "/proc/sys/net/ipv4/tcp_sack", "1", true },
	{ "/proc/sys/net/ipv4/tcp_timestamps", "1", true },
	{ "/proc/sys/net/ipv4/tcp_ecn", "1", true },
	{ "/proc/sys/net/core/somaxconn", "65535", true },
	/* Our segments are marked, and what is made of them has the listener's mark. */
	{ "/proc/sys/net/ipv4/tcp_fwmark_accept", "0", false },
};

struct ckpt_handshakes {
	int listener, order; /* maps */
	int program, link, netns;
	int chooser, shares; /* a program, and the listener in whose group it chooses */
	size_t room;
	char was[ARRAY_SIZE(switches)][16]; /* or "": as it is wanted */
};

static int new_map(unsigned type, uint32_t size)
{
	union bpf_attr attr = { .map_type = type, .key_size = 4, .value_size = size, .max_entries = 1, .map_name = "vpshandshake" };

	return bpf_call(BPF_MAP_CREATE, &attr);
}

static int load_program(unsigned type, const struct bpf_insn *insns, uint32_t count)
{
	union bpf_attr attr = {
		.prog_type = type,
		.insn_cnt = count,
		.insns = (uintptr_t)insns,
		.license = (uintptr_t)"GPL",
		.prog_name = "vpshandshake",
	};

	return bpf_load(&attr);
}

/* Its context, in register 1 and then 6, is a struct __sk_buff; in 7 is the order, in 8 the listener. It returns TCX_PASS for
 * what is ours, whatever a tenant has behind it, and TCX_NEXT. */
static int load(const struct ckpt_handshakes *h, uint32_t function)
{
	struct bpf_insn insns[] = {
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),
		BPF_INSN(BPF_LDX | BPF_MEM | BPF_W, 2, 6, offsetof(struct __sk_buff, mark), 0),
		BPF_INSN(BPF_JMP32 | BPF_JNE | BPF_K, 2, 0, 24, (int32_t)NETNS_LOCK_MARK),
		BPF_INSN(BPF_LD | BPF_IMM | BPF_DW, 7, BPF_PSEUDO_MAP_VALUE, 0, h->order),
		BPF_INSN(0, 0, 0, 0, 0),
		BPF_INSN(BPF_LDX | BPF_MEM | BPF_W, 1, 7, offsetof(struct order, armed), 0),
		BPF_INSN(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 18, 0),
		BPF_INSN(BPF_ST | BPF_MEM | BPF_W, 7, 0, offsetof(struct order, armed), 0),
		BPF_INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
		/* bpf_map_lookup_elem(listener, &0), which holds it */
		BPF_INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, h->listener),
		BPF_INSN(0, 0, 0, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
		BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		BPF_INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 10, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 8, 0, 0, 0),
		/* bpf_sk_assign_tcp_reqsk(segment, listener, attrs, size) */
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 8, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 7, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, offsetof(struct order, attrs)),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, sizeof(struct attrs)),
		BPF_INSN(BPF_JMP | BPF_CALL, 0, KFUNC_CALL, 0, (int32_t)function),
		BPF_INSN(BPF_STX | BPF_MEM | BPF_W, 7, 0, offsetof(struct order, said), 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 8, 0, 0),
		BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_sk_release),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, -1),
		BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return load_program(BPF_PROG_TYPE_SCHED_CLS, insns, ARRAY_SIZE(insns));
}

/* Of a group of listeners of one port the kernel chooses one all the same: the one that the map has. Its context, in register
 * 1, is a struct sk_reuseport_md; where it cannot choose the kernel does. */
static int load_chooser(const struct ckpt_handshakes *h)
{
	struct bpf_insn insns[] = {
		BPF_INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
		BPF_INSN(BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, h->listener),
		BPF_INSN(0, 0, 0, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 10, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, -4),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, 0),
		BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_sk_select_reuseport),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, SK_PASS),
		BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return load_program(BPF_PROG_TYPE_SK_REUSEPORT, insns, ARRAY_SIZE(insns));
}

static int attach(const struct ckpt_handshakes *h, int number)
{
	union bpf_attr attr = { .link_create = {
		.prog_fd = (uint32_t)h->program, .target_ifindex = (uint32_t)number, .attach_type = TCX_INGRESS, .flags = BEFORE,
	} };

	return bpf_call(BPF_LINK_CREATE, &attr);
}

int ckpt_handshakes_open(struct ckpt_handshakes **ret, struct err *e)
{
	struct ckpt_handshakes *h;
	uint32_t function = 0;
	int r;

	if (without_feature("handshakes"))
		return err_set(e, ERR_UNSUPPORTED, "connections that wait to be accepted are not made again");
	h = calloc(1, sizeof(*h));
	r = h ? ckpt_kernel_function("bpf_sk_assign_tcp_reqsk", &function, e) : err_code(e, -ENOMEM, "make connections");

	if (r < 0) {
		free(h);
		return r;
	}
	h->program = h->link = h->netns = h->chooser = h->shares = -EBADF;
	h->listener = new_map(BPF_MAP_TYPE_SOCKMAP, 4);
	h->order = new_map(BPF_MAP_TYPE_ARRAY, sizeof(struct order));
	r = h->listener < 0 ? h->listener : h->order;
	if (r >= 0)
		r = h->program = load(h, function);
	if (r >= 0)
		r = h->chooser = load_chooser(h);
	/* Of an interface that there is not, by a kernel that knows of the place. */
	if (r >= 0 && (r = attach(h, INT_MAX)) == -ENODEV)
		r = 0;
	if (r < 0) {
		ckpt_handshakes_close(h);
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not make connections again that wait to be accepted (bpf: %s)",
			       strerror(-r));
	}
	*ret = h;
	return 0;
}

bool ckpt_handshakes_known(void)
{
	static int known = -1; /* a kernel does not learn it */
	struct ckpt_handshakes *h = NULL;
	struct err ignored;

	if (known < 0) {
		known = ckpt_handshakes_open(&h, &ignored) == 0;
		ckpt_handshakes_close(h);
	}
	return known;
}

static int write_switch(const char *path, const char *value)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = (ssize_t)strlen(value);

	return fd < 0 || write(fd, value, (size_t)len) != len ? -errno : 0;
}

/* One that this kernel has not, or that may not be set, forbids nothing that is known of. */
static void set_aside(struct ckpt_handshakes *h, size_t i)
{
	cleanup_close int fd = open(switches[i].path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, h->was[i], sizeof(h->was[i]) - 1);
	long want = atol(switches[i].want), is;

	h->was[i][len > 0 ? len : 0] = '\0';
	is = atol(h->was[i]);
	if (len <= 0 || (switches[i].at_least ? is >= want : is == want) || write_switch(switches[i].path, switches[i].want) < 0)
		h->was[i][0] = '\0';
}

static int enter(void *arg, struct err *e)
{
	struct ckpt_handshakes *h = arg;
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo" };

	if (fd < 0 || ioctl(fd, SIOCGIFMTU, &ifr) < 0)
		return err_sys(e, "look at lo");
	if (ifr.ifr_mtu < CKPT_HANDSHAKES_MTU)
		return err_set(e, ERR_UNSUPPORTED, "lo takes %d bytes at once, which are too few", ifr.ifr_mtu);
	h->room = (size_t)ifr.ifr_mtu;
	h->link = attach(h, LOOPBACK);
	if (h->link < 0)
		return err_code(e, h->link, "look at what comes by lo");
	for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
		set_aside(h, i);
	return 0;
}

static int leave(void *arg, struct err *e)
{
	struct ckpt_handshakes *h = arg;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
		if (h->was[i][0]) {
			int n = write_switch(switches[i].path, h->was[i]);

			r = r < 0 ? r : n;
			h->was[i][0] = '\0';
		}
	return r < 0 ? err_code(e, r, "put switches of the network back") : 0;
}

int ckpt_handshakes_enter(struct ckpt_handshakes *h, int netns, struct err *e)
{
	h->netns = fcntl(netns, F_DUPFD_CLOEXEC, 3);
	return h->netns < 0 ? err_sys(e, "keep a network namespace") : netns_inside(h->netns, enter, h, e);
}

int ckpt_handshakes_leave(struct ckpt_handshakes *h, struct err *e)
{
	int r = h->netns < 0 ? 0 : netns_inside(h->netns, leave, h, e);

	fd_close(&h->link);
	fd_close(&h->netns);
	return r;
}

void ckpt_handshakes_close(struct ckpt_handshakes *h)
{
	struct err ignored;

	if (!h)
		return;
	ckpt_handshakes_leave(h, &ignored);
	fd_close(&h->program);
	fd_close(&h->chooser);
	fd_close(&h->order);
	fd_close(&h->listener);
	free(h);
}

size_t ckpt_handshakes_room(const struct ckpt_handshakes *h)
{
	return h->room;
}

int ckpt_handshakes_for(struct ckpt_handshakes *h, int listener, struct err *e)
{
	uint32_t first = 0;
	union bpf_attr attr = {
		.map_fd = (uint32_t)h->listener, .key = (uintptr_t)&first, .value = listener < 0 ? 0 : (uintptr_t)&listener,
	};
	int r = bpf_call(listener < 0 ? BPF_MAP_DELETE_ELEM : BPF_MAP_UPDATE_ELEM, &attr), shares = 0;
	socklen_t len = sizeof(shares);

	if (r < 0 && !(listener < 0 && (r == -ENOENT || r == -EINVAL)))
		return err_code(e, r, "name a listener");
	if (h->shares >= 0 && setsockopt(h->shares, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &shares, sizeof(shares)) < 0)
		return err_sys(e, "let the kernel choose among listeners");
	h->shares = -EBADF;
	if (listener < 0 || getsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &shares, &len) < 0 || !shares)
		return 0;
	if (setsockopt(listener, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &h->chooser, sizeof(h->chooser)) < 0)
		return err_sys(e, "choose among listeners");
	h->shares = listener;
	return 0;
}

int ckpt_handshakes_next(struct ckpt_handshakes *h, const struct ckpt_agreed *a, struct err *e)
{
	struct order o = { .armed = 1, .said = WAITS, .attrs = {
		.peer_timestamp = a->peer_timestamp, .timestamp = a->timestamp, .mss = a->mss, .receive_scale = a->receive_scale,
		.send_scale = a->send_scale, .ecn = a->ecn, .scales = a->scales, .sack = a->sack, .timestamps = a->timestamps,
		.microseconds = a->microseconds,
	} };
	uint32_t first = 0;
	union bpf_attr attr = { .map_fd = (uint32_t)h->order, .key = (uintptr_t)&first, .value = (uintptr_t)&o };
	int r = bpf_call(BPF_MAP_UPDATE_ELEM, &attr);

	return r < 0 ? err_code(e, r, "name a connection's options") : 0;
}

int ckpt_handshakes_said(struct ckpt_handshakes *h)
{
	struct order o = { 0 };
	uint32_t first = 0;
	union bpf_attr attr = { .map_fd = (uint32_t)h->order, .key = (uintptr_t)&first, .value = (uintptr_t)&o };
	int r = bpf_call(BPF_MAP_LOOKUP_ELEM, &attr);

	return r < 0 ? r : o.said;
}
