/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/step.h"

#include "base/proc.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fault_fire(const char *point, const char *action, size_t action_len, struct err *e)
{
	if (action_len == 4 && memcmp(action, "kill", 4) == 0) {
		raise(SIGKILL);
		_exit(128 + SIGKILL); /* PID 1 of a namespace is spared its own signals */
	}
	if (action_len == 4 && memcmp(action, "hang", 4) == 0)
		raise(SIGSTOP);
	if (action_len == 4 && memcmp(action, "fail", 4) == 0)
		return err_set(e, ERR_FAIL, "%s: fault injected", point);
	return 0;
}

/* Kept open: a VPS's first process goes on with it after it has left the host's root. */
static void fault_trace(const char *file, const char *point)
{
	static int fd = -1;

	if (fd < 0)
		fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0)
		dprintf(fd, "%s\n", point);
}

static int timeline(void)
{
	static int looked, fd = -1;

	if (!looked) {
		const char *file = secure_getenv("VPS_TIMELINE");

		if (file)
			fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
		looked = 1;
	}
	return fd;
}

void step_mark(const char *point)
{
	static _Thread_local long long before;
	struct timespec ts;
	long long now;

	if (timeline() < 0)
		return;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	now = (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
	dprintf(timeline(), "%llu %d %lld %s\n", (unsigned long long)now_realtime_us(), (int)gettid(), now - before,
		point);
	before = now;
}

int fault_point(const char *table, const char *step, struct err *e)
{
	static const char *faults, *trace;
	static int looked;
	char point[128];
	size_t len;

	if (!looked) {
		faults = secure_getenv("VPS_FAULT");
		trace = secure_getenv("VPS_FAULT_TRACE");
		looked = 1;
	}
	if (!faults && !trace && timeline() < 0)
		return 0;
	snprintf(point, sizeof(point), "%s.%s", table, step);
	step_mark(point);
	if (trace)
		fault_trace(trace, point);
	if (!faults)
		return 0;
	len = strlen(point);
	for (const char *p = faults; *p;) {
		size_t item = strcspn(p, ",");

		if (item > len && memcmp(p, point, len) == 0 && p[len] == ':') {
			int r = fault_fire(point, p + len + 1, item - len - 1, e);

			if (r < 0)
				return r;
		}
		p += item;
		if (*p == ',')
			p++;
	}
	return 0;
}

bool without_feature(const char *name)
{
	const char *list = secure_getenv("VPS_WITHOUT");
	size_t len = strlen(name);

	for (const char *p = list; p && *p; p += strspn(p, ",")) {
		size_t item = strcspn(p, ",");

		if (item == len && memcmp(p, name, len) == 0)
			return true;
		p += item;
	}
	return false;
}

static void undo(const struct step_table *t, size_t done, void *ctx)
{
	while (done-- > 0)
		if (t->steps[done].down)
			t->steps[done].down(ctx);
}

int steps_up(const struct step_table *t, void *ctx, struct err *e)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct step *s = &t->steps[i];
		char after[96];
		int r;

		r = fault_point(t->name, s->name, e);
		if (r == 0 && s->up)
			r = s->up(ctx, e);
		if (r < 0) {
			undo(t, i, ctx);
			return r;
		}
		snprintf(after, sizeof(after), "%s.after", s->name);
		r = fault_point(t->name, after, e);
		if (r < 0) {
			undo(t, i + 1, ctx);
			return r;
		}
	}
	return 0;
}

void steps_down(const struct step_table *t, void *ctx)
{
	undo(t, t->count, ctx);
}
