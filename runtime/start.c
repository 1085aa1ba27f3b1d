/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The start of a VPS, seen from its holder: a table of steps, each undone when a later one fails.
 * The other half is child.c.
 */
#include "base/proc.h"
#include "base/step.h"
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define END_TIMEOUT_US 30000000 /* for processes that were sent SIGKILL to go */

/* They may be there already: rt_prepare(). Whose they are is known now. */
static int step_cgroup(void *ctx, struct err *e)
{
	struct rt_vps *v = ctx;
	uid_t root = v->spec->root.id_base;
	struct err ignored;
	int r = v->cgroup_fd >= 0 ? 0 : rt_groups_up(v, e);

	if (r < 0)
		return r;
	r = cgroup_delegate(&v->cgroup, root, root, e);
	if (r < 0)
		rt_groups_down(v, &ignored);
	return r;
}

static void undo_cgroup(void *ctx)
{
	struct err ignored;

	rt_groups_down(ctx, &ignored);
}

static int write_id_map(pid_t pid, const char *file, const struct storage_root *r, struct err *e)
{
	char path[64], text[64];
	int n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	snprintf(text, sizeof(text), "0 %u %u\n", r->id_base, r->id_count);
	n = fd_write_file_at(AT_FDCWD, path, text);
	return n < 0 ? err_code(e, n, "map the VPS's ids") : 0;
}

/* Kills everything in the VPS and waits until it is gone; init is reaped. */
static void end_processes(struct rt_vps *v)
{
	struct err ignored;
	siginfo_t info;

	if (v->pidfd < 0)
		return;
	cgroup_kill(&v->cgroup, &ignored);
	pidfd_signal(v->pidfd, SIGKILL);
	while (!v->reaped && waitid(P_PIDFD, (id_t)v->pidfd, &info, WEXITED) < 0)
		if (errno != EINTR)
			break;
	v->reaped = true;
	cgroup_wait_empty(&v->cgroup, END_TIMEOUT_US, &ignored);
}

static void undo_process(void *ctx)
{
	struct rt_vps *v = ctx;

	fd_close(&v->sync);
	end_processes(v);
	fd_close(&v->pidfd);
	fd_close(&v->userns_fd);
}

static int clone_child(struct rt_vps *v, struct err *e)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_INTO_CGROUP | CLONE_NEWUSER | CLONE_NEWPID,
		.pidfd = (uint64_t)(uintptr_t)&v->pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)v->cgroup_fd,
	};
	pid_t pid = rt_birth_clone(&v->birth, &args);

	if (pid == 0)
		rt_child_main(v, &v->birth.entry, v->birth.theirs);
	v->sync = rt_birth_end(&v->birth);
	v->birth.ours = -EBADF;
	if (pid < 0) {
		fd_close(&v->sync);
		err_code(e, pid, "make the VPS's namespaces");
		return err_hint(e, "vps doctor says what this kernel lacks");
	}
	v->pid = pid;
	v->reaped = false;
	return 0;
}

static int step_process(void *ctx, struct err *e)
{
	struct rt_vps *v = ctx;
	char path[64];
	int r;

	r = clone_child(v, e);
	if (r < 0)
		return r;
	r = write_id_map(v->pid, "uid_map", &v->spec->root, e);
	if (r == 0)
		r = write_id_map(v->pid, "gid_map", &v->spec->root, e);
	if (r == 0)
		r = rt_rlimits_apply(&v->spec->rlimits, v->pid, e);
	if (r == 0) {
		snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)v->pid);
		v->userns_fd = open(path, O_RDONLY | O_CLOEXEC);
		if (v->userns_fd < 0)
			r = err_sys(e, "open the VPS's user namespace");
	}
	if (r == 0) {
		/* A child that gave up has said why before it closed. */
		r = rt_msg_send(v->sync, RT_MSG_MAPPED, 0, NULL, NULL, 0);
		r = r < 0 && r != -EPIPE && r != -ECONNRESET ? err_code(e, r, "go on with the start") : 0;
	}
	if (r < 0) {
		rt_blame(v, r, e);
		undo_process(v);
	}
	return r;
}

static int step_rootfs(void *ctx, struct err *e)
{
	struct rt_vps *v = ctx;
	const struct storage_backend *b = storage_backend_find(v->spec->root.backend, e);

	if (!b)
		return -EINVAL;
	v->root_fd = b->mount(&v->spec->root, v->userns_fd, &v->late_fd, e);
	if (v->root_fd < 0)
		return v->root_fd;
	v->dev_fd = rt_devices_mount(v->spec, e);
	if (v->dev_fd < 0) {
		fd_close(&v->root_fd);
		fd_close(&v->late_fd);
		return v->dev_fd;
	}
	return 0;
}

/* The processes, which had it mounted, are gone. */
static void undo_rootfs(void *ctx)
{
	struct rt_vps *v = ctx;
	struct err ignored;
	const struct storage_backend *b = storage_backend_find(v->spec->root.backend, &ignored);

	fd_close(&v->root_fd);
	fd_close(&v->dev_fd);
	fd_close(&v->late_fd);
	if (b && b->ended)
		b->ended(&v->spec->root);
}

/* A directory or file of the host as a detached mount on which the tenant's ids stand for the same
 * ids outside: root inside writes as the host's root. Where the file system cannot map ids the
 * tenant meets it as nobody. */
static int open_volume(const struct rt_vps *v, const struct rt_mount *m, struct err *e)
{
	cleanup_close int fd = open_tree(AT_FDCWD, m->host, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			    (m->read_only ? MOUNT_ATTR_RDONLY : 0),
		.propagation = MS_PRIVATE,
	};
	struct mount_attr map = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)v->userns_fd };

	if (fd < 0)
		return err_sys(e, "mount %s on %s", m->host, m->guest);
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_sys(e, "prepare %s", m->host);
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &map, sizeof(map)) < 0 && errno != EINVAL &&
	    errno != EPERM)
		return err_sys(e, "map the ids of %s", m->host);
	return TAKE_FD(fd);
}

static int step_volumes(void *ctx, struct err *e)
{
	struct rt_vps *v = ctx;
	int fds[2] = { v->root_fd, v->dev_fd };
	int r;

	r = rt_msg_send(v->sync, RT_MSG_ROOT, 0, NULL, fds, 2);
	for (size_t i = 0; r == 0 && i < v->spec->mount_count; i++) {
		cleanup_close int fd = open_volume(v, &v->spec->mounts[i], e);

		if (fd < 0)
			return fd;
		r = rt_msg_send(v->sync, RT_MSG_VOLUME, (uint32_t)i, NULL, &fd, 1);
	}
	if (r == 0)
		r = rt_msg_send(v->sync, RT_MSG_SET_UP, 0, NULL, NULL, 0);
	/* A child that gave up has said why before it closed. */
	return r < 0 && r != -EPIPE && r != -ECONNRESET ? err_code(e, r, "send the mounts") : 0;
}

/* The network is the last that the child may have to wait for: when it is ready it need not ask and sleep. */
static int step_go(void *ctx, struct err *e)
{
	struct rt_vps *v = ctx;
	int r = rt_msg_send(v->sync, RT_MSG_GO, 0, NULL, NULL, 0);

	fd_close(&v->late_fd); /* while it works */
	/* A child that gave up has said why before it closed. */
	return r < 0 && r != -EPIPE && r != -ECONNRESET ? err_code(e, r, "let init run") : 0;
}

static int step_tenant(void *ctx, struct err *e)
{
	struct rt_vps *v = ctx;
	struct rt_msg m;
	size_t nfds, at = 0;
	int fds[2], r;

	r = rt_hear(v, RT_MSG_READY, &m, fds, &nfds, e);
	if (r < 0)
		return r;
	if ((m.value & RT_READY_CONSOLE) && at < nfds)
		v->console = fds[at++];
	if ((m.value & RT_READY_NOTIFY) && at < nfds)
		v->notify = fds[at++];
	while (at < nfds)
		close(fds[at++]);
	return 0;
}

static void undo_tenant(void *ctx)
{
	struct rt_vps *v = ctx;

	end_processes(v);
	fd_close(&v->console);
	fd_close(&v->notify);
}

static int step_exec(void *ctx, struct err *e)
{
	struct rt_vps *v = ctx;
	struct rt_msg m;
	size_t nfds;
	int fds[2], r;

	r = rt_hear(v, RT_MSG_GO, &m, fds, &nfds, e);
	fd_close(&v->sync);
	fd_close(&v->root_fd); /* the mounts live in the tenant's mount namespace now */
	fd_close(&v->dev_fd);
	return r;
}

static int step_limits(void *ctx, struct err *e)
{
	return rt_limits_up(ctx, e);
}

/* The kernel takes its time to check and to compile the rules: while the child makes its namespaces. */
static int step_devices(void *ctx, struct err *e)
{
	return rt_devices_allow(ctx, e);
}

static const struct step start_steps[] = {
	{ "cgroup", step_cgroup, undo_cgroup },
	{ "limits", step_limits, NULL },
	{ "process", step_process, undo_process },
	{ "rootfs", step_rootfs, undo_rootfs },
	{ "volumes", step_volumes, NULL },
	{ "devices", step_devices, NULL },
	{ "network", rt_network_up, rt_network_down },
	{ "go", step_go, NULL },
	{ "tenant", step_tenant, undo_tenant },
	{ "exec", step_exec, NULL },
};
static STEP_TABLE(start_table, "start", start_steps);

static void vps_free(struct rt_vps *v)
{
	rt_network_done(&v->network);
	free(v->resolv_conf);
	free(v);
}

/* What the steps work with, from the spec. */
static int vps_read(struct rt_vps *v, struct err *e)
{
	int r = rt_spec_network(v->spec, &v->network, e);

	if (r < 0)
		return r;
	/* Nothing may reach it before it can answer: else connections are reset. */
	v->network.vps.held = v->restore != NULL;
	v->network.vps.arriving = v->restore && v->spec->arriving; /* not when it starts anew later */
	v->resolv_conf = rt_resolv_conf(v->spec);
	return v->resolv_conf ? 0 : err_code(e, -ENOMEM, "start %s", v->spec->name);
}

/* Takes v over. */
static int start_this(struct rt_vps *v, const struct rt_spec *spec, const struct rt_stdio *stdio,
		      const struct rt_restore *how, struct rt_vps **ret, struct err *e)
{
	struct err ignored;
	int r;

	v->spec = spec;
	v->restore = how;
	if (stdio)
		v->stdio = *stdio;
	/* Our memory is copied into the child, which the tenant must not look into. */
	prctl(PR_SET_DUMPABLE, 0);
	r = vps_read(v, e);
	if (r == 0)
		r = steps_up(&start_table, v, e);
	if (r == 0) {
		*ret = v;
		return 0;
	}
	if (v->cgroup_fd >= 0) /* no step has come as far as to take them */
		rt_groups_down(v, &ignored);
	vps_free(v);
	return r;
}

int rt_start(const struct rt_spec *spec, const struct rt_stdio *stdio, struct rt_vps *prepared,
	     struct rt_vps **ret, struct err *e)
{
	return rt_start_restore(spec, stdio, prepared, NULL, ret, e);
}

int rt_start_restore(const struct rt_spec *spec, const struct rt_stdio *stdio, struct rt_vps *prepared,
		     const struct rt_restore *how, struct rt_vps **ret, struct err *e)
{
	struct rt_vps *v = prepared ? prepared : rt_vps_new(spec->name, spec->cgroup_parent, e);

	return v ? start_this(v, spec, stdio, how, ret, e) : err_errno((enum err_status)e->code);
}

void rt_finish(struct rt_vps *v)
{
	if (!v)
		return;
	rt_leave_pidns(v); /* its own is at its end, and nobody is born there */
	steps_down(&start_table, v);
	rt_outside_done(v);
	vps_free(v);
}

int rt_cleanup(const char *name, const char *cgroup_parent, const char *run_dir, struct err *e)
{
	struct cgroup_host host;
	struct cgroup c;
	int r;

	(void)run_dir;
	r = rt_cgroup_of(&host, &c, name, cgroup_parent, e);
	if (r == 0)
		r = cgroup_kill(&c, e);
	if (r == 0)
		r = cgroup_wait_empty(&c, END_TIMEOUT_US, e);
	if (r == 0)
		r = cgroup_remove(&c, e);
	return r;
}
