/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The networks of a VPS, put together by its first process; and by a helper what that has not waited for. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/step.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/netstate.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_phases.h"
#include "checkpoint/restore_spaces.h"

#include <errno.h>
#include <fcntl.h>

#define FEW 16 /* processes: with more, all is known by the time that it matters */

static int open_own(const struct restore *r, struct err *e)
{
	uint32_t main = ckpt_space_main(&r->tree, CKPT_SPACE_NET);
	int fd = main ? fcntl(restore_fd_space(r, main), F_DUPFD_CLOEXEC, restore_fd_end(r)) :
			open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open the network namespace") : fd;
}

/* No other file of an image is made in a way that a switch decides. */
static bool is_indifferent(const Ckpt__File *f)
{
	switch (f->kind) {
	case CKPT_FILE_REGULAR:
	case CKPT_FILE_CONSOLE:
	case CKPT_FILE_PIPE:
	case CKPT_FILE_EVENTFD:
	case CKPT_FILE_EPOLL:
	case CKPT_FILE_TIMERFD:
	case CKPT_FILE_SIGNALFD:
	case CKPT_FILE_MEMFD:
	case CKPT_FILE_PTY_MASTER:
	case CKPT_FILE_PTY_SLAVE:
	case CKPT_FILE_INOTIFY:
	case CKPT_FILE_PIDFD:
	case CKPT_FILE_MQUEUE:
		return true;
	default:
		return false;
	}
}

/* What the helper meets a second time it leaves as it is, but for rules of nftables, tracked connections, and what belongs
 * to queueing disciplines or is rare. */
static bool is_found_again(uint32_t part)
{
	return part < CKPT_NET_TABLE || part == CKPT_NET_NEXTHOP || part == CKPT_NET_DISCIPLINE;
}

/* Whether nothing minds if the last switches of process 1's network, should they differ, are set when it has been taken
 * over: by a process more, for a moment, for which there is room in its group while all others are to come. */
static bool may_put_off(const struct restore *r)
{
	bool may = r->tree.task_count <= FEW && !r->full && !restore_is_nested(r) && !r->moved.gone.count && !r->moved.come.count;

	for (size_t i = 0; i < r->tree.net_count; i++)
		may &= r->tree.nets[i]->ns == 0 && is_found_again(r->tree.nets[i]->part);
	for (size_t i = 0; i < r->tree.file_count; i++)
		may &= is_indifferent(r->tree.files[i]);
	return may;
}

int restore_networks(const struct restore *r, struct err *e)
{
	uint32_t main = ckpt_space_main(&r->tree, CKPT_SPACE_NET);
	cleanup_close int own = open_own(r, e);
	cleanup_free int *fd = malloc((r->tree.space_count + 1) * sizeof(*fd));
	struct ckpt_netplaces at = { fd, r->tree.space_count + 1 };
	struct ckpt_netseen seen = { restore_early_look(r), r->netsame, &r->moved, may_put_off(r) };
	int n;

	if (own < 0 || !fd)
		return own < 0 ? own : err_code(e, -ENOMEM, "restore the network");
	fd[0] = own;
	for (uint32_t id = 1; id <= r->tree.space_count; id++)
		fd[id] = r->tree.spaces[id - 1]->kind == CKPT_SPACE_NET && id != main ? restore_fd_space(r, id) :
											 -EBADF;
	n = ckpt_netstate_restore(r->tree.nets, r->tree.net_count, &at, &seen, e);
	if (n < 0 && ckpt_netsame_is_put_off(r->netsame)) { /* perhaps for want of the last switches */
		seen.may_put_off = false;
		n = ckpt_netstate_restore(r->tree.nets, r->tree.net_count, &at, &seen, e);
	}
	step_mark("restore.networks");
	return n;
}

static int set_last(void *restore, struct err *e)
{
	const struct restore *r = restore;
	cleanup_close int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	struct ckpt_netplaces at = { &own, 1 };
	struct ckpt_netseen seen = { NULL, r->netsame, &r->moved, false };

	if (own < 0)
		return err_sys(e, "open the network namespace");
	return ckpt_netstate_restore(r->tree.nets, r->tree.net_count, &at, &seen, e);
}

int restore_networks_last(struct restore *r, struct err *e)
{
	struct rt_helper h = { restore_free_number(&r->tree), set_last, -EBADF, NULL, r };
	pid_t pid;
	int n;

	if (!ckpt_netsame_is_put_off(r->netsame) || ckpt_netsame_all(r->netsame))
		return 0;
	n = rt_helper(r->vps, &h, &pid, e);
	if (n == 0)
		rt_helper_end(pid);
	return n;
}
