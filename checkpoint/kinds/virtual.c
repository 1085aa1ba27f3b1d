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
#include "checkpoint/opener.h"
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

/* The process that a path in /proc speaks of, and what of it; 0: none. */
static pid_t subject(const char *path, const char **ret_rest)
{
	int pid, end = 0;

	if (sscanf(path, "/proc/%d%n", &pid, &end) != 1 || (path[end] != '/' && path[end]))
		return 0;
	if (ret_rest)
		*ret_rest = path + end;
	return pid;
}

/* As a process in its place has it: of an ended thread, one that has the thread's number, whose directory looks the
 * same. Wherever /proc was mounted that it was opened in: nobody can find it there any more. */
static char *path_of_ended(struct ckpt_dump *d, const struct ckpt_fd *f)
{
	size_t len = strlen(f->link), tail = strlen(DELETED);
	const char *at = f->link, *task;
	char path[4096 + 32];
	int pid, tid;

	if (len > tail && STREQ(f->link + len - tail, DELETED))
		len -= tail;
	while ((at = strchr(at, '/')) && (at[1] < '1' || at[1] > '9'))
		at++;
	if (!at || sscanf(at, "/%d", &pid) != 1)
		return NULL;
	len -= (size_t)(at - f->link);
	task = strstr(at, "/task/");
	if (task && sscanf(task, "/task/%d", &tid) == 1 && tid != pid)
		snprintf(path, sizeof(path), "/proc/%d%.*s", tid, (int)(len - (size_t)(task - at)), task);
	else
		snprintf(path, sizeof(path), "/proc%.*s", (int)len, at);
	return ckpt_strdup(ckpt_dump_arena(d), path);
}

static bool is_pressure(const char *path)
{
	const char *dot = strrchr(path, '.');

	return strncmp(path, "/proc/pressure/", strlen("/proc/pressure/")) == 0 || (dot && STREQ(dot, ".pressure"));
}

/* What is written is none, so that it is refused as such where there is no trigger yet. */
static bool has_trigger(const struct ckpt_fd *f)
{
	return (f->flags & O_ACCMODE) != O_RDONLY && is_pressure(f->link) && write(f->own, "?", 1) < 0 &&
	       errno == EBUSY;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	cleanup_close int fd = -EBADF;
	struct statfs s;
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
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == f->st.st_dev && st.st_ino == f->st.st_ino) {
		out->value = has_trigger(f) ? CKPT_VIRTUAL_TRIGGERS : CKPT_VIRTUAL_PLAIN;
		return ckpt_opener_collect(d, f, out, e);
	}
	out->path = fstatfs(f->own, &s) == 0 && s.f_type == PROC_SUPER_MAGIC ? path_of_ended(d, f) : NULL;
	if (!out->path)
		return refuse(e, f, "which is hidden or gone, and cannot be saved");
	out->space = 0;
	out->value = CKPT_VIRTUAL_ENDED;
	return 0;
}

/* What a process in its place does not have (an fd, a thread) tells as little as any other file of it. */
static int open_ended(const struct standin_process *p, const char *rest, unsigned flags)
{
	char path[4096 + 32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d%s", (int)p->pid, rest);
	fd = path_open_no_magic(path, (int)(flags & KEEP) | O_NOCTTY | O_NOFOLLOW);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/%d%s", (int)p->pid, flags & O_DIRECTORY ? "" : "/oom_score_adj");
	return open(path, (int)(flags & KEEP) | O_CLOEXEC | O_NOCTTY);
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	struct standin_process p;
	const char *rest = "";
	pid_t number = subject(f->path, &rest);
	int fd, r;

	(void)o;
	if (f->value != CKPT_VIRTUAL_ENDED)
		return CKPT_LATE;
	/* There may be another of that number by now. */
	r = standin_begin(&p, number, e);
	if (r == -EEXIST)
		r = standin_begin(&p, 0, e);
	if (r < 0)
		return r;
	fd = open_ended(&p, rest, f->flags);
	if (fd < 0)
		err_sys(e, "open %s, of a process that has ended,", f->path);
	standin_end(&p, 0);
	return fd;
}

/* The fd that such a file tells of must be there when it is opened; nobody has any yet, and those of nearly all
 * processes are the first one's. 0: none, or one that is there. */
static unsigned fd_of_info(const char *path)
{
	const char *at = strstr(path, "/fdinfo/");
	unsigned fd = 0;

	return at && sscanf(at, "/fdinfo/%u", &fd) == 1 && fd > 2 ? fd : 0;
}

/* The next fd is 3, where ckpt_late_opened() takes it from. */
static void open_late(struct ckpt_late *q, const Ckpt__File *f)
{
	unsigned told = fd_of_info(f->path);

	if (told)
		ckpt_late_call(q, "have an fd to tell of", SYS_dup3, 0, told, O_CLOEXEC, 0);
	ckpt_late_open(q, f->path, ckpt_late_put(q, f->path, strlen(f->path) + 1),
		       (int)(f->flags & KEEP) | O_NOCTTY | O_NOFOLLOW);
	if (told == 3) {
		ckpt_late_call(q, f->path, SYS_dup3, 4, 3, O_CLOEXEC, 0);
		told = 4;
	}
	ckpt_late_opened(q, f->path);
	if (told)
		ckpt_late_call(q, NULL, SYS_close, told, 0, 0, 0);
}

static int late(struct ckpt_late *q, const Ckpt__File *f, struct err *e)
{
	const char *name = strrchr(f->path, '/');
	int r = ckpt_late_room(q, 16 + CKPT_OPENER_CALLS, strlen(f->path) + sizeof(TRIGGER) + CKPT_OPENER_BYTES + 64);

	if (!name)
		return err_set(e, ERR_FAIL, "the image is damaged: %s", f->path);
	if (r < 0 || f->value == CKPT_VIRTUAL_ENDED)
		return r;
	ckpt_late_enter(q, f->space);
	ckpt_opener_become(q, f);
	open_late(q, f);
	ckpt_opener_return(q, f);
	ckpt_late_enter(q, 0);
	if (f->value == CKPT_VIRTUAL_TRIGGERS && is_pressure(f->path))
		ckpt_late_call(q, "set a trigger of pressure", SYS_write, ckpt_late_fd(q),
			       ckpt_late_put(q, TRIGGER, sizeof(TRIGGER)), sizeof(TRIGGER), 0);
	if (f->pos && !(f->flags & O_PATH)) /* as far as it goes: the contents are others */
		ckpt_late_call(q, NULL, SYS_lseek, ckpt_late_fd(q), f->pos, SEEK_SET, 0);
	if (subject(f->path, NULL) &&
	    (STREQ(name, "/mountinfo") || STREQ(name, "/mounts") || STREQ(name, "/mountstats")))
		ckpt_late_mounts(q);
	return 0;
}

const struct ckpt_kind ckpt_kind_virtual = { "virtual", is, dump, open_again, false, .late = late };
