/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/ipc.h"
#include "checkpoint/ipc_users.h"
#include "checkpoint/policies.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>

/* Bits of a shared memory's mode (linux/shm.h). */
#define REMOVED 01000
#define LOCKED 02000

static const char *const next_ids[] = { NULL, "shm_next_id", "sem_next_id", "msg_next_id" };

/* The next object has this number (CONFIG_CHECKPOINT_RESTORE). */
static int set_next(const Ckpt__IpcObject *o, int proc)
{
	char path[64], text[16];

	snprintf(path, sizeof(path), "sys/kernel/%s", next_ids[o->kind]);
	snprintf(text, sizeof(text), "%d", o->id);
	return fd_write_file_at(proc, path, text);
}

/* Memory of huge pages is for who has a right outside, or is of the group in vm.hugetlb_shm_group. */
static int get(const struct ckpt_tree *t, const Ckpt__IpcObject *o)
{
	int flags = IPC_CREAT | IPC_EXCL | (int)(o->mode & 0777);
	uint32_t huge = o->kind == CKPT_IPC_SHM ? t->shmems[o->shmem - 1]->huge : 0;

	switch (o->kind) {
	case CKPT_IPC_SHM: return shmget(o->key, o->size, flags | (huge ? SHM_HUGETLB | (int)ckpt_huge_bits(huge) : 0));
	case CKPT_IPC_SEM: return semget(o->key, (int)o->size, flags);
	default:           return msgget(o->key, flags);
	}
}

/* Whoever makes it stays its maker. */
static int get_as(const struct ckpt_tree *t, const Ckpt__IpcObject *o)
{
	int id, failed;

	if (syscall(SYS_setresgid, -1, o->cgid, -1) < 0 || syscall(SYS_setresuid, -1, o->cuid, 0) < 0)
		return -1;
	id = get(t, o);
	failed = errno;
	if (syscall(SYS_setresuid, -1, 0, -1) < 0 || syscall(SYS_setresgid, -1, 0, -1) < 0)
		return -1;
	errno = failed;
	return id;
}

/* A process of the VPS takes the huge pages that it had. */
static int take_pages(const Ckpt__Shmem *s, int id)
{
	char *at = s->n_present ? shmat(id, NULL, 0) : NULL;
	uint64_t page = 0;
	int r = 0;

	if (!s->n_present)
		return 0;
	if (at == (void *)-1)
		return -1;
	for (size_t i = 0; r == 0 && i + 1 < s->n_present; i += 2) {
		page += s->present[i];
		r = madvise(at + page * CKPT_PAGE, s->present[i + 1] * CKPT_PAGE, MADV_POPULATE_WRITE);
		page += s->present[i + 1];
	}
	shmdt(at);
	return r;
}

static int fill_shm(const struct ckpt_tree *t, const Ckpt__IpcObject *o)
{
	struct shmid_ds ds = { .shm_perm = { .uid = o->uid, .gid = o->gid, .mode = (unsigned short)(o->mode & 0777) } };

	if (take_pages(t->shmems[o->shmem - 1], o->id) < 0 || shmctl(o->id, IPC_SET, &ds) < 0)
		return -1;
	return o->mode & LOCKED ? shmctl(o->id, SHM_LOCK, NULL) : 0;
}

static int fill_sem(const Ckpt__IpcObject *o)
{
	struct semid_ds ds = { .sem_perm = { .uid = o->uid, .gid = o->gid, .mode = (unsigned short)(o->mode & 0777) } };

	/* Who sets one has changed it. */
	for (size_t i = 0; i < o->n_values; i++)
		if ((o->values[i] || o->pids[i]) && semctl(o->id, (int)i, SETVAL, (int)o->values[i]) < 0)
			return -1;
	return semctl(o->id, 0, IPC_SET, &ds);
}

static int set_msg(const Ckpt__IpcObject *o)
{
	struct msqid_ds ds = { .msg_qbytes = o->size,
			       .msg_perm = { .uid = o->uid, .gid = o->gid, .mode = (unsigned short)(o->mode & 0777) } };

	return msgctl(o->id, IPC_SET, &ds);
}

static const char *const what[] = { NULL, "shared memory", "semaphores", "message queue" };

struct begetting {
	const struct ckpt_tree *t;
	const Ckpt__IpcObject *o;
};

static int beget(void *arg, struct err *e)
{
	const struct begetting *b = arg;
	int id = get_as(b->t, b->o);

	if (id < 0)
		return err_sys(e, "make %s %d again", what[b->o->kind], b->o->id);
	return id == b->o->id ? 0 : err_set(e, ERR_FAIL, "%s %d was made as %d", what[b->o->kind], b->o->id, id);
}

static int make(const struct ckpt_tree *t, const Ckpt__IpcObject *o, int proc, struct err *e)
{
	struct begetting b = { t, o };
	int r = set_next(o, proc);

	if (r < 0)
		return err_code(e, r, "write %s", next_ids[o->kind]);
	r = ckpt_ipc_as(o->kind == CKPT_IPC_SHM && o->n_pids ? o->pids[0] : 0, beget, &b, e);
	if (r < 0)
		return r;
	r = o->kind == CKPT_IPC_SHM ? fill_shm(t, o) : o->kind == CKPT_IPC_SEM ? fill_sem(o) : set_msg(o);
	return r < 0 ? err_sys(e, "set %s %d", what[o->kind], o->id) : ckpt_ipc_users_make(t, o, e);
}

int ckpt_ipc_make(const struct ckpt_tree *t, uint32_t space, int proc, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->ipc_count; i++)
		if (t->ipc[i]->space == space)
			r = make(t, t->ipc[i], proc, e);
	return r;
}

static const Ckpt__IpcObject *find_shm(const struct ckpt_tree *t, uint32_t shmem)
{
	for (size_t i = 0; i < t->ipc_count; i++)
		if (t->ipc[i]->kind == CKPT_IPC_SHM && t->ipc[i]->shmem == shmem)
			return t->ipc[i];
	return NULL;
}

/* Attached anywhere; the part that was left is moved to its place, the rest is given up. The mapping may go on behind the
 * segment's end, where there is nothing (mremap(2)). */
static int attach(const struct restore *r, struct restoring *p, const Ckpt__Area *a, const Ckpt__IpcObject *o,
		  struct list *l, struct err *e)
{
	uint64_t size = (ckpt_shm_size(&r->tree, o) + CKPT_PAGE - 1) & ~(uint64_t)(CKPT_PAGE - 1),
		 len = a->end - a->start, at, has;
	uint64_t flags = (a->read_only ? SHM_RDONLY : 0) | (a->prot & PROT_EXEC ? SHM_EXEC : 0);
	int n;

	if (a->offset >= size)
		return err_set(e, ERR_FAIL, "the image is damaged: shared memory at %#llx",
			       (unsigned long long)a->start);
	has = len < size - a->offset ? len : size - a->offset;
	/* The kernel must not choose a place that overlaps the one that it is to be moved to (mremap(2), EINVAL). */
	list_call(l, "keep the place of shared memory", SYS_mmap, a->start, len, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, UINT64_MAX, 0);
	list_call(l, "attach shared memory", SYS_shmat, (uint64_t)o->id, 0, flags, 0, 0, 0);
	n = list_run(l, &p->batch, &p->threads[0], e);
	if (n < 0)
		return n;
	at = (uint64_t)l->calls[1].ret;
	list_call(l, "move shared memory", SYS_mremap, at + a->offset, has, len, MREMAP_MAYMOVE | MREMAP_FIXED,
		  a->start, 0);
	if (a->offset)
		list_call(l, "give up shared memory", SYS_munmap, at, a->offset, 0, 0, 0, 0);
	if (a->offset + has < size)
		list_call(l, "give up shared memory", SYS_munmap, at + a->offset + has, size - a->offset - has, 0, 0, 0,
			  0);
	list_call(l, "protect memory", SYS_mprotect, a->start, len, a->prot, 0, 0, 0);
	restore_area_policy(a, l);
	return list_run(l, &p->batch, &p->threads[0], e);
}

int restore_shm(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	int n = 0;

	for (size_t i = 0; n == 0 && i < mm->n_area; i++)
		if (mm->area[i]->shmem && r->tree.shmems[mm->area[i]->shmem - 1]->sysv)
			n = attach(r, p, mm->area[i], find_shm(&r->tree, mm->area[i]->shmem), l, e);
	return n;
}

/* Runs something in an object's namespace. */
static int within(const struct restore *r, const Ckpt__IpcObject *o, int (*run)(void *arg, struct err *e), void *arg,
		  struct err *e)
{
	char path[64];
	cleanup_close int ns = -EBADF;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)r->procs[0].task->pid, restore_fd_space(r, o->space));
	ns = open(path, O_RDONLY | O_CLOEXEC);
	return ns < 0 ? err_sys(e, "open an ipc namespace") : ckpt_visit(CKPT_SPACE_IPC, ns, run, arg, e);
}

struct taking {
	int id, fd;
};

static int take(void *arg, struct err *e)
{
	struct taking *t = arg;

	t->fd = ckpt_shm_open(t->id, O_RDWR, e);
	return t->fd < 0 ? t->fd : 0;
}

int restore_shm_take(const struct restore *r, const Ckpt__IpcObject *o, struct err *e)
{
	struct taking t = { o->id, -EBADF };
	int n = within(r, o, take, &t, e);

	return n < 0 ? n : t.fd;
}

static int remove_shm(void *arg, struct err *e)
{
	const Ckpt__IpcObject *o = arg;

	return shmctl(o->id, IPC_RMID, NULL) < 0 ? err_sys(e, "remove shared memory %d", o->id) : 0;
}

int restore_shm_removed(const struct restore *r, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.ipc_count; i++)
		if (r->tree.ipc[i]->kind == CKPT_IPC_SHM && (r->tree.ipc[i]->mode & REMOVED))
			n = within(r, r->tree.ipc[i], remove_shm, r->tree.ipc[i], e);
	return n;
}
