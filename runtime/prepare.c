/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A VPS' groups. They take as long to make as its spec takes to be put together, on hybrid hosts with a
 * hierarchy for each controller, and need no more than its name: so they may be made before the spec is there.
 */
#include "runtime/internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

/* What rt_look_ahead() has read, as long as nothing is mounted or unmounted. */
static struct {
	struct cgroup_host host;
	int mounts; /* mountinfo, open since before that; -EBADF: nothing was read */
} seen = { .mounts = -EBADF };

static int read_host(struct cgroup_host *host, struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return proc < 0 ? err_sys(e, "open /proc") : cgroup_host_read(host, proc, e);
}

void rt_look_ahead(void)
{
	struct err ignored;

	fd_close(&seen.mounts);
	seen.mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (seen.mounts >= 0 && read_host(&seen.host, &ignored) < 0)
		fd_close(&seen.mounts);
}

/* A change since it was opened is told once (proc_pid_mountinfo(5)). */
static bool is_as_seen(void)
{
	struct pollfd p = { .fd = seen.mounts, .events = POLLPRI };

	if (seen.mounts < 0)
		return false;
	if (poll(&p, 1, 0) != 0)
		fd_close(&seen.mounts);
	return seen.mounts >= 0;
}

struct rt_vps *rt_vps_new(const char *name, const char *cgroup_parent, struct err *e)
{
	struct rt_vps *v = calloc(1, sizeof(*v));

	if (!v) {
		err_code(e, -ENOMEM, "start %s", name);
		return NULL;
	}
	*v = (struct rt_vps){
		.stdio = { { -EBADF, -EBADF, -EBADF } },
		.cgroup_fd = -EBADF, .sync = -EBADF, .pidfd = -EBADF, .userns_fd = -EBADF,
		.root_fd = -EBADF, .dev_fd = -EBADF, .late_fd = -EBADF, .console = -EBADF, .notify = -EBADF,
		.kept = -EBADF, .birth.ours = -EBADF,
	};
	if (rt_cgroup_of(&v->cgroup_host, &v->cgroup, name, cgroup_parent, e) == 0)
		return v;
	free(v);
	return NULL;
}

int rt_cgroup_of(struct cgroup_host *host, struct cgroup *c, const char *name, const char *parent, struct err *e)
{
	int r = 0;

	if (is_as_seen())
		*host = seen.host;
	else
		r = read_host(host, e);
	if (r < 0)
		return r;
	c->host = host;
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->parent, sizeof(c->parent), "%s", parent);
	return 0;
}

int rt_groups_up(struct rt_vps *v, struct err *e)
{
	int r = cgroup_create(&v->cgroup, 0, 0, e);

	if (r < 0)
		return r;
	v->cgroup_fd = cgroup_open(&v->cgroup, e);
	r = v->cgroup_fd < 0 ? v->cgroup_fd : rt_birth_begin(v, &v->birth, e);
	if (r < 0) {
		struct err ignored;

		fd_close(&v->cgroup_fd);
		cgroup_remove(&v->cgroup, &ignored);
	}
	return r;
}

int rt_groups_down(struct rt_vps *v, struct err *e)
{
	if (v->birth.ours >= 0) /* it was never born */
		close(rt_birth_end(&v->birth));
	v->birth.ours = -EBADF;
	fd_close(&v->cgroup_fd);
	return cgroup_remove(&v->cgroup, e);
}

struct rt_vps *rt_prepare(const char *name, const char *cgroup_parent, struct err *e)
{
	struct rt_vps *v = rt_vps_new(name, cgroup_parent, e);

	if (!v || rt_groups_up(v, e) == 0)
		return v;
	free(v);
	return NULL;
}

int rt_prepare_undo(struct rt_vps *v, struct err *e)
{
	int r = v ? rt_groups_down(v, e) : 0;

	free(v);
	return r;
}
