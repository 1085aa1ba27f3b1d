/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/move.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"

#include <fcntl.h>

int mig_source_open(struct mig_source *s, const char *run_dir, pid_t init, uint64_t start,
		    struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *text = NULL;
	char path[600];
	size_t len;
	int r;

	*s = (struct mig_source){ .init = init, .pidfd = -EBADF };
	snprintf(path, sizeof(path), "%s/spec", run_dir);
	r = fd_read_file_at(AT_FDCWD, path, RT_SPEC_MAX, &text, &len);
	if (r < 0)
		return err_code(e, r, "read %s", path);
	r = rt_spec_parse(&s->spec, text, len, e);
	if (r == 0)
		r = rt_spec_network(&s->spec, &s->network, e);
	if (r == 0)
		r = proc < 0 ? err_sys(e, "open /proc") : cgroup_host_read(&s->host, proc, e);
	if (r < 0)
		return r;
	s->cgroup.host = &s->host;
	snprintf(s->cgroup.parent, sizeof(s->cgroup.parent), "%s", s->spec.cgroup_parent);
	snprintf(s->cgroup.name, sizeof(s->cgroup.name), "%s", s->spec.name);
	s->pidfd = proc_open(init, start);
	return s->pidfd < 0 ? err_set(e, ERR_STATE, "it has stopped") : 0;
}

void mig_source_done(struct mig_source *s)
{
	fd_close(&s->pidfd);
	rt_network_done(&s->network);
	rt_spec_done(&s->spec);
}
