/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Where pages are. The kernel maps all memory at one address and keeps the descriptions of pages at another, both chosen at
 * random, in steps of a GiB. So a page's address follows from its description's by adding one number, which is found with a page
 * that we know by what is in it.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define GIB_AROUND 4096 /* of memory that a machine may have, on either side */
#define PATTERN 32u      /* random bytes by which ours is known */
#define STEP (UINT64_C(1) << 30)
#define PAGE 4096u

/* The description of the page that the kernel has made for what was written into a pipe. */
static int page_of_pipe(struct ckpt_kernel *k, int fd, uint64_t *ret, struct err *e)
{
	uint64_t pipe, bufs = 0;
	int r = ckpt_kernel_file(k, fd, &pipe, e);

	if (r == 0)
		r = ckpt_kernel_member(k, pipe, "pipe_inode_info", "bufs", 8, &bufs, e);
	return r == 0 ? ckpt_kernel_member(k, bufs, "pipe_buffer", "page", 8, ret, e) : r;
}

static bool is_there(struct ckpt_kernel *k, uint64_t at, const uint8_t pattern[static PATTERN])
{
	struct err ignored;
	uint8_t now[PATTERN];

	return ckpt_kernel_bytes(k, at, now, sizeof(now), &ignored) == 0 && memcmp(now, pattern, sizeof(now)) == 0;
}

/* How far each page is from what its description's address is times `scale`. */
static int find_map(struct ckpt_kernel *k, uint64_t near, uint64_t scale, struct err *e)
{
	cleanup_close int in = -EBADF, out = -EBADF;
	uint8_t pattern[PATTERN];
	uint64_t page, start;
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	in = fds[0];
	out = fds[1];
	if (getrandom(pattern, sizeof(pattern), 0) != sizeof(pattern) || write(out, pattern, sizeof(pattern)) != sizeof(pattern))
		return err_sys(e, "write to a pipe");
	r = page_of_pipe(k, in, &page, e);
	if (r < 0)
		return r;
	start = near - near % STEP + page * scale % STEP;
	for (uint64_t i = 0; i < GIB_AROUND; i++)
		for (int side = 0; side < 2; side++) {
			uint64_t at = side ? start - i * STEP : start + i * STEP;

			if (!is_there(k, at, pattern))
				continue;
			*ckpt_kernel_map(k) = at - page * scale;
			return 0;
		}
	return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell where its pages are");
}

int ckpt_kernel_page(struct ckpt_kernel *k, uint64_t near, uint64_t page, uint64_t *ret, struct err *e)
{
	uint32_t size = 0;
	int r = ckpt_kernel_size(k, "page", &size, e);

	if (r == 0 && (!size || PAGE % size))
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell where its pages are");
	if (r == 0 && !*ckpt_kernel_map(k))
		r = find_map(k, near, PAGE / size, e);
	*ret = page * (PAGE / size) + *ckpt_kernel_map(k);
	return r;
}
