/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which namespaces there are and who owns them; what each is by itself is in spaces_look.c and
 * mounts.c. */
#include "checkpoint/spaces.h"
#include "base/array.h"
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/lookout.h"
#include "checkpoint/pidspaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

const struct ckpt_space_type ckpt_space_types[CKPT_SPACE_COUNT] = {
	[CKPT_SPACE_USER] = { "user", CLONE_NEWUSER, false },
	[CKPT_SPACE_MNT] = { "mnt", CLONE_NEWNS, false },
	[CKPT_SPACE_NET] = { "net", CLONE_NEWNET, true },
	[CKPT_SPACE_UTS] = { "uts", CLONE_NEWUTS, true },
	[CKPT_SPACE_IPC] = { "ipc", CLONE_NEWIPC, true },
	[CKPT_SPACE_CGROUP] = { "cgroup", CLONE_NEWCGROUP, true },
	[CKPT_SPACE_TIME] = { "time", CLONE_NEWTIME, false },
	[CKPT_SPACE_PID] = { "pid", CLONE_NEWPID, false },
};

/* What a process of an ipc namespace finds in /proc/sys (ipc_namespaces(7)). */
const char *const ckpt_ipc_sysctls[] = {
	"kernel/shmmax",
	"kernel/shmall",
	"kernel/shmmni",
	"kernel/shm_rmid_forced",
	"kernel/msgmax",
	"kernel/msgmnb",
	"kernel/msgmni",
	"kernel/sem",
	"fs/mqueue/queues_max",
	"fs/mqueue/msg_max",
	"fs/mqueue/msgsize_max",
	"fs/mqueue/msg_default",
	"fs/mqueue/msgsize_default",
	NULL,
};

const char *const ckpt_user_sysctls[] = {
	"user/max_cgroup_namespaces",
	"user/max_fanotify_groups",
	"user/max_fanotify_marks",
	"user/max_inotify_instances",
	"user/max_inotify_watches",
	"user/max_ipc_namespaces",
	"user/max_mnt_namespaces",
	"user/max_net_namespaces",
	"user/max_pid_namespaces",
	"user/max_time_namespaces",
	"user/max_user_namespaces",
	"user/max_uts_namespaces",
	NULL,
};
static_assert(ARRAY_SIZE(ckpt_user_sysctls) == CKPT_USER_SYSCTLS + 1, "");

bool ckpt_is_space_sysctl(enum ckpt_space_kind kind, const char *name)
{
	const char *const *names = kind == CKPT_SPACE_IPC ? ckpt_ipc_sysctls : ckpt_user_sysctls;

	for (size_t i = 0; (kind == CKPT_SPACE_IPC || kind == CKPT_SPACE_USER) && names[i]; i++)
		if (STREQ(names[i], name))
			return true;
	return false;
}

/* The user namespace that a namespace belongs to; 0 for those that process 1 was started in. */
static int find_owner(struct ckpt_dump *d, enum ckpt_space_kind kind, int fd, struct err *e)
{
	cleanup_close int owner = -EBADF;

	if (d->spaces.main[kind] == 0)
		return 0;
	owner = ioctl(fd, kind == CKPT_SPACE_USER ? NS_GET_PARENT : NS_GET_USERNS);
	if (owner < 0)
		return err_sys(e, "ask for the owner of a %s namespace",
			       ckpt_space_types[kind].name);
	return ckpt_spaces_add(d, CKPT_SPACE_USER, owner, 0, e);
}

int ckpt_spaces_add(struct ckpt_dump *d, enum ckpt_space_kind kind, int fd, pid_t pid,
		    struct err *e)
{
	struct ckpt_spaces *s = &d->spaces;
	struct ckpt_seen_space *seen;
	Ckpt__Space *out;
	struct ckpt_seen_space *grown;
	struct stat st;
	int owner, parent, r;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at a namespace");
	for (size_t i = 0; i < s->count; i++)
		if (s->space[i].ino == st.st_ino)
			return (int)i + 1;
	owner = find_owner(d, kind, fd, e);
	parent = owner > 0 && kind == CKPT_SPACE_PID ? ckpt_pidspace_parent(d, fd, e) : 0;
	if (owner < 0 || parent < 0)
		return owner < 0 ? owner : parent;
	if (s->count >= CKPT_SPACES_MAX)
		return err_set(e, ERR_UNSUPPORTED, "the VPS has more than %d namespaces",
			       CKPT_SPACES_MAX);
	grown = reallocarray(s->space, s->count + 1, sizeof(*grown));
	out = ckpt_alloc(&d->tree.arena, sizeof(*out));
	if (!grown || !out)
		return err_code(e, -ENOMEM, "collect namespaces");
	s->space = grown;
	seen = &grown[s->count];
	*seen = (struct ckpt_seen_space){ kind,	  st.st_ino, fcntl(fd, F_DUPFD_CLOEXEC, 3),
					  -EBADF, -EBADF,    pid };
	ckpt__space__init(out);
	out->kind = kind;
	out->owner = (uint32_t)owner;
	out->parent = (uint32_t)parent;
	if (seen->fd < 0 ||
	    ckpt_push(&d->tree.arena, &d->tree.spaces, &d->tree.space_count, out) < 0)
		return err_sys(e, "collect namespaces");
	s->count++;
	r = ckpt_space_look(d, seen, out, e);
	if (d->spaces.main[kind] == 0)
		d->spaces.main[kind] = (uint32_t)s->count;
	return r < 0 ? r : (int)s->count;
}

ino_t ckpt_space_number(const char *link)
{
	const char *p = strchr(link, '[');

	return p ? strtoull(p + 1, NULL, 10) : 0;
}

/* The id of the namespace that /proc/PID/ns/`name` stands for. A link is cheap to read, and
 * mostly known. */
static int of_link(struct ckpt_dump *d, enum ckpt_space_kind kind, const char *name, pid_t tid,
		   struct err *e)
{
	cleanup_close int fd = -EBADF;
	ino_t ino;
	int r = ckpt_look_space(d, tid, name, &ino);

	if (r < 0 || !ino)
		return r < 0 ? err_code(e, r, "read /proc/%d/ns/%s", (int)tid, name) : 0; /* a kernel without it */
	for (size_t i = 0; i < d->spaces.count; i++)
		if (d->spaces.space[i].ino == ino) {
			/* Known by an fd or as an owner until now. */
			if (!d->spaces.space[i].pid)
				d->spaces.space[i].pid = tid;
			return (int)i + 1;
		}
	fd = ckpt_space_open((int)tid, name, e);
	return fd < 0 ? fd : ckpt_spaces_add(d, kind, fd, tid, e);
}

/* The time namespace that its children will be in, where that is another than its own, else 0. */
static int read_children(struct ckpt_dump *d, pid_t tid, struct ckpt_seen_thread *t, struct err *e)
{
	int children = of_link(d, CKPT_SPACE_TIME, "time_for_children", tid, e);

	t->time_children = children > 0 && (uint32_t)children != t->space[CKPT_SPACE_TIME] ? (uint32_t)children : 0;
	return children < 0 ? children : 0;
}

/* Nobody goes into one of these who has other threads, and threads are born into that of the others (Linux 5.6). */
static bool is_of_process(enum ckpt_space_kind kind)
{
	return kind == CKPT_SPACE_USER || kind == CKPT_SPACE_TIME || kind == CKPT_SPACE_PID;
}

/* Which namespaces a thread is in, as the links tell. `first`: what the process's first thread is in, or NULL. */
static int read_links(struct ckpt_dump *d, pid_t tid, const uint32_t *first, uint32_t ret[CKPT_SPACE_COUNT],
		      struct err *e)
{
	for (enum ckpt_space_kind i = 0; i < CKPT_SPACE_COUNT; i++) {
		int id = first && is_of_process(i) ? (int)first[i] : of_link(d, i, ckpt_space_types[i].name, tid, e);

		if (id < 0)
			return id;
		ret[i] = (uint32_t)id;
	}
	return 0;
}

static const struct ckpt_seen_thread *find_thread(struct ckpt_spaces *s, pid_t tid)
{
	for (size_t n = 0; n < s->thread_count; n++) {
		size_t i = (s->thread_last + n) % s->thread_count;

		if (s->thread[i].tid == tid) {
			s->thread_last = i;
			return &s->thread[i];
		}
	}
	return NULL;
}

int ckpt_spaces_of_thread(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t, struct err *e)
{
	const struct ckpt_seen_thread *known = find_thread(&d->spaces, tid);

	t->spaces = ckpt_alloc(&d->tree.arena, CKPT_SPACE_COUNT * sizeof(*t->spaces));
	if (!t->spaces)
		return err_code(e, -ENOMEM, "collect namespaces");
	t->n_spaces = CKPT_SPACE_COUNT;
	if (!known)
		return read_links(d, tid, NULL, t->spaces, e);
	memcpy(t->spaces, known->space, sizeof(known->space));
	t->time_children = known->time_children;
	return 0;
}

static struct ckpt_seen_thread *add_thread(struct ckpt_spaces *s)
{
	if (array_grow(&s->thread, s->thread_count, &s->thread_room, 64) < 0)
		return NULL;
	return &s->thread[s->thread_count];
}

static int collect_thread(struct ckpt_dump *d, const struct ckpt_process *p, size_t k, struct err *e)
{
	struct ckpt_seen_thread *t = add_thread(&d->spaces);
	const struct ckpt_seen_thread *first = k ? find_thread(&d->spaces, p->tids[0]) : NULL;
	pid_t tid = p->tids[k];
	int r = t ? read_links(d, tid, first ? first->space : NULL, t->space, e) :
		    err_code(e, -ENOMEM, "collect namespaces");

	if (r < 0)
		return r;
	t->tid = tid;
	d->spaces.thread_count++;
	return read_children(d, tid, t, e);
}

/* Mounts may stand for further namespaces, these may be of mounts. */
static int collect_mounts(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->spaces.count; i++)
		if (d->spaces.space[i].kind == CKPT_SPACE_MNT)
			r = ckpt_mounts_collect(d, (uint32_t)i + 1, e);
	return r == 0 ? ckpt_mounts_deleted(d, e) : r;
}

int ckpt_spaces_collect(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	d->level = ckpt_pid_level(d->init);
	for (size_t i = 0; r == 0 && i < d->frozen.count; i++)
		for (size_t k = 0; r == 0 && k < d->frozen.procs[i].count; k++)
			r = ckpt_note(d, collect_thread(d, &d->frozen.procs[i], k, e),
				      d->frozen.procs[i].pid, -1, e);
	return r == 0 ? collect_mounts(d, e) : r;
}

void ckpt_spaces_done(struct ckpt_dump *d)
{
	for (size_t i = 0; i < d->spaces.count; i++) {
		fd_close(&d->spaces.space[i].fd);
		fd_close(&d->spaces.space[i].root);
		fd_close(&d->spaces.space[i].diag);
	}
	free(d->spaces.space);
	free(d->spaces.mount);
	free(d->spaces.super);
	free(d->spaces.thread);
	d->spaces = (struct ckpt_spaces){ 0 };
}

int ckpt_space_root(const struct ckpt_dump *d, uint32_t space)
{
	return d->spaces.space[(space ? space : d->spaces.main[CKPT_SPACE_MNT]) - 1].root;
}

uint32_t ckpt_process_space(struct ckpt_dump *d, pid_t pid)
{
	struct err ignored;
	int id = of_link(d, CKPT_SPACE_MNT, "mnt", pid, &ignored);

	return id <= 0 || (uint32_t)id == d->spaces.main[CKPT_SPACE_MNT] ? 0 : (uint32_t)id;
}

static int open_diag(void *arg, struct err *e)
{
	int *ret = arg;

	*ret = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	return *ret < 0 ? err_sys(e, "make a sock_diag socket") : 0;
}

int ckpt_dump_diag(struct ckpt_dump *d, uint32_t space, struct err *e)
{
	struct ckpt_seen_space *s =
		&d->spaces.space[(space ? space : d->spaces.main[CKPT_SPACE_NET]) - 1];
	int r = s->diag < 0 ? ckpt_visit(CKPT_SPACE_NET, s->fd, open_diag, &s->diag, e) : 0;

	return r < 0 ? r : s->diag;
}

/* Mostly it is that of the socket before, which its number tells (SO_NETNS_COOKIE, Linux 5.14): no two have the same,
 * whenever they were made. */
int ckpt_socket_space(struct ckpt_dump *d, int fd, uint32_t *ret, struct err *e)
{
	cleanup_close int its = -EBADF;
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	int id;

	if (getsockopt(fd, SOL_SOCKET, 71 /* SO_NETNS_COOKIE */, &cookie, &len) < 0 || len != sizeof(cookie))
		cookie = 0;
	if (cookie && cookie == d->socks_cookie) {
		*ret = d->socks_space;
		return 0;
	}
	its = ioctl(fd, SIOCGSKNS);
	id = its < 0 ? err_sys(e, "ask for the network namespace of a socket") :
		       ckpt_spaces_add(d, CKPT_SPACE_NET, its, 0, e);
	if (id < 0)
		return id;
	*ret = (uint32_t)id == d->spaces.main[CKPT_SPACE_NET] ? 0 : (uint32_t)id;
	d->socks_cookie = cookie;
	d->socks_space = *ret;
	return 0;
}
