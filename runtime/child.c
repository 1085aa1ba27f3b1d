/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The child that becomes the init of a VPS: from clone3 to execve. It starts in the host's namespaces but
 * for those of users and pids, with all capabilities over its own user namespace and none over the host's,
 * and makes the others; it trusts the holder and nobody else.
 */
#include "base/path.h"
#include "base/sock.h"
#include "base/step.h"
#include "runtime/internal.h"
#include "runtime/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define NOTIFY_PATH "/run/host/notify"

static int holder = -EBADF; /* who waits for us; in the child alone */

static int expect(struct rt_child *c, uint32_t type, int *fds, size_t count, struct err *e)
{
	struct rt_msg m;
	size_t nfds;
	int r = rt_msg_recv(c->sync, &m, fds, count, &nfds);

	if (r < 0)
		return err_code(e, r, "wait for the holder");
	if (m.type != type || nfds != count)
		return err_set(e, ERR_FAIL, "unexpected message %u from the holder", m.type);
	return 0;
}

/* clone3 chose the group in the v2 tree; those of v1 hierarchies are entered by hand. */
static int step_cgroups(void *ctx, struct err *e)
{
	struct rt_child *c = ctx;

	return cgroup_entry_enter(c->entry, e);
}

/* The root mount and the volumes arrive, made by the holder with the host's privileges. */
static int step_receive(void *ctx, struct err *e)
{
	struct rt_child *c = ctx;
	int fds[2];
	int r;

	r = expect(c, RT_MSG_ROOT, fds, 2, e);
	if (r < 0)
		return r;
	c->root_fd = fds[0];
	c->dev_fd = fds[1];
	c->volumes = calloc(c->spec->mount_count + 1, sizeof(int));
	if (!c->volumes)
		return err_code(e, -ENOMEM, "receive volumes");
	for (size_t i = 0; i < c->spec->mount_count; i++) {
		r = expect(c, RT_MSG_VOLUME, &c->volumes[i], 1, e);
		if (r < 0)
			return r;
	}
	return expect(c, RT_MSG_SET_UP, NULL, 0, e);
}

/*
 * The network's takes as long to make as all others: meanwhile the holder makes the root. It is not before the
 * ids are mapped, so that what the kernel makes in them belongs to the VPS's root.
 */
static int step_spaces(void *ctx, struct err *e)
{
	struct rt_child *c = ctx;
	int r = expect(c, RT_MSG_MAPPED, NULL, 0, e);

	if (r < 0)
		return r;
	if (!c->host_network && unshare(CLONE_NEWNET) < 0)
		return err_sys(e, "make the network namespace");
	r = rt_msg_send(c->sync, RT_MSG_SPACES, 0, NULL, NULL, 0);
	if (r < 0)
		return err_code(e, r, "tell the holder");
	if (unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0)
		return err_sys(e, "make the VPS's namespaces");
	return 0;
}

/* What lies where only the host's root can go. */
static int step_host(void *ctx, struct err *e)
{
	struct rt_child *c = ctx;
	char init[4096];
	int r;

	/* The cgroup namespace's root is the group one is in, so not before clone3 has put us into
	 * ours and we have entered those of v1 (cgroup_namespaces(7)). */
	if (unshare(CLONE_NEWCGROUP) < 0)
		return err_sys(e, "make the cgroup namespace");
	c->run_dir = open(c->spec->run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (c->run_dir < 0)
		return err_sys(e, "open %s", c->spec->run_dir);
	if (c->spec->boot)
		return 0;
	r = path_program("vps-init", init, sizeof(init));
	if (r < 0)
		return err_code(e, r, "find vps-init");
	c->init_mount = open_tree(AT_FDCWD, init, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (c->init_mount < 0)
		return err_sys(e, "open %s", init);
	return 0;
}

/* From the host's root, which is nobody inside, to the tenant's. */
static int step_identity(void *ctx, struct err *e)
{
	(void)ctx;
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, "become root of the VPS");
	/* See rt_enter(). */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_sys(e, "keep the VPS out of our memory");
	if (setsid() < 0)
		return err_sys(e, "start a session");
	/* The holder's session keyring is the host's. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return err_sys(e, "take a session keyring of its own");
	return 0;
}

/* While the holder makes the root. */
static int step_make(void *ctx, struct err *e)
{
	umask(0022);
	return rt_mounts_make(ctx, e);
}

static int step_root(void *ctx, struct err *e)
{
	struct rt_child *c = ctx;

	if (move_mount(c->root_fd, "", c->run_dir, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "mount the root file system");
	fd_close(&c->run_dir);
	return 0;
}

static int step_mounts(void *ctx, struct err *e)
{
	return rt_mounts_up(ctx, e);
}

static int step_pivot(void *ctx, struct err *e)
{
	return rt_pivot(ctx, e);
}

static int step_hostname(void *ctx, struct err *e)
{
	struct rt_child *c = ctx;
	const char *name = c->spec->hostname;

	if (sethostname(name, strlen(name)) < 0)
		return err_sys(e, "set the host name");
	if (setdomainname("", 0) < 0)
		return err_sys(e, "clear the domain name");
	return 0;
}

static int step_files(void *ctx, struct err *e)
{
	struct rt_child *c = ctx;

	return rt_files_write(c->spec, c->resolv_conf, e);
}

/* In the tenant's /run, which is our tmpfs, bound before anybody else is there. */
static int step_notify(void *ctx, struct err *e)
{
	struct rt_child *c = ctx;
	struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = NOTIFY_PATH };
	cleanup_close int fd = -EBADF;

	if (!c->spec->boot)
		return 0;
	if (mkdir("/run/host", 0755) < 0)
		return err_sys(e, "make /run/host");
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_sys(e, "bind " NOTIFY_PATH);
	/* Open files with a message would be the holder's to close, which may take as long as the tenant likes (SO_LINGER).
	 * Since Linux 6.16; before that they are. */
	setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &(int){ 0 }, sizeof(int));
	c->notify = TAKE_FD(fd);
	return 0;
}

/* When the network is up. */
static int step_sys(void *ctx, struct err *e)
{
	int r = expect(ctx, RT_MSG_GO, NULL, 0, e);

	return r < 0 ? r : rt_mounts_in_sys(ctx, e);
}

static const struct step child_steps[] = {
	{ "cgroups", step_cgroups, NULL },   { "spaces", step_spaces, NULL },
	{ "time", rt_clocks_step, NULL },    { "host", step_host, NULL },
	{ "identity", step_identity, NULL }, { "make", step_make, NULL },
	{ "receive", step_receive, NULL },   { "root", step_root, NULL },
	{ "mounts", step_mounts, NULL },     { "pivot", step_pivot, NULL },
	{ "hostname", step_hostname, NULL }, { "files", step_files, NULL },
	{ "notify", step_notify, NULL },     { "sys", step_sys, NULL },
};
static STEP_TABLE(child_table, "tenant", child_steps);

/* Tells the holder that all is set up. */
static int report_ready(struct rt_child *c, struct err *e)
{
	uint32_t which = 0;
	int fds[2];
	size_t nfds = 0;
	int r;

	if (c->console >= 0) {
		which |= RT_READY_CONSOLE;
		fds[nfds++] = c->console;
	}
	if (c->notify >= 0) {
		which |= RT_READY_NOTIFY;
		fds[nfds++] = c->notify;
	}
	r = rt_msg_send(c->sync, RT_MSG_READY, which, NULL, fds, nfds);
	return r < 0 ? err_code(e, r, "tell the holder") : 0;
}

/* argv and env of what execve runs: init itself, or vps-init with the command behind it. */
static int build_command(struct rt_child *c, int error_fd, struct strv *argv, struct strv *env,
			 struct err *e)
{
	const struct rt_spec *s = c->spec;
	struct rt_user u = { 0 };
	char text[1400];
	size_t at = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->env.count; i++)
		r = rt_env_set(env, s->env.item[i]);
	if (s->boot && r == 0)
		r = rt_env_set(env, "NOTIFY_SOCKET=" NOTIFY_PATH);
	if (!s->boot && r == 0) {
		r = rt_user_find(s->user, &u, e);
		if (r < 0)
			return r;
		snprintf(text, sizeof(text), "HOME=%s", u.home);
		if (!rt_env_get(env, "HOME"))
			r = rt_env_set(env, text);
		strv_add(argv, "/dev/.vps-init");
		strv_add(argv, "-e");
		snprintf(text, sizeof(text), "%d", error_fd);
		strv_add(argv, text);
		strv_add(argv, "-u");
		snprintf(text, sizeof(text), "%u", u.uid);
		strv_add(argv, text);
		strv_add(argv, "-g");
		snprintf(text, sizeof(text), "%u", u.gid);
		strv_add(argv, text);
		for (size_t i = 0; i < u.group_count; i++)
			at += (size_t)snprintf(text + at, sizeof(text) - at, i ? ",%u" : "%u",
					       u.groups[i]);
		if (at) {
			strv_add(argv, "-G");
			strv_add(argv, text);
		}
		strv_add(argv, "-w");
		strv_add(argv, s->cwd[0] ? s->cwd : "/");
		if (s->tty)
			strv_add(argv, "-t");
		strv_add(argv, "--");
	}
	for (size_t i = 0; r == 0 && i < s->argv.count; i++)
		r = strv_add(argv, s->argv.item[i]);
	return r < 0 ? err_code(e, r, "put the command together") : 0;
}

void rt_leave(int fd_take)
{
	if (fd_take >= 0 && holder >= 0)
		rt_msg_send(holder, RT_MSG_LEFT, 0, NULL, &fd_take, 1);
	fd_close(&fd_take);
}

/* The last steps: after this only execve and its failure. */
static int enter_confinement(struct rt_child *c, struct err *e)
{
	int r;

	if (c->console_slave >= 0)
		r = rt_stdio_tty(c->console_slave, false, e);
	else
		r = rt_stdio_take(c->stdio, e);
	if (r < 0)
		return r;
	r = fd_cloexec_from(3);
	if (r < 0)
		return err_code(e, r, "keep fds from init");
	rt_signals_reset();
	r = rt_caps_limit(e);
	if (r < 0)
		return r;
	return rt_seccomp_apply(c->spec->features, e);
}

/* Changing the identity has cleared it (prctl(2)). A holder that died before has closed its end. */
static int tie_to_holder(const struct rt_child *c, struct err *e)
{
	char any;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_sys(e, "tie the VPS to its holder");
	if (recv(c->sync, &any, sizeof(any), MSG_PEEK | MSG_DONTWAIT) >= 0)
		return err_set(e, ERR_FAIL, "the VPS's holder is gone");
	return 0;
}

_Noreturn void rt_child_main(struct rt_vps *v, const struct cgroup_entry *entry, int sync)
{
	struct rt_child c = {
		.spec = v->spec, .stdio = &v->stdio, .resolv_conf = v->resolv_conf, .sync = sync,
		.entry = entry, .host_network = rt_network_is_host(&v->network), .restore = v->restore,
		.run_dir = -EBADF, .root_fd = -EBADF, .dev_fd = -EBADF, .init_mount = -EBADF, .empty = -EBADF,
		.console = -EBADF, .console_slave = -EBADF, .notify = -EBADF,
	};
	struct strv argv = { 0 }, env = { 0 };
	int error_fd = -EBADF;
	struct err e;
	int r;

	/* A VPS without its holder could be neither watched nor stopped. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	holder = sync;
	for (size_t i = 0; i < RT_FS_COUNT; i++)
		c.fs[i] = -EBADF;
	r = steps_up(&child_table, &c, &e);
	if (r == 0 && !c.spec->boot) {
		/* vps-init says here why the command could not be started. */
		error_fd = fcntl(sync, F_DUPFD, 64);
		if (error_fd < 0)
			r = err_sys(&e, "keep the error channel");
	}
	if (r == 0)
		r = build_command(&c, error_fd, &argv, &env, &e);
	if (r == 0)
		r = report_ready(&c, &e);
	if (r == 0 && c.restore)
		r = c.restore->open(c.restore->arg, &e);
	if (r == 0)
		r = enter_confinement(&c, &e);
	if (r == 0 && error_fd >= 0)
		fd_set_cloexec(error_fd, false);
	rt_alone();
	if (r == 0)
		r = tie_to_holder(&c, &e);
	if (r == 0)
		r = fault_point("tenant", "exec", &e);
	if (r == 0 && c.restore)
		c.restore->stay(c.restore->arg);
	else if (r == 0)
		rt_execve(&argv, &env, &e);
	rt_msg_send(sync, RT_MSG_ERROR, 0, &e, NULL, 0);
	_exit(1);
}
