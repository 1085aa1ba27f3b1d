/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Namespaces, made by the first process of the VPS, which is root in it and nothing outside:
 * owners first, each by a process that has entered its owner.
 */
#include "checkpoint/restore_spaces.h"
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/step.h"
#include "checkpoint/clocks.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/ipc.h"
#include "checkpoint/queues.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct making {
	struct restore *r;
	uint32_t id;
	int proc; /* /proc of the VPS */
	int group; /* the root of its control groups */
	const Ckpt__Space *space;
};

int restore_space_take(const struct restore *r, uint32_t id, int fd, struct err *e)
{
	int n = fd < 0 ? fd : dup3(fd, restore_fd_space(r, id), O_CLOEXEC);

	if (n < 0)
		err_sys(e, "keep a namespace");
	if (fd >= 0)
		close(fd);
	return n < 0 ? -EBADF : 0;
}

static int take_own(struct making *m, const char *name, struct err *e)
{
	char path[64];

	snprintf(path, sizeof(path), "thread-self/ns/%s", name);
	return restore_space_take(m->r, m->id, openat(m->proc, path, O_RDONLY | O_CLOEXEC), e);
}

static int set_names(const Ckpt__Space *s, struct err *e)
{
	if (sethostname(s->hostname, strlen(s->hostname)) < 0 ||
	    setdomainname(s->domainname, strlen(s->domainname)) < 0)
		return err_sys(e, "set a host name");
	return 0;
}

static int set_sysctls(const struct making *m, struct err *e)
{
	for (size_t i = 0; i < m->space->n_sysctls; i++) {
		const Ckpt__Setting *s = m->space->sysctls[i];
		cleanup_free char *now = NULL,
				  *value = strndup((const char *)s->value.data, s->value.len);
		char path[64];
		int n;

		snprintf(path, sizeof(path), "sys/%s", s->name);
		if (!value)
			return err_code(e, -ENOMEM, "set sysctls");
		if (fd_read_file_at(m->proc, path, 4096, &now, NULL) == 0 && STREQ(now, value))
			continue;
		n = fd_write_file_at(m->proc, path, value);
		if (n < 0)
			return err_code(e, n, "set the sysctl %s", s->name);
	}
	return 0;
}

/* In the namespace, as the VPS's root, whoever owns that: only so objects have their ids, which need no number there. */
static int fill_ipc(void *arg, struct err *e)
{
	const struct making *m = arg;
	int n = ckpt_ipc_make(&m->r->tree, m->id, m->r->proc, e);

	return n == 0 ? ckpt_mqueues_make(&m->r->tree, m->id, e) : n;
}

static int set_loopback(struct err *e)
{
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0 ? err_sys(e, "take a loopback up") : 0;
}

static int set_offsets(const struct making *m, struct err *e)
{
	cleanup_free char *now = NULL; /* as process 1's, until they are set */
	char text[CKPT_OFFSETS_TEXT];
	int64_t base[2];
	int n = fd_read_file_at(m->proc, "self/timens_offsets", 4096, &now, NULL);

	if (n == 0)
		n = ckpt_clock_parse(now, base);
	n = n < 0 ? err_code(e, n, "read the offsets of a time namespace") :
		    ckpt_clock_format(m->space->offsets, base, text, e);
	if (n < 0)
		return n;
	n = fd_write_file_at(m->proc, "self/timens_offsets", text);
	return n < 0 ? err_code(e, n, "set the offsets of a time namespace") : 0;
}

/* A cgroup namespace's root is the group that its maker is in. */
static int enter_group(const struct making *m, struct err *e)
{
	char path[4200];
	int n;

	snprintf(path, sizeof(path), ".%s/cgroup.procs", m->space->group);
	n = fd_write_file_at(m->group, path, "0");
	return n < 0 ? err_code(e, n, "enter the control group %s", m->space->group) : 0;
}

static int make(void *arg, struct err *e)
{
	struct making *m = arg;
	const struct ckpt_space_type *type = &ckpt_space_types[m->space->kind];
	int n = 0;

	/* Its own files in /proc are somebody else's otherwise, since it has entered the owner. */
	if (unshare(type->flag) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0)
		return err_sys(e, "make a %s namespace", type->name);
	if (m->space->kind == CKPT_SPACE_UTS)
		n = set_names(m->space, e);
	else if (m->space->kind == CKPT_SPACE_IPC)
		n = set_sysctls(m, e);
	else if (m->space->kind == CKPT_SPACE_NET && m->space->loopback)
		n = set_loopback(e);
	else if (m->space->kind == CKPT_SPACE_TIME)
		n = set_offsets(m, e);
	if (n < 0)
		return n;
	return take_own(m, m->space->kind == CKPT_SPACE_TIME ? "time_for_children" : type->name, e);
}

/* The group is entered with the rights of the VPS's root, the owner's namespace after it. */
static int make_cgroup(void *arg, struct err *e)
{
	struct making *m = arg;
	int owner = restore_fd_space(m->r, m->space->owner), n = enter_group(m, e);

	if (n == 0 && m->space->owner != ckpt_space_main(&m->r->tree, CKPT_SPACE_USER) &&
	    setns(owner, 0) < 0)
		n = err_sys(e, "enter a user namespace");
	return n == 0 ? make(m, e) : n;
}

/* In a process of its own, as it cannot come back: waits in the new namespace to be mapped, and
 * killed. */
static _Noreturn void member(const struct making *m, int ready)
{
	bool ok = m->space->creator == 0 || (syscall(SYS_setresuid, m->space->creator,
						     m->space->creator, m->space->creator) == 0);

	/* What belongs to a process that is not dumpable, its maps too, is nobody's here. */
	if (ok && unshare(CLONE_NEWUSER) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0 &&
	    write(ready, "x", 1) == 1)
		for (;;)
			pause();
	_exit(1);
}

static int write_maps(const struct making *m, pid_t pid, struct err *e)
{
	char path[64];
	int n = 0;

	if (m->space->deny_setgroups) {
		snprintf(path, sizeof(path), "%d/setgroups", (int)pid);
		n = fd_write_file_at(m->proc, path, "deny");
	}
	snprintf(path, sizeof(path), "%d/uid_map", (int)pid);
	if (n == 0 && m->space->uid_map[0])
		n = fd_write_file_at(m->proc, path, m->space->uid_map);
	snprintf(path, sizeof(path), "%d/gid_map", (int)pid);
	if (n == 0 && m->space->gid_map[0])
		n = fd_write_file_at(m->proc, path, m->space->gid_map);
	return n < 0 ? err_code(e, n, "map the ids of a user namespace") : 0;
}

static int make_user(void *arg, struct err *e)
{
	struct making *m = arg;
	int ready[2], n = 0;
	char path[64], c;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	pid = fork();
	if (pid == 0)
		member(m, ready[1]);
	close(ready[1]);
	if (pid < 0 || read(ready[0], &c, 1) != 1)
		n = err_set(e, ERR_FAIL, "a user namespace cannot be made");
	close(ready[0]);
	if (n == 0)
		n = write_maps(m, pid, e);
	snprintf(path, sizeof(path), "%d/ns/user", (int)pid);
	if (n == 0)
		n = restore_space_take(m->r, m->id, openat(m->proc, path, O_RDONLY | O_CLOEXEC), e);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return n;
}

/* Process 1's: they are there, and differ only in what it has changed. */
static int adjust(struct making *m, struct err *e)
{
	int n = take_own(m, ckpt_space_types[m->space->kind].name, e);

	if (n == 0 && m->space->kind == CKPT_SPACE_UTS)
		n = set_names(m->space, e);
	else if (n == 0 && m->space->kind == CKPT_SPACE_IPC)
		n = set_sysctls(m, e);
	return n == 0 && m->space->kind == CKPT_SPACE_IPC ? fill_ipc(m, e) : n;
}

static int make_one(struct making *m, struct err *e)
{
	uint32_t main = ckpt_space_main(&m->r->tree, m->space->kind);
	int owner = -EBADF, own = restore_fd_space(m->r, m->id), n;

	if (m->id == main)
		return adjust(m, e);
	if (m->space->owner != ckpt_space_main(&m->r->tree, CKPT_SPACE_USER))
		owner = restore_fd_space(m->r, m->space->owner);
	if (m->space->kind == CKPT_SPACE_MNT || m->space->kind == CKPT_SPACE_PID)
		return 0; /* restore_mounts(), restore_births.c */
	if (m->space->kind == CKPT_SPACE_TIME && ckpt_clock_holder(&m->r->tree, m->id, NULL))
		return restore_space_take(m->r, m->id, fcntl(m->proc, F_DUPFD_CLOEXEC, 0), e); /* clocks.h */
	if (m->space->kind == CKPT_SPACE_CGROUP)
		return ckpt_within(NULL, 0, make_cgroup, m, e);
	n = ckpt_within(&owner, 1, m->space->kind == CKPT_SPACE_USER ? make_user : make, m, e);
	if (n < 0 || m->space->kind != CKPT_SPACE_IPC)
		return n;
	/* Numbers are chosen there (as.h), by a child that cannot wait for what is beside us. */
	if (m->r->tree.ipc_count)
		rt_alone();
	return ckpt_within(&own, 1, fill_ipc, m, e);
}

int restore_spaces(struct restore *r, struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int group = open("/sys/fs/cgroup", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct making m = { .r = r, .proc = proc, .group = group };
	int n = 0;

	if (!r->tree.space_count)
		return 0;
	/* Its set-up has changed its identity: see member(). */
	if (proc < 0 || group < 0 || prctl(PR_SET_DUMPABLE, 1) < 0)
		return err_sys(e, "open /proc and /sys/fs/cgroup");
	n = ckpt_groups_make(&r->tree, group, e);
	for (size_t i = 0; n == 0 && i < r->tree.space_count; i++) {
		m.id = (uint32_t)i + 1;
		m.space = r->tree.spaces[i];
		n = make_one(&m, e);
	}
	return n == 0 ? fault_point("restore", "spaces", e) : n;
}

static int set_limits(void *arg, struct err *e)
{
	return set_sysctls(arg, e);
}

int restore_user_limits(const struct restore *r, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.space_count; i++) {
		struct making m = { .space = r->tree.spaces[i], .proc = r->proc };
		cleanup_close int user = -EBADF;
		char path[64];

		if (m.space->kind != CKPT_SPACE_USER || !m.space->n_sysctls)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)r->procs[0].task->pid, restore_fd_space(r, (uint32_t)i + 1));
		user = open(path, O_RDONLY | O_CLOEXEC);
		n = user < 0 ? err_sys(e, "open a user namespace") : ckpt_within(&user, 1, set_limits, &m, e);
	}
	return n;
}

int restore_all_mounts(struct restore *r, struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int n;

	if (!r->tree.space_count)
		return 0;
	n = proc < 0 ? err_sys(e, "open /proc") : restore_mounts(r, proc, e);
	return n == 0 ? fault_point("restore", "mounts", e) : n;
}

bool restore_is_elsewhere(const struct restore *r, const struct ckpt_task *k)
{
	const Ckpt__Thread *t = k->threads[0];

	return k->process->cwd_space || k->process->root_space || k->process->root_ghost || !STREQ(k->process->root, "/") ||
	       (t->n_spaces &&
		t->spaces[CKPT_SPACE_MNT] != ckpt_space_main(&r->tree, CKPT_SPACE_MNT));
}

bool restore_goes_late(const struct restoring *p)
{
	return p->place >= 0 && !p->task->process->cwd_ghost && strncmp(p->task->process->cwd, "/proc/", 6) == 0;
}

/* Another root and directory, as they may lie where no path of the task's leads. */
static int open_place(const struct restore *r, const char *path, uint32_t space, int at,
		      struct err *e)
{
	int n = restore_enter(r, space, e), fd;

	if (n < 0)
		return n;
	fd = path_open_no_magic(path, O_PATH | O_DIRECTORY);
	n = fd < 0 ? err_code(e, fd, "open the directory %s", path) : 0;
	if (n == 0 && dup3(fd, at, O_CLOEXEC) < 0)
		n = err_sys(e, "place fd %d", at);
	fd_close(&fd);
	return n == 0 ? restore_enter(r, 0, e) : n;
}

static int open_root(const struct restore *r, const char *path, uint32_t space, uint32_t ghost, int at, struct err *e)
{
	if (!ghost)
		return open_place(r, path, space, at, e);
	return dup3(restore_fd_ghost(r, ghost), at, O_CLOEXEC) < 0 ? err_sys(e, "place fd %d", at) : 0;
}

static int open_own_places(const struct restore *r, const struct restoring *p, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < p->task->thread_count; i++) {
		const Ckpt__ThreadOwn *own = p->task->threads[i]->own;
		int at = restore_fd_place(r, p->own_place[i]);

		if (!own || !own->fs)
			continue;
		n = open_root(r, own->fs->root, own->fs->root_space, own->fs->root_ghost, at, e);
		if (n == 0 && !own->fs->cwd_ghost)
			n = open_place(r, own->fs->cwd, own->fs->cwd_space, at + 1, e);
	}
	return n;
}

int restore_places(const struct restore *r, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++) {
		const struct restoring *p = &r->procs[i];
		const Ckpt__Process *k = p->task->process;

		n = open_own_places(r, p, e);
		if (n < 0 || p->place < 0)
			continue;
		n = open_root(r, k->root, k->root_space, k->root_ghost, restore_fd_place(r, p->place), e);
		/* One that has been deleted is gone to later. */
		if (n == 0 && !k->cwd_ghost && !restore_goes_late(p))
			n = open_place(r, k->cwd, k->cwd_space, restore_fd_place(r, p->place) + 1,
				       e);
	}
	return n;
}

static int enter(const struct ckpt_tree *t, int spaces, uint32_t space, struct err *e)
{
	static const enum ckpt_space_kind kinds[] = { CKPT_SPACE_MNT, CKPT_SPACE_NET };

	if (!t->space_count)
		return 0;
	if (space)
		return setns(spaces + (int)space - 1, 0) < 0 ? err_sys(e, "enter a namespace") : 0;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (setns(spaces + (int)ckpt_space_main(t, kinds[i]) - 1, 0) < 0)
			return err_sys(e, "return to process 1's namespaces");
	return 0;
}

int restore_enter(const struct restore *r, uint32_t space, struct err *e)
{
	return enter(&r->tree, restore_fd_space(r, 1), space, e);
}

int ckpt_opening_enter(const struct ckpt_opening *o, uint32_t space, struct err *e)
{
	return enter(o->tree, o->spaces, space, e);
}

int ckpt_opening_socket(const struct ckpt_opening *o, uint32_t space, int family, int type,
			int protocol, struct err *e)
{
	int fd = space ? ckpt_opening_enter(o, space, e) : 0;

	if (fd < 0)
		return fd;
	fd = socket(family, type | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return err_sys(e, "make a socket of family %d, protocol %d", family, protocol);
	if (space && ckpt_opening_enter(o, 0, e) < 0) {
		close(fd);
		return -EPERM;
	}
	return fd;
}
