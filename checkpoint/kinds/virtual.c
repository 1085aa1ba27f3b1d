/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Files of /proc, /sys and control groups: they show what is there when they are opened, so they are
 * opened when everything is. Those of a process that has ended are opened for one of its number that
 * ends too. Of a trigger of pressure (the kernel's accounting/psi.rst) nothing tells but that the file
 * takes no second one: it gets the threshold that systemd's library asks for.
 */
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/spaces.h"
#include "checkpoint/standin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define KEEP (O_ACCMODE | O_APPEND | O_DIRECTORY | O_NONBLOCK | O_PATH)
#define DELETED " (deleted)"
#define TRIGGER "some 200000 2000000" /* microseconds: of stalls, in each so long */

enum {
	ENDED = 1, /* of a process that has ended, though there may be another of that number */
	TRIGGERS,  /* a file of pressure with a trigger */
};

static bool is(const struct ckpt_fd *f)
{
	struct statfs s;

	if (f->link[0] != '/' || fstatfs(f->own, &s) < 0)
		return false;
	return s.f_type == PROC_SUPER_MAGIC || s.f_type == SYSFS_MAGIC || s.f_type == CGROUP2_SUPER_MAGIC ||
	       s.f_type == CGROUP_SUPER_MAGIC;
}

static int refuse(struct err *e, const struct ckpt_fd *f, const char *why)
{
	return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is %s, %s", f->fd, (int)f->pid, f->link, why);
}

/* Whose rights count is who opened it: it would be root's afterwards. */
static bool is_id_map(const char *path)
{
	const char *name = strrchr(path, '/');

	return STREQ(name, "/uid_map") || STREQ(name, "/gid_map") || STREQ(name, "/projid_map") ||
	       STREQ(name, "/setgroups");
}

/* The process that a path in /proc speaks of; 0: none. */
static pid_t subject(const char *path)
{
	int pid, end = 0;

	return sscanf(path, "/proc/%d%n", &pid, &end) == 1 && (path[end] == '/' || !path[end]) ? pid : 0;
}

/* Threads come after what is opened late. */
static bool is_of_thread(const char *path)
{
	int pid, tid;

	return sscanf(path, "/proc/%d/task/%d", &pid, &tid) == 2 && pid != tid;
}

static bool is_pressure(const char *path)
{
	const char *dot = strrchr(path, '.');

	return strncmp(path, "/proc/pressure/", strlen("/proc/pressure/")) == 0 || (dot && STREQ(dot, ".pressure"));
}

/* What is written is none, so that it is refused as such where there is no trigger yet. */
static bool has_trigger(const struct ckpt_fd *f)
{
	return (f->flags & O_ACCMODE) != O_RDONLY && is_pressure(f->link) && write(f->own, "?", 1) < 0 && errno == EBUSY;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	size_t len = strlen(f->link), tail = strlen(DELETED);
	cleanup_close int fd = -EBADF;
	uint64_t mount;
	struct stat st;
	char proc[64];
	int r;

	snprintf(proc, sizeof(proc), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	r = ckpt_mount_space(d, proc, f->link, &mount, &out->space, e);
	if (r < 0)
		return r;
	fd = path_open_in_root(ckpt_space_root(d, out->space), f->link, O_PATH | O_NOFOLLOW, 0);
	if ((f->flags & O_ACCMODE) != O_RDONLY && is_id_map(f->link))
		return refuse(e, f, "which cannot be saved while it is open for writing");
	if (is_of_thread(f->link))
		return refuse(e, f, "of a thread, which cannot be saved yet");
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == f->st.st_dev && st.st_ino == f->st.st_ino) {
		out->value = has_trigger(f) ? TRIGGERS : 0;
		return 0;
	}
	if (subject(f->link) <= 1)
		return refuse(e, f, "which is hidden or gone, and cannot be saved");
	if (len > tail && STREQ(f->link + len - tail, DELETED))
		out->path[len - tail] = '\0';
	out->value = ENDED;
	return 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	struct standin_process p;
	int fd, r;

	(void)o;
	if (f->value != ENDED)
		return CKPT_LATE;
	r = standin_begin(&p, subject(f->path), e);
	if (r < 0)
		return r;
	fd = open(f->path, (int)(f->flags & KEEP) | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		err_sys(e, "open %s, of a process that has ended,", f->path);
	standin_end(&p, 0);
	return fd;
}

static int late(struct ckpt_late *q, const Ckpt__File *f, struct err *e)
{
	const char *name = strrchr(f->path, '/');
	int r = ckpt_late_room(q, 12, strlen(f->path) + sizeof(TRIGGER) + 64);

	if (!name)
		return err_set(e, ERR_FAIL, "the image is damaged: %s", f->path);
	if (r < 0 || f->value == ENDED)
		return r;
	ckpt_late_enter(q, f->space);
	ckpt_late_call(q, f->path, SYS_openat, (uint64_t)AT_FDCWD, ckpt_late_put(q, f->path, strlen(f->path) + 1),
		       (f->flags & KEEP) | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0);
	ckpt_late_opened(q, f->path);
	ckpt_late_enter(q, 0);
	if (f->value == TRIGGERS && is_pressure(f->path))
		ckpt_late_call(q, "set a trigger of pressure", SYS_write, ckpt_late_fd(q),
			       ckpt_late_put(q, TRIGGER, sizeof(TRIGGER)), sizeof(TRIGGER), 0);
	if (f->pos && !(f->flags & O_PATH)) /* as far as it goes: the contents are others */
		ckpt_late_call(q, NULL, SYS_lseek, ckpt_late_fd(q), f->pos, SEEK_SET, 0);
	if (subject(f->path) && (STREQ(name, "/mountinfo") || STREQ(name, "/mounts") || STREQ(name, "/mountstats")))
		ckpt_late_mounts(q);
	return 0;
}

const struct ckpt_kind ckpt_kind_virtual = { "virtual", is, dump, open_again, false, .late = late };
