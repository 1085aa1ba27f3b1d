/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/compat.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/dump.h"
#include "checkpoint/restore.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/clocks.h"
#include "checkpoint/handshake.h"
#include "checkpoint/host.h"
#include "checkpoint/netstate.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_phases.h"
#include "checkpoint/sockets.h"
#include "checkpoint/times.h"
#include "checkpoint/uring.h"
#include "runtime/value.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#define FILES 1024 /* of ours, and mem of each process */

/* Up to the first record behind the tree. */
static int read_tree(struct restore *r, const struct rt_spec *spec, const struct rt_stdio *stdio,
		     struct ckpt_record *rec, struct list *l, struct err *e)
{
	int n = ckpt_read(r->reader, rec, e);

	if (n > 0 && rec->type == CKPT_REC_PRECOPY) {
		n = restore_early_begin(r, rec, spec, stdio, restore_hold_network, e);
		if (n == 0)
			n = restore_early_read(r, rec, l, e);
	}
	if (n == 0)
		return err_set(e, ERR_FAIL, "the image is damaged: it is empty");
	return n < 0 ? n : ckpt_tree_read_on(&r->tree, r->reader, rec, e);
}

static int prepare(struct restore *r, const struct rt_spec *spec, const struct rt_stdio *stdio,
		   struct list *l, struct err *e)
{
	struct ckpt_record rec;
	struct ckpt_host host;
	int more, n;

	/* What deleted files hold lies in one that has no name, until they are made again. */
	r->tree.spool = open(spec->lib_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (r->tree.spool < 0)
		return err_sys(e, "make a file in %s", spec->lib_dir);
	r->tree.has_spool = true;
	r->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r->proc < 0)
		return err_sys(e, "open /proc");
	ckpt_time(NULL);
	more = read_tree(r, spec, stdio, &rec, l, e);
	ckpt_time("tree");
	if (more < 0)
		return more;
	n = ckpt_host_of(r->tree.header, &host, e);
	if (n == 0)
		n = ckpt_host_check(&host, e);
	r->xstate = host.xstate;
	if (n == 0)
		n = ckpt_compat_check_host(&r->tree, e);
	if (n == 0)
		n = ckpt_uring_allow(&r->tree, spec->features & RT_FEATURE_IO_URING, e);
	if (n == 0)
		n = restore_waiting_check(r, e);
	if (n == 0)
		n = ckpt_moved_find(r->tree.header, spec, &r->moved, e);
	if (n == 0)
		n = ckpt_plan_tree(&r->plan, &r->tree, NULL, e);
	if (n == 0)
		n = ckpt_births_check(&r->tree, &r->plan, e);
	if (n == 0)
		n = ckpt_clocks_check(&r->tree, e);
	if (n == 0)
		n = restore_plan_fds(r, e);
	if (n == 0)
		n = restore_devpts_plan(r, e);
	if (n == 0)
		n = restore_births_prepare(r, e);
	if (n == 0)
		n = restore_start(r, spec, stdio, e);
	ckpt_time("start");
	if (n == 0)
		n = restore_build(r, &rec, more, l, e);
	if (n == 0 && r->early)
		n = restore_clocks_check(r, e);
	fd_close(&r->proc);
	return n;
}

struct ckpt_restore {
	struct restore r;
};

void ckpt_restore_free(struct ckpt_restore *h)
{
	struct restore *r;

	if (!h)
		return;
	r = &h->r;
	for (size_t i = 0; r->procs && i < r->plan.count; i++)
		fd_close(&r->procs[i].batch.mem);
	ckpt_netsame_free(r->netsame);
	restore_heirs_done(r);
	restore_early_done(r);
	for (size_t i = 0; i < RESTORE_FILLERS; i++)
		ckpt_decoder_free(r->decoders[i]);
	restore_sockets_done(r);
	ckpt_handshakes_close(r->handshakes);
	restore_ahead_done(r);
	ckpt_reader_free(r->reader);
	ckpt_tree_done(&r->tree);
	free(h);
}

static struct ckpt_reader *open_stream(struct restore *r, int fd, struct err *e)
{
	struct ckpt_reader *reader;
	struct stat st;

	r->total = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	if (!r->total)
		r->comes_us = restore_clocks_begin(fd);
	reader = ckpt_reader_new(fd, e);
	if (reader && !r->total && ckpt_reader_ahead(reader, e) < 0) {
		ckpt_reader_free(reader);
		return NULL;
	}
	return reader;
}

int ckpt_restore_prepare(const struct rt_spec *spec, const struct rt_stdio *stdio, struct rt_vps *prepared, int fd,
			 const struct ckpt_progress *progress, struct ckpt_restore **ret, struct err *e)
{
	struct ckpt_restore *h = calloc(1, sizeof(*h));
	cleanup_free struct list *l = calloc(RESTORE_LISTS, sizeof(*l));
	struct err ignored;
	int n;

	if (!h || !l) {
		free(h);
		rt_prepare_undo(prepared, &ignored);
		return err_code(e, -ENOMEM, "restore");
	}
	/* Before there are threads. */
	fd_reserve(FILES);
	h->r.lender = -EBADF;
	h->r.progress = progress;
	h->r.netns = -EBADF;
	n = restore_ahead_begin(&h->r, spec, prepared, e);
	h->r.reader = n < 0 ? NULL : open_stream(&h->r, fd, e);
	n = h->r.reader ? prepare(&h->r, spec, stdio, l, e) : -EIO;
	if (n < 0) {
		if (h->r.vps)
			restore_blame_limits(h->r.vps, spec, e);
		ckpt_restore_abort(h);
		return n;
	}
	*ret = h;
	return 0;
}

struct rt_vps *ckpt_restore_vps(const struct ckpt_restore *h)
{
	return h->r.vps;
}

int ckpt_restore_commit(struct ckpt_restore *h, bool paused, struct rt_vps **ret, struct err *e)
{
	int n = restore_let_go(&h->r, paused, e);

	if (n < 0) {
		ckpt_restore_abort(h);
		return n;
	}
	*ret = h->r.vps;
	return 0;
}

void ckpt_restore_abort(struct ckpt_restore *h)
{
	if (!h)
		return;
	if (h->r.vps) {
		restore_end_all(&h->r);
		rt_finish(h->r.vps);
	}
	ckpt_restore_free(h);
}

int ckpt_restore(const struct rt_spec *spec, const struct rt_stdio *stdio, int fd, struct rt_vps **ret,
		 struct err *e)
{
	struct ckpt_restore *h;
	int n = ckpt_restore_prepare(spec, stdio, NULL, fd, NULL, &h, e);

	if (n == 0)
		n = ckpt_restore_commit(h, false, ret, e);
	if (n == 0)
		ckpt_restore_free(h);
	return n;
}
