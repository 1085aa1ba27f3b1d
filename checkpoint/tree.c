/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/compat.h"
#include "checkpoint/aio.h"
#include "checkpoint/uring.h"
#include "checkpoint/uring_waiting.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/own.h"
#include "checkpoint/ipc.h"
#include "checkpoint/keys.h"
#include "checkpoint/ldt.h"
#include "checkpoint/leaders.h"
#include "checkpoint/memfd_attributes.h"
#include "checkpoint/opener.h"
#include "checkpoint/kinds.h"
#include "checkpoint/policies.h"
#include "checkpoint/queues.h"
#include "checkpoint/kinds/pty.h"
#include "checkpoint/attributes.h"
#include "checkpoint/seccomp.h"
#include "checkpoint/spaces.h"
#include "checkpoint/flags.h"
#include "checkpoint/timers.h"
#include "checkpoint/tree.h"
#include "checkpoint/xstate.h"

#include "base/macro.h"
#include "checkpoint/netgiven.h"
#include "checkpoint/netstate.h"
#include "checkpoint/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/user.h>
#include <unistd.h>

#define TASKS_MAX 65536
#define FILES_MAX (1u << 20)
#define ADDRESS_MAX 0x7ffffffff000ull /* of user space, with four levels of page tables */

void ckpt_tree_done(struct ckpt_tree *t)
{
	ckpt_arena_done(&t->arena);
	if (t->has_spool)
		close(t->spool);
	*t = (struct ckpt_tree){ 0 };
}

static int write_task(const struct ckpt_task *k, struct ckpt_writer *w, struct err *e)
{
	uint64_t pid = k->process->pid;
	int r = ckpt_write_message(w, CKPT_REC_PROCESS, pid, k->process, e);

	if (r == 0)
		r = ckpt_write_message(w, CKPT_REC_MM, k->process->mm, k->mm, e);
	if (r == 0)
		r = ckpt_write_message(w, CKPT_REC_SIGACTIONS, pid, k->actions, e);
	if (r == 0)
		r = ckpt_write_message(w, CKPT_REC_FDS, pid, k->fds, e);
	for (size_t i = 0; r == 0 && i < k->thread_count; i++)
		r = ckpt_write_message(w, CKPT_REC_THREAD, k->threads[i]->tid, k->threads[i], e);
	for (size_t i = 0; r == 0 && i < k->pending_count; i++)
		r = ckpt_write_message(w, CKPT_REC_PENDING, pid, k->pending[i], e);
	return r;
}

/* Options that it has in common with others are left out. */
static int write_file(const struct ckpt_tree *t, size_t i, struct ckpt_writer *w, struct err *e)
{
	Ckpt__Socket *s = t->files[i]->socket;
	size_t common = s && s->options ? t->options[s->options - 1]->n_option : 0;
	int r;

	if (common)
		s->n_option -= common;
	r = ckpt_write_message(w, CKPT_REC_FILE, i + 1, t->files[i], e);
	if (common)
		s->n_option += common;
	return r;
}

int ckpt_tree_write(const struct ckpt_tree *t, struct ckpt_writer *w, struct err *e)
{
	int r = ckpt_write_message(w, CKPT_REC_HEADER, 0, t->header, e);

	for (size_t i = 0; r == 0 && i < t->shmem_count; i++)
		r = ckpt_write_message(w, CKPT_REC_SHMEM, i + 1, t->shmems[i], e);
	for (size_t i = 0; r == 0 && i < t->filter_count; i++)
		r = ckpt_write_message(w, CKPT_REC_SECCOMP, i + 1, t->filters[i], e);
	for (size_t i = 0; r == 0 && i < t->space_count; i++)
		r = ckpt_write_message(w, CKPT_REC_SPACE, i + 1, t->spaces[i], e);
	for (size_t i = 0; r == 0 && i < t->super_count; i++)
		r = ckpt_write_message(w, CKPT_REC_SUPER, i + 1, t->supers[i], e);
	for (size_t i = 0; r == 0 && i < t->mount_count; i++)
		r = ckpt_write_message(w, CKPT_REC_MOUNT, i + 1, t->mounts[i], e);
	for (size_t i = 0; r == 0 && i < t->group_count; i++)
		r = ckpt_write_message(w, CKPT_REC_GROUP, i + 1, t->groups[i], e);
	for (size_t i = 0; r == 0 && i < t->tmpfs_count; i++)
		r = ckpt_write_message(w, CKPT_REC_TMPFS, i + 1, t->tmpfs[i], e);
	for (size_t i = 0; r == 0 && i < t->ipc_count; i++)
		r = ckpt_write_message(w, CKPT_REC_IPC, i + 1, t->ipc[i], e);
	for (size_t i = 0; r == 0 && i < t->mqueue_count; i++)
		r = ckpt_write_message(w, CKPT_REC_MQUEUE, i + 1, t->mqueues[i], e);
	for (size_t i = 0; r == 0 && i < t->ghost_count; i++)
		r = ckpt_write_message(w, CKPT_REC_GHOST, i + 1, t->ghosts[i], e);
	for (size_t i = 0; r == 0 && i < t->options_count; i++)
		r = ckpt_write_message(w, CKPT_REC_SOCKET_OPTIONS, i + 1, t->options[i], e);
	for (size_t i = 0; r == 0 && i < t->file_count; i++)
		r = write_file(t, i, w, e);
	for (size_t i = 0; r == 0 && i < t->queue_count; i++)
		r = ckpt_write_message(w, CKPT_REC_SOCKET_DATA, i + 1, t->queues[i], e);
	for (size_t i = 0; r == 0 && i < t->net_count; i++)
		r = ckpt_write_message(w, CKPT_REC_NET_STATE, i + 1, t->nets[i], e);
	for (size_t i = 0; r == 0 && i < t->task_count; i++)
		r = write_task(&t->tasks[i], w, e);
	for (size_t i = 0; r == 0 && i < t->zombie_count; i++)
		r = ckpt_write_message(w, CKPT_REC_ZOMBIE, t->zombies[i]->pid, t->zombies[i], e);
	return r;
}

static int bad(struct err *e, const char *what, uint64_t id)
{
	return err_set(e, ERR_FAIL, "the image is damaged: %s %llu", what, (unsigned long long)id);
}

static void *arena_alloc(void *arena, size_t size)
{
	return ckpt_alloc(arena, size);
}

static void arena_free(void *arena, void *p)
{
	(void)arena;
	(void)p;
}

/* Again, into the arena; the reader has seen that it unpacks within its budget. */
static void *keep(struct ckpt_tree *t, const struct ckpt_record *rec)
{
	ProtobufCAllocator in_arena = { arena_alloc, arena_free, &t->arena };

	return protobuf_c_message_unpack(ckpt_record_descriptor(rec->type), &in_arena, rec->length,
					 rec->data);
}

static int add_task(struct ckpt_tree *t, Ckpt__Process *p, struct err *e)
{
	if (t->task_count == TASKS_MAX)
		return bad(e, "too many processes, at", p->pid);
	for (size_t i = 0; i < t->task_count; i++)
		if (t->tasks[i].process->pid == p->pid)
			return bad(e, "a second process", p->pid);
	if ((t->task_count & (t->task_count - 1)) == 0) {
		struct ckpt_task *grown =
			ckpt_alloc(&t->arena, (t->task_count ? 2 * t->task_count : 1) * sizeof(*grown));

		if (!grown)
			return err_code(e, -ENOMEM, "read the image");
		if (t->task_count)
			memcpy(grown, t->tasks, t->task_count * sizeof(*grown));
		t->tasks = grown;
	}
	t->tasks[t->task_count++] = (struct ckpt_task){ .process = p };
	return 0;
}

#define LIST(array, count) offsetof(struct ckpt_tree, array), offsetof(struct ckpt_tree, count)

/* The lists of a tree that records of one type each are added to. */
static const struct {
	const char *what;
	size_t array, count, max;
	bool numbered; /* by their places, from 1 */
} lists[CKPT_REC_COUNT] = {
	[CKPT_REC_FILE] = { "file", LIST(files, file_count), FILES_MAX, true },
	[CKPT_REC_TMPFS] = { "what lies in memory", LIST(tmpfs, tmpfs_count), FILES_MAX, false },
	[CKPT_REC_MQUEUE] = { "message queue", LIST(mqueues, mqueue_count), FILES_MAX, true },
	[CKPT_REC_IPC] = { "System V object", LIST(ipc, ipc_count), FILES_MAX, false },
	[CKPT_REC_GHOST] = { "deleted file", LIST(ghosts, ghost_count), FILES_MAX, true },
	[CKPT_REC_SOCKET_DATA] = { "what is in socket", LIST(queues, queue_count), FILES_MAX, false },
	[CKPT_REC_SOCKET_OPTIONS] = { "options of sockets", LIST(options, options_count), FILES_MAX, true },
	[CKPT_REC_NET_STATE] = { "part of a network", LIST(nets, net_count), FILES_MAX, false },
	[CKPT_REC_SHMEM] = { "shared memory", LIST(shmems, shmem_count), FILES_MAX, true },
	[CKPT_REC_ZOMBIE] = { "zombie", LIST(zombies, zombie_count), TASKS_MAX, false },
	[CKPT_REC_SECCOMP] = { "seccomp filter", LIST(filters, filter_count), FILES_MAX, true },
};

static int add_to_list(struct ckpt_tree *t, const struct ckpt_record *rec, void *m, struct err *e)
{
	size_t *count = (size_t *)(void *)((char *)t + lists[rec->type].count);
	int r;

	if (*count >= lists[rec->type].max)
		return bad(e, "too many records, at", rec->id);
	if (lists[rec->type].numbered && rec->id != *count + 1)
		return bad(e, lists[rec->type].what, rec->id);
	r = ckpt_push(&t->arena, (char *)t + lists[rec->type].array, count, m);
	if (r < 0)
		return err_code(e, r, "read the image");
	if (rec->type == CKPT_REC_SHMEM && !ckpt_huge_shmem_fits(m))
		return bad(e, "shared memory of huge pages", rec->id);
	if (rec->type == CKPT_REC_SHMEM && ckpt_memfd_attributes_check(m, rec->id, e) < 0)
		return -EIO;
	return rec->type == CKPT_REC_GHOST ? ckpt_ghost_check(t, *count - 1, e) : 0;
}

/* What belongs to a process follows it. */
static int add_to_task(struct ckpt_tree *t, const struct ckpt_record *rec, void *m, struct err *e)
{
	struct ckpt_task *k = t->task_count ? &t->tasks[t->task_count - 1] : NULL;
	int r = 0;

	if (!k)
		return bad(e, "no process before record", rec->id);
	if (rec->type == CKPT_REC_MM)
		k->mm = m;
	else if (rec->type == CKPT_REC_SIGACTIONS)
		k->actions = m;
	else if (rec->type == CKPT_REC_FDS)
		k->fds = m;
	else if (rec->type == CKPT_REC_THREAD)
		r = ckpt_push(&t->arena, &k->threads, &k->thread_count, m);
	else if (rec->type == CKPT_REC_PENDING)
		r = ckpt_push(&t->arena, &k->pending, &k->pending_count, m);
	return r < 0 ? err_code(e, r, "read the image") : 0;
}

static int take(struct ckpt_tree *t, const struct ckpt_record *rec, struct err *e)
{
	void *m;

	if (rec->type == CKPT_REC_GHOST_DATA)
		return ckpt_ghost_take(t, rec, e);
	m = keep(t, rec);
	if (!m)
		return err_code(e, -ENOMEM, "read the image");
	if (rec->type < ARRAY_SIZE(lists) && lists[rec->type].what)
		return add_to_list(t, rec, m, e);
	switch (rec->type) {
	case CKPT_REC_HEADER:
		if (t->header)
			return bad(e, "a second header at", rec->id);
		t->header = m;
		return 0;
	case CKPT_REC_PROCESS:
		return add_task(t, m, e);
	case CKPT_REC_SPACE:
	case CKPT_REC_SUPER:
	case CKPT_REC_MOUNT:
	case CKPT_REC_GROUP:
		return ckpt_spaces_take(t, rec, m, e);
	default:
		return add_to_task(t, rec, m, e);
	}
}

/* Guards lie in their area. */
static bool guards_fit(const Ckpt__Area *a)
{
	uint64_t left = (a->end - a->start) / CKPT_PAGE;

	for (size_t i = 0; i < a->n_guard; i++) {
		if (a->guard[i] > left)
			return false;
		left -= a->guard[i];
	}
	return a->n_guard % 2 == 0;
}

static int check_mm(const struct ckpt_tree *t, const Ckpt__Mm *mm, struct err *e)
{
	uint64_t last = 0;

	if (mm->auxv.len > 1024 || mm->auxv.len % 16 || mm->vdso % CKPT_PAGE || mm->vdso >= ADDRESS_MAX)
		return bad(e, "auxiliary vector of", mm->auxv.len);
	if (ckpt_compat_check_mm(mm, e) < 0 || ckpt_ldt_check(mm, e) < 0)
		return -EIO;
	if (!ckpt_keys_are_good(mm))
		return bad(e, "protection keys", mm->keys);
	for (size_t i = 0; i < mm->n_area; i++) {
		const Ckpt__Area *a = mm->area[i];

		if (a->start < last || a->end <= a->start || a->end > ADDRESS_MAX ||
		    (a->start | a->end | a->offset) % CKPT_PAGE || a->prot > 7 ||
		    a->shmem > t->shmem_count || a->ghost > t->ghost_count || a->memfd_file > t->file_count ||
		    a->advice > CKPT_ADVICE_ALL || a->locked > (CKPT_LOCKED | CKPT_LOCKED_ONFAULT) || !guards_fit(a) ||
		    (a->memfd_file && t->files[a->memfd_file - 1]->kind != CKPT_FILE_PACKET &&
		     !ckpt_uring_fits(t, a)) ||
		    !ckpt_aio_fits(a) || !ckpt_huge_area_fits(a) || !ckpt_policy_fits(a))
			return bad(e, "memory area at", a->start);
		last = a->end;
	}
	return 0;
}

static bool is_stop_signal(uint32_t sig)
{
	return sig == 0 || sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

static int check_task(const struct ckpt_tree *t, const struct ckpt_task *k, struct err *e)
{
	uint32_t pid = k->process->pid;
	int r;

	if (!k->mm || !k->actions || !k->fds || !k->thread_count || pid == 0 || pid > 4194304 ||
	    k->process->cwd_ghost > t->ghost_count || k->process->root_ghost > t->ghost_count || k->mm->exe_ghost > t->ghost_count ||
	    k->mm->exe_memfd > t->shmem_count || (k->mm->exe_memfd && !t->shmems[k->mm->exe_memfd - 1]->executed) ||
	    k->threads[0]->tid != pid || k->process->exit_signal > 64 || !is_stop_signal(k->process->stop_signal) ||
	    k->process->terminal > t->file_count || k->process->n_itimers > 3 || k->process->n_rlimits > 16)
		return bad(e, "process", pid);
	if (strlen(k->process->cwd) >= 4096 || k->actions->n_action > 64)
		return bad(e, "process", pid);
	r = check_mm(t, k->mm, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < k->thread_count; i++) {
		const Ckpt__Thread *th = k->threads[i];

		if (th->tid == 0 || th->tid > 4194304 || th->regs.len != sizeof(struct user_regs_struct) ||
		    th->xstate.len > CKPT_XSTATE_MAX || th->n_uids != 4 || th->n_gids != 4 || th->n_caps != 5 ||
		    th->n_groups > CKPT_GROUPS_MAX)
			return bad(e, "thread", th->tid);
		r = ckpt_compat_check(th, e);
		if (r == 0)
			r = ckpt_own_check(t, k, th, e);
		if (r == 0)
			r = ckpt_seccomp_check(t, th, e);
		if (r == 0)
			r = ckpt_uring_rings_check(t, k, th, e);
		if (r == 0)
			r = ckpt_attributes_check(k, th, e);
		if (r < 0)
			return r;
	}
	if (ckpt_locks_check(NULL, k->fds, e) < 0 || ckpt_undo_check(t, k, e) < 0)
		return -EIO;
	r = ckpt_timers_check(k, e);
	if (r == 0)
		r = ckpt_leader_check(k, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < k->fds->n_fd; i++)
		if (k->fds->fd[i]->file == 0 || k->fds->fd[i]->file > t->file_count ||
		    k->fds->fd[i]->fd > CKPT_FD_MAX)
			return bad(e, "file descriptor", k->fds->fd[i]->fd);
	for (size_t i = 0; i < k->actions->n_action; i++)
		if (k->actions->action[i]->signal == 0 || k->actions->action[i]->signal > 64)
			return bad(e, "signal", k->actions->action[i]->signal);
	return 0;
}

/* What a wait(2) may tell: an exit status, or a signal. */
static int check_zombie(const struct ckpt_tree *t, const Ckpt__Zombie *z, struct err *e)
{
	for (size_t i = 0; i < t->task_count; i++)
		if (t->tasks[i].process->pid == z->pid)
			return bad(e, "a second process", z->pid);
	if (z->pid == 0 || z->pid > 4194304 || z->exit_signal > 64 || z->uid > 65535 || z->comm.len > 15 ||
	    z->ppid == 0 || z->status > 0xffff || ((z->status & 0x7f) ? z->status > 0xff : z->status & 0x80) ||
	    (z->status & 0x7f) > 64)
		return bad(e, "zombie", z->pid);
	return 0;
}

static int check_file(const struct ckpt_tree *t, const Ckpt__File *f, uint64_t id, struct err *e)
{
	if (f->kind >= CKPT_FILE_KIND_COUNT || !ckpt_kinds[f->kind])
		return err_set(e, ERR_UNSUPPORTED, "the image has a file of kind %u", f->kind);
	if (!f->path[0] || strlen(f->path) >= 4096 || f->ghost > t->ghost_count || f->hint > RWH_WRITE_LIFE_EXTREME)
		return bad(e, "file", id);
	return ckpt_epoll_check(t, f, e) < 0 || ckpt_inotify_check(t, f, e) < 0 ||
	       ckpt_locks_check(f, NULL, e) < 0 || ckpt_owner_check(f, e) < 0 ||
	       ckpt_pty_check(t, f, e) < 0 || ckpt_uring_check(t, f, e) < 0 ||
	       ckpt_opener_check(f, e) < 0 ? -EIO : 0;
}

int ckpt_tree_read(struct ckpt_tree *t, struct ckpt_reader *r, struct ckpt_record *first,
		   struct err *e)
{
	int n = ckpt_read(r, first, e);

	if (n == 0)
		return err_set(e, ERR_FAIL, "the image is damaged: it is empty");
	return n < 0 ? n : ckpt_tree_read_on(t, r, first, e);
}

int ckpt_tree_read_on(struct ckpt_tree *t, struct ckpt_reader *r, struct ckpt_record *first,
		      struct err *e)
{
	int n = 1;

	while (n > 0 && first->type != CKPT_REC_PAGES && first->type != CKPT_REC_POPULATED) {
		int x = take(t, first, e);

		if (x < 0)
			return x;
		n = ckpt_read(r, first, e);
	}
	if (n < 0)
		return n;
	if (!t->header || !t->task_count || t->tasks[0].process->pid != 1)
		return err_set(e, ERR_FAIL, "the image is damaged: it has no process 1");
	if (ckpt_ipc_check(t, e) < 0 || ckpt_mqueues_check(t, e) < 0 || ckpt_uring_asked_check(t, e) < 0)
		return -EIO;
	for (size_t i = 0; i < t->file_count; i++) {
		int x = check_file(t, t->files[i], i + 1, e);

		if (x < 0)
			return x;
	}
	if (ckpt_sockets_check(t, e) < 0 || ckpt_netstate_check(t->nets, t->net_count, e) < 0 ||
	    ckpt_given_check(t->header, e) < 0)
		return -EPROTO;
	for (size_t i = 0; n >= 0 && i < t->task_count; i++) {
		int x = check_task(t, &t->tasks[i], e);

		if (x < 0)
			return x;
	}
	if (ckpt_spaces_check(t, e) < 0 || ckpt_netpeers_check(t, e) < 0)
		return -EINVAL;
	for (size_t i = 0; i < t->zombie_count; i++) {
		int x = check_zombie(t, t->zombies[i], e);

		if (x < 0)
			return x;
	}
	return n;
}
