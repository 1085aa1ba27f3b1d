/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/ipc.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/ipc_users.h"
#include "checkpoint/maps.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define SEMS_MAX 32000          /* semaphores in a set: the kernel's SEMMSL */
#define MESSAGE_MAX MIB(1)
#define QUEUE_MAX MIB(3)        /* it goes into one record */

union semun {
	int val;
	struct semid_ds *ds;
	unsigned short *array;
	struct seminfo *info;
};

static Ckpt__IpcObject *add(struct ckpt_dump *d, enum ckpt_ipc_kind kind, uint32_t space, int id,
			    const struct ipc_perm *p)
{
	Ckpt__IpcObject *o = ckpt_alloc(&d->tree.arena, sizeof(*o));

	if (!o)
		return NULL;
	ckpt__ipc_object__init(o);
	o->kind = kind;
	o->space = space;
	o->id = id;
	o->key = p->__key;
	o->uid = p->uid - d->uid_base;
	o->gid = p->gid - d->uid_base;
	o->cuid = p->cuid - d->uid_base;
	o->cgid = p->cgid - d->uid_base;
	o->mode = p->mode;
	return ckpt_push(&d->tree.arena, &d->tree.ipc, &d->tree.ipc_count, o) < 0 ? NULL : o;
}

/* Of memory of ours that is attached; it may be of huge pages of any size. */
static int open_attached(const void *at, int mode)
{
	cleanup_fclose FILE *f = ckpt_maps_open(getpid());
	struct ckpt_map m;
	char path[96];

	while (f && ckpt_maps_next(f, &m) > 0) {
		if (m.start != (uint64_t)(uintptr_t)at)
			continue;
		snprintf(path, sizeof(path), "/proc/self/map_files/%" PRIx64 "-%" PRIx64, m.start, m.end);
		return open(path, mode | O_CLOEXEC);
	}
	errno = ENOENT;
	return -1;
}

/* Through a mapping of our own: there is no other way to the file behind it. */
int ckpt_shm_open(int id, int mode, struct err *e)
{
	void *at = shmat(id, NULL, SHM_RDONLY);
	int fd;

	if (at == (void *)-1)
		return err_sys(e, "attach shared memory %d", id);
	fd = open_attached(at, mode);
	if (fd < 0)
		err_sys(e, "open shared memory %d", id);
	shmdt(at);
	return fd < 0 ? -EIO : fd;
}

static int collect_shm(struct ckpt_dump *d, uint32_t space, struct err *e)
{
	struct shmid_ds ds;
	int top = shmctl(0, SHM_INFO, (void *)&(struct shm_info){ 0 });

	for (int i = 0; i <= top; i++) {
		int id = shmctl(i, SHM_STAT_ANY, &ds), fd, n;
		Ckpt__IpcObject *o;

		if (id < 0)
			continue;
		o = add(d, CKPT_IPC_SHM, space, id, &ds.shm_perm);
		if (!o)
			return err_code(e, -ENOMEM, "collect shared memory");
		o->size = ds.shm_segsz;
		o->pids = ckpt_alloc(&d->tree.arena, CKPT_IPC_USERS * sizeof(*o->pids));
		if (!o->pids)
			return err_code(e, -ENOMEM, "collect shared memory");
		o->pids[o->n_pids++] = (uint32_t)ds.shm_cpid;
		o->pids[o->n_pids++] = (uint32_t)ds.shm_lpid; /* before it is us */
		fd = ckpt_shm_open(id, O_RDONLY, e);
		n = fd < 0 ? fd : ckpt_shmem_add(d, fd, "", e);
		if (n < 0)
			return n;
		o->shmem = (uint32_t)n;
	}
	return 0;
}

static int fill_sem(struct ckpt_dump *d, Ckpt__IpcObject *o, struct err *e)
{
	cleanup_free unsigned short *values = calloc(o->size, sizeof(*values));

	o->values = ckpt_alloc(&d->tree.arena, o->size * sizeof(uint32_t));
	if (!values || !o->values)
		return err_code(e, -ENOMEM, "collect semaphores");
	if (semctl(o->id, 0, GETALL, (union semun){ .array = values }) < 0)
		return err_sys(e, "read semaphores %d", o->id);
	for (size_t i = 0; i < o->size; i++)
		o->values[o->n_values++] = values[i];
	return 0;
}

static int collect_sem(struct ckpt_dump *d, uint32_t space, struct err *e)
{
	struct semid_ds ds = { 0 };
	int top = semctl(0, 0, SEM_INFO, (union semun){ .info = &(struct seminfo){ 0 } }), r = 0;

	for (int i = 0; r == 0 && i <= top; i++) {
		int id = semctl(i, 0, SEM_STAT_ANY, (union semun){ .ds = &ds });
		Ckpt__IpcObject *o;

		if (id < 0)
			continue;
		o = ds.sem_nsems > SEMS_MAX ? NULL : add(d, CKPT_IPC_SEM, space, id, &ds.sem_perm);
		if (!o)
			return err_code(e, -ENOMEM, "collect semaphores");
		o->size = ds.sem_nsems;
		r = fill_sem(d, o, e);
	}
	return r;
}

/* Looked at, not taken (MSG_COPY, Linux 3.8, CONFIG_CHECKPOINT_RESTORE). */
static int fill_msg(struct ckpt_dump *d, Ckpt__IpcObject *o, size_t count, struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	cleanup_free struct msgbuf *m = malloc(sizeof(*m) + MESSAGE_MAX);
	size_t total = 0;

	if (!m)
		return err_code(e, -ENOMEM, "collect message queues");
	for (size_t i = 0; i < count; i++) {
		Ckpt__IpcMessage *out = ckpt_alloc(a, sizeof(*out));
		ssize_t n = msgrcv(o->id, m, MESSAGE_MAX, (long)i, MSG_COPY | IPC_NOWAIT);

		if (n < 0)
			return err_sys(e, "look at message %zu of queue %d", i, o->id);
		total += (size_t)n + 64;
		if (total > QUEUE_MAX)
			return err_set(e, ERR_UNSUPPORTED, "message queue %d holds more than can be saved", o->id);
		if (!out)
			return err_code(e, -ENOMEM, "collect message queues");
		ckpt__ipc_message__init(out);
		out->type = m->mtype;
		out->data.len = (size_t)n;
		out->data.data = ckpt_memdup(a, m->mtext, (size_t)n);
		if (!out->data.data || ckpt_push(a, &o->messages, &o->n_messages, out) < 0)
			return err_code(e, -ENOMEM, "collect message queues");
	}
	return 0;
}

static int collect_msg(struct ckpt_dump *d, uint32_t space, struct err *e)
{
	struct msqid_ds ds;
	int top = msgctl(0, MSG_INFO, (void *)&(struct msginfo){ 0 }), r = 0;

	for (int i = 0; r == 0 && i <= top; i++) {
		int id = msgctl(i, MSG_STAT_ANY, &ds);
		Ckpt__IpcObject *o;

		if (id < 0)
			continue;
		o = add(d, CKPT_IPC_MSG, space, id, &ds.msg_perm);
		if (!o)
			return err_code(e, -ENOMEM, "collect message queues");
		o->size = ds.msg_qbytes;
		r = fill_msg(d, o, ds.msg_qnum, e);
	}
	return r;
}

struct inside {
	struct ckpt_dump *d;
	uint32_t space;
	size_t first; /* of its objects */
};

static int collect(void *arg, struct err *e)
{
	struct inside *in = arg;
	int r = collect_shm(in->d, in->space, e);

	if (r == 0)
		r = collect_sem(in->d, in->space, e);
	if (r == 0)
		r = collect_msg(in->d, in->space, e);
	return r == 0 ? ckpt_ipc_users(in->d, in->first, e) : r;
}

/* Some have ended: only in the VPS's pid namespace their numbers are told. */
static int ask_inside(void *arg, struct err *e)
{
	struct inside *in = arg;

	return ckpt_ipc_users_inside(in->d, in->first, e);
}

static int find_ended(struct inside *in, int ipc, struct err *e)
{
	cleanup_close int pid = -EBADF;
	int r = ckpt_ipc_users_number(in->d, in->first);

	if (r == 0)
		return 0;
	pid = ckpt_space_open((int)in->d->init, "pid", e);
	return pid < 0 ? pid : ckpt_within((int[]){ ipc, pid }, 2, ask_inside, in, e);
}

int ckpt_ipc_collect(struct ckpt_dump *d, struct err *e)
{
	for (size_t i = 0; i < d->spaces.count; i++) {
		struct inside in = { d, (uint32_t)i + 1, d->tree.ipc_count };
		int r;

		if (d->spaces.space[i].kind != CKPT_SPACE_IPC)
			continue;
		r = ckpt_visit(CKPT_SPACE_IPC, d->spaces.space[i].fd, collect, &in, e);
		if (r == 0)
			r = find_ended(&in, d->spaces.space[i].fd, e);
		if (r < 0)
			return r;
	}
	return 0;
}

uint64_t ckpt_shm_size(const struct ckpt_tree *t, const Ckpt__IpcObject *o)
{
	uint32_t huge = t->shmems[o->shmem - 1]->huge;
	uint64_t page = huge ? 1ull << huge : 1;

	return (o->size + page - 1) & ~(page - 1);
}

static bool is_good(const struct ckpt_tree *t, const Ckpt__IpcObject *o)
{
	if (o->space == 0 || o->space > t->space_count || t->spaces[o->space - 1]->kind != CKPT_SPACE_IPC ||
	    o->id < 0 || o->kind < CKPT_IPC_SHM || o->kind > CKPT_IPC_MSG || (o->mode & ~(uint32_t)07777))
		return false;
	if (o->kind != CKPT_IPC_SEM && o->n_pids && o->n_pids != CKPT_IPC_USERS)
		return false;
	for (size_t i = 0; i < o->n_pids; i++)
		if (o->pids[i] > CKPT_PID_MAX)
			return false;
	if (o->kind == CKPT_IPC_SHM)
		return o->shmem > 0 && o->shmem <= t->shmem_count && t->shmems[o->shmem - 1]->sysv &&
		       o->size <= CKPT_ADDRESS_MAX && ckpt_shm_size(t, o) == t->shmems[o->shmem - 1]->size;
	if (o->kind == CKPT_IPC_SEM)
		return o->size > 0 && o->size <= SEMS_MAX && o->n_values == o->size && o->n_pids == o->size;
	return true;
}

int ckpt_ipc_check(const struct ckpt_tree *t, struct err *e)
{
	for (size_t i = 0; i < t->ipc_count; i++)
		if (!is_good(t, t->ipc[i]))
			return err_set(e, ERR_FAIL, "the image is damaged: a System V object");
	for (size_t i = 0; i < t->shmem_count; i++) {
		size_t owners = 0;

		for (size_t k = 0; k < t->ipc_count; k++)
			owners += t->ipc[k]->kind == CKPT_IPC_SHM && t->ipc[k]->shmem == i + 1;
		if (owners != (t->shmems[i]->sysv ? 1 : 0))
			return err_set(e, ERR_FAIL, "the image is damaged: shared memory");
	}
	return 0;
}
