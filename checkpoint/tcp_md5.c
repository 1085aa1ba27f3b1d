/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Keys with which TCP signs its segments (TCP_MD5SIG, RFC 2385), as BGP does. The kernel gives them to nobody: they are
 * read from its memory. Who connects with such also listens with them, so that connections are only looked at when
 * some listener has any.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/sockets.h"
#include "checkpoint/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#define KEYS_MAX 256 /* of one socket */
#define TCP_MD5SIG_EXT_ 32
#define MD5_PREFIX 1 /* TCP_MD5SIG_FLAG_PREFIX */

/* Of the kernel's own headers, as some C libraries' are older. */
struct signature {
	struct sockaddr_storage addr;
	uint8_t flags, prefix;
	uint16_t keylen;
	uint32_t ifindex;
	uint8_t key[80];
};

/* Bytes of kernel memory, by the pieces that it is read in. */
static int read_bytes(struct ckpt_kernel *k, uint64_t at, const char *member, void *to, size_t size, struct err *e)
{
	int r = ckpt_kernel_place(k, at, "tcp_md5sig_key", member, &at, e);

	for (size_t i = 0; r == 0 && i < size; i += 8) {
		uint64_t piece;

		/* Any member at the beginning of a structure reads what is there. */
		r = ckpt_kernel_member(k, at + i, "hlist_node", "next", 8, &piece, e);
		memcpy((uint8_t *)to + i, &piece, size - i < 8 ? size - i : 8);
	}
	return r;
}

static int read_key(struct ckpt_kernel *k, uint64_t at, struct signature *s, struct err *e)
{
	struct sockaddr_in6 *a6 = (void *)&s->addr;
	struct sockaddr_in *a4 = (void *)&s->addr;
	uint64_t len = 0, family = 0, prefix = 0;
	int r = ckpt_kernel_member(k, at, "tcp_md5sig_key", "keylen", 1, &len, e);

	if (r == 0)
		r = ckpt_kernel_member(k, at, "tcp_md5sig_key", "family", 1, &family, e);
	if (r == 0)
		r = ckpt_kernel_member(k, at, "tcp_md5sig_key", "prefixlen", 1, &prefix, e);
	if (r == 0)
		r = family == AF_INET ? read_bytes(k, at, "addr", &a4->sin_addr, 4, e)
				      : read_bytes(k, at, "addr", &a6->sin6_addr, 16, e);
	if (r == 0)
		r = read_bytes(k, at, "key", s->key, sizeof(s->key), e);
	s->addr.ss_family = (sa_family_t)family;
	s->flags = MD5_PREFIX;
	s->prefix = (uint8_t)prefix;
	s->keylen = (uint16_t)(len < sizeof(s->key) ? len : sizeof(s->key));
	return r;
}

static int keep(const struct ckpt_sock *k, const struct signature *s, struct err *e)
{
	struct ckpt_arena *a = ckpt_dump_arena(k->d);
	ProtobufCBinaryData *grown = ckpt_alloc(a, (k->s->n_md5 + 1) * sizeof(*grown));

	if (!grown)
		return err_code(e, -ENOMEM, "collect sockets");
	if (k->s->n_md5)
		memcpy(grown, k->s->md5, k->s->n_md5 * sizeof(*grown));
	k->s->md5 = grown;
	grown[k->s->n_md5].data = ckpt_memdup(a, s, sizeof(*s));
	grown[k->s->n_md5].len = sizeof(*s);
	return grown[k->s->n_md5++].data ? 0 : err_code(e, -ENOMEM, "collect sockets");
}

static int collect_keys(const struct ckpt_sock *k, struct err *e)
{
	struct ckpt_kernel *kernel = k->d->kernel;
	uint64_t socket, sk, info, key = 0;
	int r = ckpt_kernel_file(kernel, k->fd, &socket, e);

	if (r == 0)
		r = ckpt_kernel_member(kernel, socket, "socket", "sk", 8, &sk, e);
	if (r == 0)
		r = ckpt_kernel_member(kernel, sk, "tcp_sock", "md5sig_info", 8, &info, e);
	if (r == 0 && info)
		r = ckpt_kernel_member(kernel, info, "tcp_md5sig_info", "head.first", 8, &key, e);
	for (size_t i = 0; r == 0 && key; i++) {
		struct signature s = { .flags = 0 };

		if (i == KEYS_MAX)
			return ckpt_sock_refuse(k, "with very many keys (TCP_MD5SIG)", e);
		r = read_key(kernel, key, &s, e);
		if (r == 0)
			r = keep(k, &s, e);
		if (r == 0)
			r = ckpt_kernel_member(kernel, key, "tcp_md5sig_key", "node.next", 8, &key, e);
	}
	/* Its state is made again by segments that nobody signs. */
	if (r == 0 && k->s->n_md5 && k->s->state != TCP_LISTEN && k->s->state != TCP_ESTABLISHED &&
	    k->s->state != TCP_CLOSE)
		return ckpt_sock_busy(k, "that signs its segments and is being opened or closed", e);
	return r;
}

static int collect(struct ckpt_dump *d, bool listens, bool *ret_any, struct err *e)
{
	int r = 0;

	for (uint32_t id = 1; r == 0 && id <= d->tree.file_count; id++) {
		const Ckpt__Socket *s = d->tree.files[id - 1]->socket;
		struct ckpt_sock k;

		if (!s || !ckpt_socket_is_tcp(s) || ckpt_socket_is_multipath(s) || (s->state == TCP_LISTEN) != listens)
			continue;
		r = ckpt_sock_reopen(d, id, &k);
		if (r < 0)
			return err_code(e, r, "take fd %d of process %d", k.number, (int)k.pid);
		r = ckpt_note(d, collect_keys(&k, e), k.pid, k.number, e);
		*ret_any |= k.s->n_md5 > 0;
		fd_close(&k.fd);
	}
	return r;
}

int ckpt_md5_collect(struct ckpt_dump *d, struct err *e)
{
	bool any = false;
	struct err ignored;
	int r;

	/* Where it cannot be known, nobody has any: very few do. */
	if (!d->kernel && ckpt_kernel_open(&d->kernel, &ignored) < 0)
		return 0;
	r = collect(d, true, &any, e);
	return r == 0 && any ? collect(d, false, &any, e) : r;
}

bool ckpt_md5_is_good(const Ckpt__Socket *s)
{
	for (size_t i = 0; i < s->n_md5; i++)
		if (s->md5[i].len != sizeof(struct signature) || i == KEYS_MAX)
			return false;
	return true;
}

int ckpt_md5_set(int fd, const Ckpt__Socket *s, struct err *e)
{
	for (size_t i = 0; i < s->n_md5; i++)
		if (setsockopt(fd, SOL_TCP, TCP_MD5SIG_EXT_, s->md5[i].data, (socklen_t)s->md5[i].len) < 0)
			return err_sys(e, "give a socket its key (TCP_MD5SIG)");
	return 0;
}
