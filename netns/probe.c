/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/fd.h"
#include "base/macro.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>

/* Tries things instead of asking for versions and modules: in a child with namespaces of its own,
 * so that the host is as before whatever happens. */

static int own_netns(struct err *e)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(e, "make a network namespace");
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open /proc/thread-self/ns/net") : fd;
}

static int try_vps(const struct netns_host *h, int tenant, const char *net, struct err *e)
{
	struct netns_if nif;
	struct netns_vps v = { .name = "probe", .uuid = "probe", .ifs = &nif, .if_count = 1 };
	int r = netns_if_parse(net, &nif, e);

	if (r == 0)
		r = netns_vps_check(h, &v, e);
	return r < 0 ? r : netns_vps_up(h, &v, tenant, e);
}

static int try_it(enum netns_probe what, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	struct netns_host h;
	int tenant, r;

	tenant = own_netns(e);
	if (tenant < 0)
		return tenant;
	r = own_netns(e);
	if (r >= 0)
		r = netns_host_init(&h, "probe", "192.0.2.0/24",
				    netns_has_ipv6() ? NULL : "none", e);
	if (r >= 0)
		r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);
	if (r < 0)
		return r;
	switch (what) {
	case NETNS_PROBE_BRIDGE:
		return netns_bridge_up(&h, &n, e);
	case NETNS_PROBE_RULES:
		return netns_rules_replace(&h, NULL, 0, e);
	case NETNS_PROBE_SHAPING:
		r = netns_host_up(&h, NULL, 0, e);
		return r < 0 ? r : try_vps(&h, tenant, "ip=192.0.2.2/24,rate=1M", e);
	case NETNS_PROBE_MACVLAN:
		r = netns_bridge_up(&h, &n, e); /* any link will do for a parent */
		return r < 0 ? r :
			       try_vps(&h, tenant, "mode=macvlan,parent=probe-br,ip=192.0.2.3/24",
				       e);
	}
	return 0;
}

int netns_probe(enum netns_probe what, struct err *e)
{
	cleanup_close int from = -EBADF, to = -EBADF;
	struct err got = { 0 };
	int ends[2], status;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	from = ends[0];
	to = ends[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		int r = try_it(what, &got);

		if (r < 0)
			fd_write_full(to, &got, sizeof(got)); /* less than PIPE_BUF */
		_exit(r < 0);
	}
	fd_close(&to);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "wait for a child");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (fd_read_full(from, &got, sizeof(got)) != (ssize_t)sizeof(got))
		return err_set(e, ERR_FAIL, "the trial ended early");
	*e = got;
	return err_errno((enum err_status)e->code);
}
