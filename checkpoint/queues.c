/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/queues.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/spaces.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#define QUEUES_MAX 65536
#define BYTES_MAX MIB(3) /* it goes into one record */

struct inside {
	struct ckpt_dump *d;
	uint32_t space;
};

static int add(struct ckpt_dump *d, int fd, const char *name, const struct stat *st, uint32_t space,
	       Ckpt__Mqueue **ret, struct err *e)
{
	Ckpt__Mqueue *q = ckpt_alloc(&d->tree.arena, sizeof(*q));
	struct mq_attr a;
	int r;

	if (mq_getattr(fd, &a) < 0)
		return err_sys(e, "look at the message queue %s", name);
	if (!q)
		return err_code(e, -ENOMEM, "collect message queues");
	ckpt__mqueue__init(q);
	q->space = space;
	q->name = ckpt_strdup(&d->tree.arena, name);
	q->mode = st->st_mode & 07777;
	q->uid = st->st_uid - d->uid_base;
	q->gid = st->st_gid - d->uid_base;
	q->max_messages = (uint64_t)a.mq_maxmsg;
	q->max_size = (uint64_t)a.mq_msgsize;
	q->count = (uint64_t)a.mq_curmsgs;
	q->ino = st->st_ino;
	q->dev = st->st_dev;
	*ret = q;
	if (!q->name)
		return err_code(e, -ENOMEM, "collect message queues");
	r = ckpt_notify_collect(d, fd, q, e);
	if (r < 0)
		return r;
	return ckpt_push(&d->tree.arena, &d->tree.mqueues, &d->tree.mqueue_count, q) < 0
		? err_code(e, -ENOMEM, "collect message queues") : 0;
}

int ckpt_mqueues_mount(void)
{
	cleanup_close int fs = (int)syscall(SYS_fsopen, "mqueue", 1);

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return (int)syscall(SYS_fsmount, fs, 1, 0);
}

static int collect(void *arg, struct err *e)
{
	struct inside *in = arg;
	const struct ckpt_ahead_space *known = ckpt_ahead_space(&in->d->ahead, in->d->spaces.space[in->space - 1].ino);
	cleanup_close int own = known ? -EBADF : ckpt_mqueues_mount();
	int mnt = known ? known->queues : own;
	int top = mnt < 0 ? -EBADF : openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	cleanup_closedir DIR *dir = top < 0 ? NULL : fdopendir(top);
	const struct dirent *de;

	struct stat fs;

	if (!dir || fstat(mnt, &fs) < 0)
		return err_sys(e, "look at the message queues of an ipc namespace");
	in->d->spaces.space[in->space - 1].queues = fs.st_dev;
	while (r == 0 && (de = readdir(dir))) {
		cleanup_close int fd = -EBADF;
		Ckpt__Mqueue *q;
		struct stat st;

		if (de->d_name[0] == '.' && (!de->d_name[1] || STREQ(de->d_name, "..")))
			continue;
		fd = openat(mnt, de->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			return err_sys(e, "open the message queue %s", de->d_name);
		r = add(in->d, fd, de->d_name, &st, in->space, &q, e);
	}
	return r;
}

int ckpt_mqueues_collect(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->spaces.count; i++) {
		struct inside in = { d, (uint32_t)i + 1 };

		if (d->spaces.space[i].kind != CKPT_SPACE_IPC)
			continue;
		r = ckpt_visit(CKPT_SPACE_IPC, d->spaces.space[i].fd, collect, &in, e);
	}
	return r;
}

/* The ipc namespace of a queue that has no name any more; 0: it is gone. */
static uint32_t space_of(const struct ckpt_dump *d, dev_t dev)
{
	for (size_t i = 0; i < d->spaces.count; i++)
		if (d->spaces.space[i].kind == CKPT_SPACE_IPC && d->spaces.space[i].queues == dev)
			return (uint32_t)i + 1;
	return 0;
}

int ckpt_mqueue_find(struct ckpt_dump *d, const struct ckpt_fd *f, uint32_t *ret, struct err *e)
{
	uint32_t space = space_of(d, f->st.st_dev);
	Ckpt__Mqueue *q = NULL;
	int r;

	for (size_t i = 0; i < d->tree.mqueue_count; i++) {
		q = d->tree.mqueues[i];
		if (q->dev != f->st.st_dev || q->ino != f->st.st_ino)
			continue;
		*ret = (uint32_t)i + 1;
		return 0;
	}
	if (!space)
		return err_set(e, ERR_UNSUPPORTED,
			       "fd %d of process %d is a message queue of an ipc namespace that is no more, which cannot be saved",
			       f->fd, (int)f->pid);
	r = add(d, f->own, f->link, &f->st, space, &q, e);
	if (r == 0 && q)
		q->unlinked = 1;
	*ret = (uint32_t)d->tree.mqueue_count;
	return r;
}

/* The arguments of the list, behind it in the process's scratch memory. */
struct letter {
	uint64_t from[2], to[2]; /* struct iovec: what receiving returned, the length to be sent */
};

static uint64_t free_fd(const Ckpt__FdTable *t)
{
	uint64_t fd = 0;

	for (size_t i = 0; i < t->n_fd && t->fd[i]->fd == fd; i++)
		fd++;
	return fd;
}

/* How the process comes to it: by its name, or by an fd of its own where it has none any more. */
static bool find_way(const struct ckpt_dump *d, const struct ckpt_task *k, size_t queue, char *ret, size_t size)
{
	const Ckpt__Mqueue *q = d->tree.mqueues[queue];

	if (!q->unlinked)
		return (size_t)snprintf(ret, size, "%s", q->name) < size;
	for (size_t i = 0; i < k->fds->n_fd; i++) {
		const Ckpt__File *f = d->tree.files[k->fds->fd[i]->file - 1];

		if (f->kind == CKPT_FILE_MQUEUE && f->object == queue + 1)
			return (size_t)snprintf(ret, size, "/proc/self/fd/%u", k->fds->fd[i]->fd) < size;
	}
	return false;
}

#define CALL_AT(b, i, member) ((b)->scratch + (i) * sizeof(struct ckpt_call) + offsetof(struct ckpt_call, member))

/* Opens it; takes each message, which puts its priority, and process_vm_readv(2) its length, where sending it
 * has them; sends all in the same order; closes it. */
static size_t compose(const struct ckpt_batch *b, const struct ckpt_thread *th, const Ckpt__Mqueue *q,
		      const struct ckpt_task *k, struct ckpt_call *c, struct letter *letters)
{
	uint64_t fd = free_fd(k->fds), room = b->scratch + CKPT_BATCH_LIST, n = 0;
	uint64_t texts = room + 256 + q->count * sizeof(struct letter);

	c[n++] = (struct ckpt_call){ q->unlinked ? SYS_open : SYS_mq_open, { room, O_RDWR | O_NONBLOCK | O_CLOEXEC }, 0 };
	for (uint64_t i = 0; i < q->count; i++) {
		uint64_t send = 1 + 2 * q->count + i, letter = room + 256 + i * sizeof(struct letter);

		letters[i] = (struct letter){ { CALL_AT(b, n, ret), 8 }, { CALL_AT(b, send, args[2]), 8 } };
		c[n++] = (struct ckpt_call){ SYS_mq_timedreceive, { fd, texts + i * q->max_size, q->max_size,
								    CALL_AT(b, send, args[3]), 0 }, 0 };
		c[n++] = (struct ckpt_call){ SYS_process_vm_readv,
					     { (uint64_t)th->ns_tgid, letter + 16, 1, letter, 1, 0 },
					     0 };
		c[send] = (struct ckpt_call){ SYS_mq_timedsend, { fd, texts + i * q->max_size, 0, 0, 0 }, 0 };
	}
	n += q->count;
	c[n++] = (struct ckpt_call){ SYS_close, { fd }, 0 };
	return n;
}

static int keep(struct ckpt_dump *d, const struct ckpt_batch *b, Ckpt__Mqueue *q, const struct ckpt_call *c,
		struct err *e)
{
	uint64_t texts = b->scratch + CKPT_BATCH_LIST + 256 + q->count * sizeof(struct letter);

	for (uint64_t i = 0; i < q->count; i++) {
		Ckpt__IpcMessage *m = ckpt_alloc(&d->tree.arena, sizeof(*m));
		int64_t len = c[1 + 2 * i].ret;

		if (len < 0 || (uint64_t)len > q->max_size || c[1 + 2 * q->count + i].ret < 0)
			return err_set(e, ERR_FAIL, "the message queue %s could not be read", q->name);
		if (!m)
			return err_code(e, -ENOMEM, "collect message queues");
		ckpt__ipc_message__init(m);
		m->type = (int64_t)c[1 + 2 * q->count + i].args[3];
		m->data.len = (size_t)len;
		m->data.data = ckpt_alloc(&d->tree.arena, (size_t)len + 1);
		if (!m->data.data || ckpt_mem_read(b->pid, texts + i * q->max_size, m->data.data, (size_t)len) < 0 ||
		    ckpt_push(&d->tree.arena, &q->messages, &q->n_messages, m) < 0)
			return err_code(e, -ENOMEM, "collect message queues");
	}
	return 0;
}

static int run(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, struct ckpt_thread *th,
	       Ckpt__Mqueue *q, const char *way, struct err *e)
{
	cleanup_free struct ckpt_call *c = calloc(CKPT_BATCH_MAX, sizeof(*c));
	cleanup_free struct letter *letters = calloc(q->count, sizeof(*letters));
	uint64_t room = b->scratch + CKPT_BATCH_LIST;
	size_t n;
	int r;

	if (!c || !letters)
		return err_code(e, -ENOMEM, "collect message queues");
	n = compose(b, th, q, k, c, letters);
	r = ckpt_mem_write(b->pid, room, way, strlen(way) + 1);
	if (r == 0)
		r = ckpt_mem_write(b->pid, room + 256, letters, q->count * sizeof(*letters));
	if (r < 0)
		return err_code(e, r, "write into process %d", (int)k->pid);
	r = ckpt_batch_run(b, th, c, n, e);
	if (r < 0 || c[0].ret < 0)
		return r; /* another process may */
	return keep(d, b, q, c, e);
}

static int read_one(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, Ckpt__Mqueue *q, const char *way,
		    struct err *e)
{
	uint64_t size = CKPT_BATCH_LIST + 256 + q->count * (sizeof(struct letter) + q->max_size);
	struct ckpt_thread th;
	struct err ignored;
	int r, left;

	if (q->count * 3 + 2 > CKPT_BATCH_MAX || q->count * q->max_size > BYTES_MAX)
		return err_set(e, ERR_UNSUPPORTED, "the message queue %s holds more than can be saved", q->name);
	r = ckpt_thread_enter(b, &th, k->pid, NULL, e);
	if (r < 0)
		return r;
	r = ckpt_batch_map(b, &th, (size + 4095) & ~4095ull, e);
	if (r == 0)
		r = run(d, k, b, &th, q, way, e);
	left = ckpt_batch_unmap(b, &th, r < 0 ? &ignored : e);
	r = r < 0 ? r : left;
	left = ckpt_thread_leave(b, &th, r < 0 ? &ignored : e);
	return r < 0 ? r : left;
}

int ckpt_mqueues_read(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, struct err *e)
{
	const Ckpt__Thread *t = k->threads[0];
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.mqueue_count; i++) {
		Ckpt__Mqueue *q = d->tree.mqueues[i];
		char way[256]; /* what compose() leaves room for */

		if (q->n_messages < q->count && t->n_spaces &&
		    (q->unlinked || t->spaces[CKPT_SPACE_IPC] == q->space) && find_way(d, k, i, way, sizeof(way)))
			r = read_one(d, k, b, q, way, e);
	}
	return r;
}

int ckpt_mqueues_complete(const struct ckpt_dump *d, struct err *e)
{
	for (size_t i = 0; i < d->tree.mqueue_count; i++) {
		Ckpt__Mqueue *q = d->tree.mqueues[i];
		int r;

		if (q->n_messages < q->count)
			return err_set(e, ERR_UNSUPPORTED,
				       "the message queue %s has messages that no process of the VPS may read",
				       q->name);
		q->dev = q->ino = 0;
		r = ckpt_notify_resolve(d, (uint32_t)i + 1, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int ckpt_mqueues_check(const struct ckpt_tree *t, struct err *e)
{
	for (size_t i = 0; i < t->mqueue_count; i++) {
		const Ckpt__Mqueue *q = t->mqueues[i];

		if (i >= QUEUES_MAX || q->space == 0 || q->space > t->space_count ||
		    t->spaces[q->space - 1]->kind != CKPT_SPACE_IPC || !q->name[0] ||
		    strlen(q->name) > 4096 || q->max_messages > INT32_MAX || q->max_size > INT32_MAX ||
		    q->n_messages > q->max_messages || !ckpt_notify_is_good(q->notify))
			return err_set(e, ERR_FAIL, "the image is damaged: a message queue");
	}
	return 0;
}

static int set_owner(uint32_t uid, uint32_t gid)
{
	return syscall(SYS_setresgid, -1, gid, -1) < 0 || syscall(SYS_setresuid, -1, uid, 0) < 0 ? -1 : 0;
}

int ckpt_mqueue_make(const Ckpt__Mqueue *q, const char *name, struct err *e)
{
	struct mq_attr a = { .mq_maxmsg = (long)q->max_messages, .mq_msgsize = (long)q->max_size };
	mode_t mask = umask(0);
	int fd = -1;

	if (set_owner(q->uid, q->gid) == 0)
		fd = (int)syscall(SYS_mq_open, name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, q->mode & 0777,
				  &a);
	if (fd < 0)
		err_sys(e, "make the message queue %s", name);
	umask(mask);
	if (syscall(SYS_setresuid, -1, 0, -1) < 0 || syscall(SYS_setresgid, -1, 0, -1) < 0) {
		fd_close(&fd);
		return err_sys(e, "be root again");
	}
	for (size_t i = 0; fd >= 0 && i < q->n_messages; i++)
		if (syscall(SYS_mq_timedsend, fd, q->messages[i]->data.data, q->messages[i]->data.len,
			    q->messages[i]->type, NULL) < 0) {
			err_sys(e, "fill the message queue %s", name);
			fd_close(&fd);
		}
	return fd < 0 ? -EIO : fd;
}

int ckpt_mqueues_make(const struct ckpt_tree *t, uint32_t space, struct err *e)
{
	for (size_t i = 0; i < t->mqueue_count; i++) {
		int fd;

		if (t->mqueues[i]->space != space || t->mqueues[i]->unlinked)
			continue;
		fd = ckpt_mqueue_make(t->mqueues[i], t->mqueues[i]->name, e);
		if (fd < 0)
			return fd;
		close(fd);
	}
	return 0;
}
