/* SPDX-License-Identifier: GPL-2.0-or-later */

/* All of a VPS that stands still, in the order in which it is looked at. */
#include "checkpoint/dump.h"
#include "checkpoint/image.pb-c.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/check.h"
#include "checkpoint/continued.h"
#include "checkpoint/internal.h"
#include "checkpoint/ipc.h"
#include "checkpoint/kinds/pty.h"
#include "checkpoint/lookout.h"
#include "checkpoint/netgiven.h"
#include "checkpoint/queues.h"
#include "checkpoint/sockets.h"
#include "checkpoint/spaces.h"
#include "checkpoint/subjects.h"
#include "checkpoint/times.h"
#include "checkpoint/uring.h"
#include "checkpoint/xstate.h"
#include "runtime/value.h"
#include "runtime/vps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

int ckpt_header_collect(struct ckpt_arena *a, pid_t init, const struct ckpt_dump_options *o,
			Ckpt__Header **ret, struct err *e)
{
	Ckpt__Header *h = ckpt_alloc(a, sizeof(*h));
	struct utsname u;
	int64_t offset[2];
	int r;

	if (!h)
		return err_code(e, -ENOMEM, "collect");
	ckpt__header__init(h);
	uname(&u);
	h->vps = ckpt_strdup(a, o->spec->name);
	h->id = ckpt_strdup(a, o->id ? o->id : "");
	h->uuid = ckpt_strdup(a, o->spec->uuid);
	h->files = o->files;
	h->kernel = ckpt_strdup(a, u.release);
	if (!h->vps || !h->id || !h->uuid || !h->kernel)
		return err_code(e, -ENOMEM, "collect");
	h->page_size = CKPT_PAGE;
	h->xsave_mask = ckpt_xstate_here()->mask;
	h->xstate = ckpt_alloc(a, 3 * CKPT_XSTATE_PARTS * sizeof(*h->xstate));
	h->vdso_digest.data = ckpt_alloc(a, 16);
	if (!h->xstate || !h->vdso_digest.data)
		return err_code(e, -ENOMEM, "collect");
	h->n_xstate = ckpt_xstate_format(ckpt_xstate_here(), h->xstate);
	if (ckpt_vdso_digest(h->vdso_digest.data) == 0)
		h->vdso_digest.len = 16;
	r = ckpt_clock_offsets(init, offset, e);
	if (r < 0)
		return r;
	h->monotonic_ns = now_monotonic_us() * 1000 + (uint64_t)offset[0];
	h->boottime_ns = now_boottime_us() * 1000 + (uint64_t)offset[1];
	h->realtime_ns = now_realtime_us() * 1000;
	*ret = h;
	return ckpt_given_save(o->spec, a, h, e);
}

int ckpt_ids_of(pid_t init, uint32_t *base, uint32_t *count, struct err *e)
{
	cleanup_free char *map = NULL;
	unsigned inside;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)init);
	r = fd_read_file_at(AT_FDCWD, path, 65536, &map, NULL);
	if (r < 0 || sscanf(map, "%u %u %u", &inside, base, count) != 3 || inside != 0)
		return err_set(e, ERR_FAIL, "%s is not as the runtime writes it", path);
	return 0;
}

static int ids_collect(struct ckpt_dump *d, struct err *e)
{
	return ckpt_ids_of(d->init, &d->uid_base, &d->uid_count, e);
}

struct collector {
	const char *name; /* for ckpt_time() */
	int (*run)(struct ckpt_dump *d, struct err *e);
};

static int pidfds_check(struct ckpt_dump *d, struct err *e)
{
	int r = ckpt_pidfds_check(&d->tree, e);

	return r == 0 ? ckpt_subjects_check(&d->tree, e) : r;
}

static int mqueues_complete(struct ckpt_dump *d, struct err *e)
{
	return ckpt_mqueues_complete(d, e);
}

static int order(struct ckpt_dump *d, struct err *e)
{
	return ckpt_order(d, d->first, e);
}

/* The runtime confines a VPS by one filter, above those that it lives under itself. */
static int filters_count(struct ckpt_dump *d, struct err *e)
{
	struct ckpt_status s;
	uint64_t v;

	(void)e;
	d->base_filters = 1 + (ckpt_status_read(getpid(), &s) == 0 &&
			       ckpt_status_numbers(&s, "Seccomp_filters", 10, &v, 1) ? (unsigned)v : 0);
	return 0;
}

/*
 * Whoever is restricted would be free afterwards, and nothing tells who is (Linux 6.18). Where the VPS may not use it nobody
 * is, nor where the kernel has none.
 */
static int landlock_check(struct ckpt_dump *d, struct err *e)
{
	int r;

	if (!(d->spec->features & RT_FEATURE_LANDLOCK) ||
	    syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0)
		return 0;
	r = err_set(e, ERR_UNSUPPORTED, "the VPS may use Landlock, and its processes may be restricted by it, which cannot be saved");
	err_hint(e, "without the feature landlock it can be saved");
	return ckpt_note(d, r, 0, -1, e);
}

/* What processes are in, and what is the VPS's own. */
static const struct collector surroundings[] = {
	{ "ids", ids_collect },
	{ "order", order },
	{ "lookout", ckpt_lookout_start },
	{ "group", ckpt_group_open },
	{ "control groups", ckpt_groups_collect },
	{ "namespaces", ckpt_spaces_collect },
	{ "filters", filters_count },
	{ "System V objects", ckpt_ipc_collect },
	{ "message queues", ckpt_mqueues_collect },
};

/* What concerns several processes or open files: all of them are there, once sockets have told of those that are on
 * their way. */
static const struct collector relations[] = {
	{ "Landlock", landlock_check },
	{ "relations", ckpt_relate },
	{ "who goes on again", ckpt_continued_collect },
	{ "sockets", ckpt_sockets_collect },
	{ "keys of sockets", ckpt_md5_collect },
	{ "rings of sockets", ckpt_ring_areas_resolve },
	{ "io_uring", ckpt_uring_resolve },
	{ "what rings have registered", ckpt_uring_registered },
	{ "epoll", ckpt_epoll_resolve },
	{ "inotify", ckpt_inotify_resolve },
	{ "terminals", ckpt_pty_resolve },
	{ "sessions' terminals", ckpt_terminals_resolve },
	{ "owners of files", ckpt_owners_resolve },
	{ "messages", mqueues_complete },
	{ "pidfds", pidfds_check },
	{ "tmpfs", ckpt_tmpfs_collect },
	{ "network", ckpt_network_collect },
};

static int collector_run(struct ckpt_dump *d, const struct collector *c, struct err *e)
{
	int r = c->run(d, e);

	ckpt_time(c->name);
	return r;
}

int ckpt_dump_collect(struct ckpt_dump *d, const struct ckpt_dump_options *o, struct err *e)
{
	int r;

	d->init = proc_live_tid(d->first);
	r = ckpt_header_collect(&d->tree.arena, d->init, o, &d->tree.header, e);

	if (r == 0 && d->precopy)
		r = ckpt_final_begin(d, e);
	ckpt_time("header");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(surroundings); i++)
		r = collector_run(d, &surroundings[i], e);
	if (r == 0)
		r = ckpt_tasks_collect(d, e);
	ckpt_time("processes");
	if (r == 0 && d->check && d->check->partial)
		return 0; /* what follows relates processes that are whole */
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(relations); i++)
		r = ckpt_note(d, collector_run(d, &relations[i], e), 0, -1, e);
	return r;
}
