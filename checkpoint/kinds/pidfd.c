/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Of processes in the VPS, zombies included, and of those that have ended and were reaped. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/standin.h"

#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define THREAD O_EXCL /* PIDFD_THREAD (Linux 6.9) */

/* What a pidfd tells of its process (linux/pidfd.h), as far as is needed. */
struct info {
	uint64_t mask, cgroup;
	uint32_t ids[12];
	int32_t exit_code;
};
#define GET_INFO _IOWR(0xff, 11, struct info)
#define INFO_EXIT 8 /* Linux 6.15 */

static bool is(const struct ckpt_fd *f)
{
	return STREQ(f->link, "anon_inode:[pidfd]") || strncmp(f->link, "pidfd:[", 7) == 0;
}

/* As the VPS numbers it; 0: it is not in it. */
static pid_t inside(const struct ckpt_dump *d, const struct ckpt_fd *f)
{
	const char *l = strstr(f->info, "NSpid:");
	char *end = NULL;
	long number = 0;

	l = l ? l + strlen("NSpid:") : "";
	for (size_t i = 0; i <= d->level; i++, l = end) {
		number = strtol(l, &end, 10);
		if (end == l)
			return 0;
	}
	return (pid_t)number;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct info info = { .mask = INFO_EXIT };
	const char *l = strstr(f->info, "\nPid:");

	if (!l)
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell of whom a pidfd is");
	if (strtol(l + 5, NULL, 10) == -1) {
		out->value2 =
			ioctl(f->own, GET_INFO, &info) == 0 && (info.mask & INFO_EXIT) ? (uint32_t)info.exit_code : 0;
		return 0;
	}
	out->value = (uint64_t)inside(d, f);
	return out->value ? 0 : err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is a pidfd of a process outside "
					"the VPS", f->fd, (int)f->pid);
}

static bool has_thread(const struct ckpt_task *k, uint64_t number)
{
	for (size_t i = 0; i < k->thread_count; i++)
		if (k->threads[i]->tid == number)
			return true;
	return false;
}

int ckpt_pidfds_check(const struct ckpt_tree *t, struct err *e)
{
	for (size_t i = 0; i < t->file_count; i++) {
		const Ckpt__File *f = t->files[i];
		bool found = f->kind != CKPT_FILE_PIDFD || !f->value;

		for (size_t k = 0; k < t->task_count && !found; k++)
			found = has_thread(&t->tasks[k], f->value);
		for (size_t k = 0; k < t->zombie_count && !found; k++)
			found = t->zombies[k]->pid == f->value;
		if (!found)
			return err_set(e, ERR_UNSUPPORTED,
				       "a pidfd of process %llu, which is in no group of the VPS, cannot be saved",
				       (unsigned long long)f->value);
	}
	return 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	struct standin_process p;
	int fd, r;

	(void)o;
	if (f->value)
		return CKPT_LATE;
	r = standin_begin(&p, 0, e);
	if (r < 0)
		return r;
	fd = (int)syscall(SYS_pidfd_open, p.pid, f->flags & THREAD);
	if (fd < 0)
		err_sys(e, "make a pidfd of a process that has ended");
	standin_end(&p, (int)f->value2);
	return fd;
}

static int late(struct ckpt_late *q, const Ckpt__File *f, struct err *e)
{
	int r = f->value ? ckpt_late_room(q, 3, 0) : 0;

	(void)e;
	if (r < 0 || !f->value)
		return r;
	ckpt_late_call(q, "make a pidfd", SYS_pidfd_open, f->value, f->flags & (THREAD | O_NONBLOCK), 0, 0);
	ckpt_late_opened(q, "make a pidfd");
	return 0;
}

const struct ckpt_kind ckpt_kind_pidfd = { "pidfd", is, dump, open_again, true, .late = late };
