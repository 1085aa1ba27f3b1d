/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "storage/root.h"
#include "storage/template.h"
#include "supervisor/jobs.h"
#include "supervisor/worker_files.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>

/*
 * Push and pull. The worker takes the tenant's place in the user namespace alone: the kernel then
 * lets it do what the tenant's root may, and owners translate themselves. It stays in the host's
 * mount namespace with the host's root, so that nothing of the tenant's (a library, a locale module)
 * can be loaded into it; the tree is reached through one fd.
 */

/* Not the tenant's namespace but one with the same ids: the VPS does not run. */
static int open_stopped(json_t *job, int *ret_userns, struct err *e)
{
	const struct storage_backend *b = storage_backend_find(job_text(job, "backend"), e);
	const char *lib = job_text(job, "lib");
	struct storage_root root = { .id_count = 65536 };
	struct storage_template t;

	if (!b || storage_template_find(lib, job_text(job, "template"), job_text(job, "digest"), &t,
					e) < 0)
		return -ENOENT;
	root.id_base = (uint32_t)json_integer_value(json_object_get(job, "id_base"));
	snprintf(root.backend, sizeof(root.backend), "%s", b->name);
	snprintf(root.dir, sizeof(root.dir), "%.255s/vps/%.63s/root", lib, job_text(job, "name"));
	storage_template_rootfs(lib, &t, root.lower, sizeof(root.lower));
	*ret_userns = storage_userns(root.id_base, root.id_count, e);
	return *ret_userns < 0 ? *ret_userns : b->mount(&root, *ret_userns, NULL, e);
}

static int open_running(json_t *job, int *ret_userns, struct err *e)
{
	pid_t pid = (pid_t)json_integer_value(json_object_get(job, "pid"));
	uint64_t start = (uint64_t)json_integer_value(json_object_get(job, "start"));
	cleanup_close int pidfd = proc_open(pid, start), root = -EBADF;
	char path[64];

	if (pidfd < 0)
		return err_set(e, ERR_STATE, "it has stopped");
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, "open %s", path);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	*ret_userns = open(path, O_RDONLY | O_CLOEXEC);
	if (*ret_userns < 0)
		return err_sys(e, "open %s", path);
	/* The pid was the VPS's init all the while: a pidfd tells of its end only. */
	if (pidfd_signal(pidfd, 0) < 0)
		return err_set(e, ERR_STATE, "it has stopped");
	return TAKE_FD(root);
}

/* The tree's root; the process is the tenant's root from here on. */
static int enter(json_t *job, struct err *e)
{
	cleanup_close int userns = -EBADF, root = -EBADF;

	if (json_object_get(job, "pid"))
		root = open_running(job, &userns, e);
	else
		root = open_stopped(job, &userns, e);
	if (root < 0)
		return root;
	if (setns(userns, CLONE_NEWUSER) < 0)
		return err_sys(e, "enter the user namespace");
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, "become the VPS's root");
	return TAKE_FD(root);
}

static int run(json_t *job, json_t **ret, struct err *e,
	       int (*op)(int root, const char *path, int fd, uint64_t *ret_bytes, struct err *e))
{
	cleanup_close int root = enter(job, e);
	uint64_t bytes = 0;
	int r;

	if (root < 0)
		return root;
	r = op(root, job_text(job, "path"), WORKER_FD_FIRST, &bytes, e);
	if (r == 0)
		*ret = json_pack("{s:I}", "bytes", (json_int_t)bytes);
	return r;
}

int worker_push(json_t *job, json_t **ret, struct err *e)
{
	return run(job, ret, e, files_unpack);
}

int worker_pull(json_t *job, json_t **ret, struct err *e)
{
	return run(job, ret, e, files_pack);
}
