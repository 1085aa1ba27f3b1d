/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <linux/sched.h>
#include <sys/syscall.h>

void list_init(struct list *l, const struct restore *r)
{
	l->count = l->used = 0;
	l->overflow = false;
	l->room_at = r->region + CKPT_PAGE + CKPT_BATCH_LIST;
}

void list_call(struct list *l, const char *what, uint64_t nr, uint64_t a, uint64_t b, uint64_t c,
	       uint64_t d, uint64_t e5, uint64_t f)
{
	if (l->count == CKPT_BATCH_MAX) {
		l->overflow = true;
		return;
	}
	l->what[l->count] = what;
	l->calls[l->count++] = (struct ckpt_call){ nr, { a, b, c, d, e5, f }, 0 };
}

uint64_t list_put(struct list *l, const void *data, size_t len)
{
	uint64_t at = l->room_at + l->used;

	if (len > RESTORE_ROOM - 16 || l->used > RESTORE_ROOM - 16 - len) {
		l->overflow = true;
		return 0;
	}
	if (len)
		memcpy(l->room + l->used, data, len);
	l->used += (len + 15) & ~(size_t)15;
	return at;
}

int list_fits(const struct list *l, size_t calls, size_t bytes)
{
	return l->count + calls <= CKPT_BATCH_MAX && l->used + bytes + 16 <= RESTORE_ROOM;
}

int list_start(struct list *l, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	int r = 0;

	/* An image decides how long paths and lists are. */
	if (l->overflow)
		return err_set(e, ERR_FAIL, "the image is damaged: process %d has too much of something",
			       (int)t->ns_tgid);
	if (l->used)
		r = ckpt_mem_write(b->pid, l->room_at, l->room, l->used);
	if (r < 0)
		return err_code(e, r, "write into process %d", (int)t->ns_tgid);
	r = l->count ? ckpt_batch_start(b, t, l->calls, l->count, e) : 0;
	if (r < 0 || l->count == 0) {
		l->used = 0;
		return r;
	}
	l->place = b;
	l->thread = t;
	return 0;
}

int list_finish(struct list *l, struct err *e)
{
	int r;

	if (!l->place)
		return 0;
	r = ckpt_batch_finish(l->place, l->thread, l->calls, l->count, e);
	for (size_t i = 0; r == 0 && i < l->count; i++) {
		if (l->calls[i].nr == SYS_modify_ldt)
			l->calls[i].ret = (int32_t)l->calls[i].ret; /* see ldt.h */
		if (l->what[i] && l->calls[i].ret < 0 && l->calls[i].ret > -4096)
			r = err_code(e, (int)l->calls[i].ret, "restore process %d: %s", (int)l->thread->ns_tgid,
				     l->what[i]);
	}
	l->count = l->used = 0;
	l->place = NULL;
	return r;
}

int list_run(struct list *l, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	int r = list_start(l, b, t, e);

	return r == 0 ? list_finish(l, e) : r;
}

int restore_clone(struct list *l, struct ckpt_batch *b, struct ckpt_thread *parent, uint64_t flags,
		  uint32_t exit_signal, const struct restore_numbers *numbers, pid_t *ret, struct err *e)
{
	struct clone_args args = {
		.flags = flags, .exit_signal = exit_signal, .set_tid_size = numbers->count,
	};
	int number = numbers->count ? (int)numbers->tid[numbers->count - 1] : 0;
	int r;

	if (numbers->count)
		args.set_tid = list_put(l, numbers->tid, numbers->count * sizeof(*numbers->tid));
	list_call(l, "make a task of its number", SYS_clone3, list_put(l, &args, sizeof(args)),
		  sizeof(args), 0, 0, 0, 0);
	*ret = 0;
	parent->born = ret;
	parent->born_count = 0;
	parent->born_max = 1;
	r = list_run(l, b, parent, e);
	parent->born = NULL;
	if (r == 0 && *ret == 0)
		return err_set(e, ERR_FAIL, "task %d was not seen to be born", number);
	if (r == 0)
		r = ckpt_trace_wait_event(*ret, NULL) < 0 ? err_sys(e, "wait for task %d", number) : 0;
	return r;
}
