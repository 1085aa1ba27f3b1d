/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/check.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>

#define STATUS_MAX MIB(1) /* with as many groups as a thread can have, 65536 */
#define OF_THE_HOST "end the command that a client of the API gave this file of the host, or run it by vps exec"

/* What to do about it, by words of the refusal; the first that fits. */
static const struct {
	const char *word, *advice;
} advices[] = {
	{ "io_uring", "stop the program, or have it use no io_uring: take the feature from the VPS" },
	{ "userfaultfd", "stop the program, and take the feature userfaultfd from the VPS" },
	{ "started from outside", "end the command, or run it with a terminal (vps exec -t)" },
	{ "hidden by a mount", OF_THE_HOST "; else unmount what hides it" },
	{ "in no namespace", OF_THE_HOST },
	{ "outside", "end the command or connection whose other end is not in the VPS" },
	{ "terminal", "end the session on it" },
	{ "mounted on", "unmount it" },
	{ "vfork", "try again: it lasts for a moment only" },
	{ "is traced", "end the debugger" },
	{ "kernel", "use a newer kernel (vps doctor)" },
	{ "namespace of its own", "stop the service, or take the setting from its unit that asks for it" },
	{ "control group", "stop the service" },
	{ "fd ", "restart the program without it, or stop it" },
	{ "process ", "stop the program" },
};

static const char *advice(const struct err *e)
{
	if (e->hint[0])
		return e->hint;
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++)
		if (strstr(e->msg, advices[i].word))
			return advices[i].advice;
	return "";
}

/* Its number inside: the one after the host's. It is behind its groups, which may be what there are too many of. */
static pid_t guest_pid(pid_t pid)
{
	cleanup_free char *text = NULL;
	const char *l;
	char path[64];
	int inside;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (pid <= 0 || fd_read_file_at(AT_FDCWD, path, STATUS_MAX, &text, NULL) < 0)
		return 0;
	l = ckpt_status_line(text, "NSpid");
	return l && sscanf(l, "%*d %d", &inside) == 1 ? (pid_t)inside : 0;
}

static int add(struct ckpt_check *c, pid_t pid, int fd, const struct err *e)
{
	struct ckpt_obstacle *bigger = reallocarray(c->list, c->count + 1, sizeof(*bigger)), *o;

	if (!bigger)
		return -ENOMEM;
	c->list = bigger;
	o = &bigger[c->count];
	*o = (struct ckpt_obstacle){ .what = strdup(e->msg), .advice = strdup(advice(e)), .pid = pid,
				     .guest_pid = guest_pid(pid), .fd = fd };
	if (!o->what || !o->advice) {
		free(o->what);
		free(o->advice);
		return -ENOMEM;
	}
	c->count++;
	return 0;
}

int ckpt_note(struct ckpt_dump *d, int r, pid_t pid, int fd, struct err *e)
{
	if (r >= 0 || !d->check || e->code != ERR_UNSUPPORTED)
		return r;
	/* Of those that take turns to wait for a busy server one is always there: the stop lets them pass. */
	if (r == -EAGAIN)
		return 0;
	if (d->check->count == CKPT_OBSTACLES_MAX) {
		d->check->partial = true;
		return 0;
	}
	if (add(d->check, pid, fd, e) < 0)
		return err_code(e, -ENOMEM, "check the VPS");
	return 0;
}

int ckpt_note_cut(struct ckpt_dump *d, int r, pid_t pid, struct err *e)
{
	int n = ckpt_note(d, r, pid, -1, e);

	if (r < 0 && n == 0)
		d->check->partial = true;
	return n;
}

int ckpt_check(const struct cgroup *c, pid_t init, const struct ckpt_dump_options *o,
	       struct ckpt_check *ret, struct err *e)
{
	int r;

	*ret = (struct ckpt_check){ 0 };
	r = ckpt_dump_look(c, init, o, ret, e);
	if (r < 0 && e->code == ERR_UNSUPPORTED) /* from where nobody could go on */
		r = add(ret, 0, -1, e) < 0 ? err_code(e, -ENOMEM, "check the VPS") : 0;
	return r;
}

void ckpt_check_done(struct ckpt_check *c)
{
	for (size_t i = 0; i < c->count; i++) {
		free(c->list[i].what);
		free(c->list[i].advice);
	}
	free(c->list);
	*c = (struct ckpt_check){ 0 };
}
