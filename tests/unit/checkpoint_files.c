/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Handles in fdinfo; and that nothing of what an image says of open files, locks, System V objects and message
 * queues gets past the check when it does not hold together. */
#include "checkpoint/ghosts.h"
#include "checkpoint/handles.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/ipc.h"
#include "checkpoint/kinds.h"
#include "checkpoint/queues.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/spaces.h"
#include "tests/unit/tap.h"

#include <sys/stat.h>

static struct err e;

TEST(handles)
{
	struct ckpt_handle h;

	eq_int(ckpt_handle_parse("ino:a80765 sdev:57 mask:2 ignored_mask:0 fhandle-bytes:20 fhandle-type:f8 "
				 "f_handle:00000000fb1d0401000000000000000000000000000000006507a800eb8368b1\n", &h), 0,
	       "overlay's");
	ok(h.ino == 0xa80765 && h.sdev == 0x57 && h.size == 32 && h.type == 0xf8, "numbers");
	ok(h.data[4] == 0xfb && h.data[6] == 4 && h.data[24] == 0x65 && h.data[31] == 0xb1, "bytes");
	eq_int(ckpt_handle_parse("ino:3c501 sdev:fe00000 mask:4000100 ignored_mask:0\n", &h), 0, "without a handle");
	eq_int((int)h.size, 0, "there is none");
}

TEST(handles_garbage)
{
	static const char *const bad[] = {
		"",
		"ino:",
		"ino:1",
		"ino:1 sdev:2 fhandle-bytes:81 fhandle-type:1 f_handle:00",
		"ino:1 sdev:2 fhandle-bytes:8 fhandle-type:1 f_handle:0011",
		"ino:1 sdev:2 fhandle-bytes:2 fhandle-type:1 f_handle:zz",
	};
	struct ckpt_handle h;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(ckpt_handle_parse(bad[i], &h) < 0, "\"%s\" is refused", bad[i]);
}

/* A tree with one file of each sort, one namespace of System V objects, one process. */
struct sample {
	struct ckpt_tree t;
	Ckpt__File file, *files[1];
	Ckpt__EpollTarget target, *targets[1];
	Ckpt__Watch watch, *watches[1];
	Ckpt__Lock lock, *locks[1];
	Ckpt__FdTable table;
	Ckpt__Space space, *spaces[1];
	Ckpt__Shmem shmem, *shmems[1];
	Ckpt__IpcObject object, *ipc[1];
	uint32_t values[2], pids[2];
	Ckpt__Mqueue queue, *mqueues[1];
	Ckpt__Ghost ghost, *ghosts[1];
};

static struct sample *sample(void)
{
	static struct sample s;

	memset(&s, 0, sizeof(s));
	ckpt__file__init(&s.file);
	ckpt__epoll_target__init(&s.target);
	ckpt__watch__init(&s.watch);
	ckpt__lock__init(&s.lock);
	ckpt__fd_table__init(&s.table);
	ckpt__space__init(&s.space);
	ckpt__shmem__init(&s.shmem);
	ckpt__ipc_object__init(&s.object);
	ckpt__mqueue__init(&s.queue);
	ckpt__ghost__init(&s.ghost);
	s.files[0] = &s.file;
	s.targets[0] = &s.target;
	s.watches[0] = &s.watch;
	s.locks[0] = &s.lock;
	s.spaces[0] = &s.space;
	s.shmems[0] = &s.shmem;
	s.ipc[0] = &s.object;
	s.mqueues[0] = &s.queue;
	s.ghosts[0] = &s.ghost;
	s.t.files = s.files;
	s.t.spaces = s.spaces;
	s.t.shmems = s.shmems;
	s.t.ipc = s.ipc;
	s.t.mqueues = s.mqueues;
	s.t.ghosts = s.ghosts;
	s.t.file_count = s.t.space_count = s.t.shmem_count = s.t.ipc_count = s.t.mqueue_count = s.t.ghost_count = 1;
	s.target.file = 1;
	s.file.targets = s.targets;
	s.file.n_targets = 1;
	s.watch.wd = 1;
	s.watch.path = (char *)"/x"; /* NOLINT */
	s.file.watches = s.watches;
	s.file.n_watches = 1;
	s.lock.kind = 1;
	s.file.locks = s.locks;
	s.file.n_locks = 1;
	s.space.kind = CKPT_SPACE_IPC;
	s.shmem.sysv = 1;
	s.shmem.size = s.object.size = 4096;
	s.object.kind = CKPT_IPC_SHM;
	s.object.space = s.object.shmem = 1;
	s.object.values = s.values;
	s.object.pids = s.pids;
	s.object.n_values = s.object.n_pids = 2;
	s.queue.space = 1;
	s.queue.name = (char *)"q"; /* NOLINT */
	s.queue.max_messages = s.queue.max_size = 10;
	s.ghost.path = (char *)"/gone"; /* NOLINT */
	s.ghost.mode = S_IFREG | 0600;
	s.ghost.size = 100;
	return &s;
}

#define GOOD(check, text) eq_int(check, 0, text)
#define BAD(change, check, text)                        \
	do {                                            \
		struct sample *s = sample();            \
		change;                                 \
		ok((check) < 0, "refused: %s", text);   \
	} while (0)

TEST(epolls)
{
	GOOD(ckpt_epoll_check(&sample()->t, &sample()->file, &e), "an epoll");
	BAD(s->target.file = 0, ckpt_epoll_check(&s->t, &s->file, &e), "no file");
	BAD(s->target.file = 2, ckpt_epoll_check(&s->t, &s->file, &e), "a file that is not there");
	BAD(s->target.fd = CKPT_FD_MAX + 1, ckpt_epoll_check(&s->t, &s->file, &e), "a number that no fd has");
}

TEST(inotifies)
{
	static char much[5000];

	memset(much, '/', sizeof(much) - 1);
	GOOD(ckpt_inotify_check(&sample()->t, &sample()->file, &e), "an inotify");
	BAD(s->watch.wd = 0, ckpt_inotify_check(&s->t, &s->file, &e), "a watch 0");
	BAD(s->watch.mask = 0x40000000, ckpt_inotify_check(&s->t, &s->file, &e), "a flag that no watch keeps");
	BAD(s->watch.path = (char *)"x", ckpt_inotify_check(&s->t, &s->file, &e), "a relative path"); /* NOLINT */
	BAD(s->watch.path = much, ckpt_inotify_check(&s->t, &s->file, &e), "a path without an end");
	BAD(s->watch.file = 2, ckpt_inotify_check(&s->t, &s->file, &e), "a file that is not there");
}

TEST(locks)
{
	GOOD(ckpt_locks_check(&sample()->file, NULL, &e), "a lock");
	BAD(s->lock.kind = 0, ckpt_locks_check(&s->file, NULL, &e), "a lock of no kind");
	BAD(s->lock.kind = 2, ckpt_locks_check(&s->file, NULL, &e), "a process's lock that a file has");
	BAD(s->lock.kind = 5, ckpt_locks_check(&s->file, NULL, &e), "a lock of an unknown kind");
	BAD(s->lock.type = 2, ckpt_locks_check(&s->file, NULL, &e), "an unlock");
	BAD(s->lock.start = UINT64_MAX, ckpt_locks_check(&s->file, NULL, &e), "a negative start");
	BAD((s->table.locks = s->locks, s->table.n_locks = 1), ckpt_locks_check(NULL, &s->table, &e),
	    "a file's lock that a process has");
	BAD(s->file.signal = 65, ckpt_owner_check(&s->file, &e), "a signal that there is not");
	BAD(s->file.owner = 1, ckpt_owner_check(&s->file, &e), "an owner without ids");
}

TEST(system_v)
{
	GOOD(ckpt_ipc_check(&sample()->t, &e), "shared memory");
	BAD(s->object.id = -1, ckpt_ipc_check(&s->t, &e), "a negative number");
	BAD(s->object.kind = 4, ckpt_ipc_check(&s->t, &e), "an unknown kind");
	BAD(s->object.space = 2, ckpt_ipc_check(&s->t, &e), "a namespace that is not there");
	BAD(s->space.kind = CKPT_SPACE_NET, ckpt_ipc_check(&s->t, &e), "a namespace of another kind");
	BAD(s->object.shmem = 2, ckpt_ipc_check(&s->t, &e), "contents that are not there");
	BAD(s->object.size = 1, ckpt_ipc_check(&s->t, &e), "another size than its contents");
	BAD(s->shmem.sysv = 0, ckpt_ipc_check(&s->t, &e), "a memfd's contents");
	BAD(s->t.ipc_count = 0, ckpt_ipc_check(&s->t, &e), "contents of nobody");
	BAD((s->shmem.sysv = 0, s->object.kind = CKPT_IPC_SEM), ckpt_ipc_check(&s->t, &e),
	    "more semaphores than values");
	BAD((s->shmem.sysv = 0, s->object.kind = CKPT_IPC_SEM, s->object.size = 0), ckpt_ipc_check(&s->t, &e),
	    "no semaphore");
}

TEST(queues)
{
	GOOD(ckpt_mqueues_check(&sample()->t, &e), "a queue");
	BAD(s->queue.space = 0, ckpt_mqueues_check(&s->t, &e), "no namespace");
	BAD(s->queue.name = (char *)"", ckpt_mqueues_check(&s->t, &e), "no name"); /* NOLINT */
	BAD(s->queue.max_size = UINT64_MAX, ckpt_mqueues_check(&s->t, &e), "endless messages");
	BAD(s->queue.n_messages = 11, ckpt_mqueues_check(&s->t, &e), "more messages than fit");
}

static int take(struct sample *s, uint32_t ghost, uint64_t offset, size_t len)
{
	static uint8_t data[200];
	Ckpt__GhostData m = CKPT__GHOST_DATA__INIT;
	struct ckpt_record rec = { .message = &m };

	m.ghost = ghost;
	m.offset = offset;
	m.data.data = data;
	m.data.len = len;
	return ckpt_ghost_take(&s->t, &rec, &e);
}

TEST(ghosts)
{
	GOOD(ckpt_ghost_check(&sample()->t, 0, &e), "a deleted file");
	GOOD(take(sample(), 1, 50, 50), "all of its contents");
	BAD(s->ghost.path = (char *)"gone", ckpt_ghost_check(&s->t, 0, &e), "a relative path"); /* NOLINT */
	BAD(s->ghost.mode = S_IFBLK | 0666, ckpt_ghost_check(&s->t, 0, &e), "a device");
	BAD(s->ghost.size = UINT64_MAX, ckpt_ghost_check(&s->t, 0, &e), "a negative size");
	BAD((void)s, take(s, 0, 0, 1), "contents of nobody");
	BAD((void)s, take(s, 2, 0, 1), "contents of what is not there");
	BAD((void)s, take(s, 1, 51, 50), "contents behind its end");
	BAD((void)s, take(s, 1, UINT64_MAX - 10, 20), "contents that wrap around");
}

TEST(lists)
{
	static uint8_t much[RESTORE_ROOM + 1];
	struct list *l = calloc(1, sizeof(*l));
	struct restore r = { .region = 0x10000 };
	struct ckpt_batch b = { 0 };
	struct ckpt_thread t = { 0 };

	list_init(l, &r);
	eq_int((int)list_put(l, much, sizeof(much)), 0, "more than there is room for");
	ok(list_run(l, &b, &t, &e) < 0 && strstr(e.msg, "damaged"), "does not run");
	list_init(l, &r);
	for (size_t i = 0; i < CKPT_BATCH_MAX + 10; i++)
		list_call(l, NULL, 0, 0, 0, 0, 0, 0, 0);
	ok(l->count == CKPT_BATCH_MAX && list_run(l, &b, &t, &e) < 0, "nor do more calls than there is room for");
	free(l);
}
