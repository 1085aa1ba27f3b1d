/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The program that chooses among sockets of one port (SO_REUSEPORT), which getsockopt(2) does not tell: it is read
 * from the kernel's memory, which keeps what it was made of.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/sockets.h"
#include "checkpoint/sockopt.h"

#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>

/* 0: it has none. */
static int find(const struct ckpt_sock *k, uint64_t *ret_program, struct err *e)
{
	struct ckpt_kernel *kernel = k->d->kernel;
	uint64_t socket, sk, group;
	int r = ckpt_kernel_file(kernel, k->fd, &socket, e);

	*ret_program = 0;
	if (r == 0)
		r = ckpt_kernel_member(kernel, socket, "socket", "sk", 8, &sk, e);
	if (r == 0)
		r = ckpt_kernel_member(kernel, sk, "sock", "sk_reuseport_cb", 8, &group, e);
	return r == 0 && group ? ckpt_kernel_member(kernel, group, "sock_reuseport", "prog", 8, ret_program, e) : r;
}

static int copy(const struct ckpt_sock *k, uint64_t classic, struct err *e)
{
	struct ckpt_kernel *kernel = k->d->kernel;
	struct sock_filter code[BPF_MAXINSNS];
	uint64_t len, at;
	int r = ckpt_kernel_member(kernel, classic, "sock_fprog_kern", "len", 2, &len, e);

	if (r == 0)
		r = ckpt_kernel_member(kernel, classic, "sock_fprog_kern", "filter", 8, &at, e);
	if (r == 0 && (!len || len > BPF_MAXINSNS))
		return err_set(e, ERR_FAIL, "the program of a socket has %llu instructions", (unsigned long long)len);
	/* The whole of each, which begins with its code. */
	for (size_t i = 0; r == 0 && i < len; i++) {
		uint64_t whole;

		r = ckpt_kernel_member(kernel, at + i * sizeof(*code), "sock_filter", "code", 8, &whole, e);
		memcpy(&code[i], &whole, sizeof(*code));
	}
	return r < 0 ? r : ckpt_sockopt_keep(ckpt_dump_arena(k->d), k->s, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, code,
					     len * sizeof(*code), e);
}

int ckpt_reuseport_collect(const struct ckpt_sock *k, struct err *e)
{
	uint64_t program, classic;
	struct err ignored;
	int r;

	if (!ckpt_sockopt_number(k->s, SOL_SOCKET, SO_REUSEPORT))
		return 0;
	/* Nearly nobody has one: where that cannot be known it is not there. */
	if (!k->d->kernel && ckpt_kernel_open(&k->d->kernel, &ignored) < 0)
		return 0;
	r = find(k, &program, e);
	if (r < 0)
		return err_wrap(e, "fd %d of process %d shares its port", k->number, (int)k->pid);
	if (!program)
		return 0;
	r = ckpt_kernel_member(k->d->kernel, program, "bpf_prog", "orig_prog", 8, &classic, e);
	if (r == 0 && !classic)
		return ckpt_sock_refuse(k, "whose port an eBPF program shares out", e);
	return r < 0 ? r : copy(k, classic, e);
}
