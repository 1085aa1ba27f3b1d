/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/watch.h"

#include "cgroup/internal.h"

#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>

/*
 * Files of events (cgroup.events, memory.events, pids.events on v2) modify themselves for
 * inotify(7). v1's memory controller tells an eventfd that memory runs out (cgroup-v1/memory, "OOM
 * Control"), just before it kills; the count follows a moment later, so a timer looks again until it
 * has. v1's pids controller counts in silence (Linux 6.11), so a slow timer looks.
 */
#define OOM_LOOK_MS 20
#define OOM_LOOKS 50
#define PIDS_LOOK_MS 5000

static void arm(struct cgroup_watch *w)
{
	long ms = w->tries ? OOM_LOOK_MS : w->pids_version == 1 ? PIDS_LOOK_MS : 0;
	struct itimerspec its = {
		.it_value = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 },
	};

	timerfd_settime(w->timer, 0, &its, NULL);
}

static int add_file(struct cgroup_watch *w, const struct cgroup *c, int hierarchy, const char *file)
{
	char path[PATH_MAX];
	size_t len;

	cgroup_path(c, hierarchy, path);
	len = strlen(path);
	snprintf(path + len, sizeof(path) - len, "/%s", file);
	if (inotify_add_watch(w->inotify, path, IN_MODIFY) < 0)
		return -errno;
	return 0;
}

static int add_fd(struct cgroup_watch *w, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(w->fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* "EVENTFD FILEFD" written to cgroup.event_control ties the two. */
static int add_oom_v1(struct cgroup_watch *w)
{
	cleanup_close int control = -EBADF, target = -EBADF;
	char text[32];
	int n;

	w->oom = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->oom < 0)
		return -errno;
	target = openat(w->memory_dir, "memory.oom_control", O_RDONLY | O_CLOEXEC);
	control = openat(w->memory_dir, "cgroup.event_control", O_WRONLY | O_CLOEXEC);
	if (target < 0 || control < 0)
		return -errno;
	n = snprintf(text, sizeof(text), "%d %d", w->oom, target);
	if (write(control, text, (size_t)n) < 0)
		return -errno;
	return add_fd(w, w->oom);
}

/* False when the group is gone. */
static bool look(struct cgroup_watch *w, struct cgroup_event *ev)
{
	uint64_t v;

	*ev = (struct cgroup_event){ 0 };
	if (cgroup_read_keyed(w->memory_dir, w->memory_version == 2 ? "memory.events" :
			      "memory.oom_control", "oom_kill", &v) == 0 && v > w->oom_kills) {
		ev->oom_kills = v - w->oom_kills;
		w->oom_kills = v;
	}
	if (cgroup_read_keyed(w->pids_dir, "pids.events", "max", &v) == 0 && v > w->pids_refused) {
		ev->pids_refused = v - w->pids_refused;
		w->pids_refused = v;
	}
	if (cgroup_read_keyed(w->v2_dir, "cgroup.events", "populated", &v) < 0)
		return false;
	ev->empty = w->populated && !v;
	w->populated = v != 0;
	return true;
}

static int open_dirs(struct cgroup_watch *w, const struct cgroup *c)
{
	const struct cgroup_host *h = c->host;

	w->v2_dir = cgroup_open_dir(c, CGROUP_V2);
	if (w->v2_dir < 0)
		return w->v2_dir;
	w->memory_version = h->ctl[CGROUP_MEMORY].version;
	if (w->memory_version)
		w->memory_dir = cgroup_open_dir(c, w->memory_version == 2 ? CGROUP_V2 :
								(int)CGROUP_MEMORY);
	w->pids_version = h->ctl[CGROUP_PIDS].version;
	if (w->pids_version)
		w->pids_dir = cgroup_open_dir(c, w->pids_version == 2 ? CGROUP_V2 :
							    (int)CGROUP_PIDS);
	w->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	w->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	w->fd = epoll_create1(EPOLL_CLOEXEC);
	return w->inotify < 0 || w->timer < 0 || w->fd < 0 ? -errno : 0;
}

static int open_watch(struct cgroup_watch *w, const struct cgroup *c)
{
	struct cgroup_event none;
	int r = open_dirs(w, c);

	if (r == 0)
		r = add_fd(w, w->inotify);
	if (r == 0)
		r = add_fd(w, w->timer);
	if (r == 0)
		r = add_file(w, c, CGROUP_V2, "cgroup.events");
	if (r == 0 && w->pids_dir >= 0 && w->pids_version == 2)
		r = add_file(w, c, CGROUP_V2, "pids.events");
	if (r == 0 && w->memory_dir >= 0)
		r = w->memory_version == 2 ? add_file(w, c, CGROUP_V2, "memory.events") :
					     add_oom_v1(w);
	if (r == 0) {
		look(w, &none);
		arm(w);
	}
	return r;
}

int cgroup_watch_open(struct cgroup_watch *w, const struct cgroup *c, struct err *e)
{
	int r = cgroup_check(c, e);

	*w = (struct cgroup_watch){
		.fd = -EBADF, .inotify = -EBADF, .oom = -EBADF, .timer = -EBADF,
		.memory_dir = -EBADF, .pids_dir = -EBADF, .v2_dir = -EBADF,
	};
	if (r < 0)
		return r;
	r = open_watch(w, c);
	if (r == 0)
		return 0;
	cgroup_watch_close(w);
	return err_code(e, r, "watch the control groups of %s", c->name);
}

int cgroup_watch_read(struct cgroup_watch *w, struct cgroup_event *ret, struct err *e)
{
	char events[4096];
	uint64_t n;
	bool rung;

	while (read(w->inotify, events, sizeof(events)) > 0)
		;
	if (errno != EAGAIN && errno != EINTR)
		return err_sys(e, "read events of the control groups");
	rung = read(w->timer, &n, sizeof(n)) == sizeof(n);
	if (rung && w->tries)
		w->tries--;
	if (w->oom >= 0 && read(w->oom, &n, sizeof(n)) == sizeof(n)) {
		w->tries = OOM_LOOKS;
		rung = true;
	}
	rung = look(w, ret) && rung;
	if (ret->oom_kills)
		w->tries = 0;
	if (rung)
		arm(w);
	return ret->oom_kills || ret->pids_refused || ret->empty;
}

void cgroup_watch_close(struct cgroup_watch *w)
{
	int *const fds[] = { &w->fd, &w->inotify, &w->oom, &w->timer, &w->memory_dir, &w->pids_dir,
			     &w->v2_dir };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] > 0)
			fd_close(fds[i]);
		*fds[i] = -EBADF;
	}
}

int cgroup_pressure_open(const struct cgroup *c, enum cgroup_psi what, bool full, uint64_t stall_us,
			 uint64_t window_us, struct err *e)
{
	static const char *const files[] = { "cpu.pressure", "memory.pressure", "io.pressure" };
	cleanup_close int dir = cgroup_open_dir(c, CGROUP_V2), fd = -EBADF;
	char text[64];
	int n;

	if (dir < 0)
		return err_code(e, dir, "watch the pressure on %s", c->name);
	fd = openat(dir, files[what], O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && (errno == ENOENT || errno == EOPNOTSUPP)) {
		err_set(e, ERR_UNSUPPORTED, "this kernel does not measure pressure");
		return err_hint(e, "boot it with psi=1");
	}
	if (fd < 0)
		return err_sys(e, "open %s", files[what]);
	n = snprintf(text, sizeof(text), "%s %" PRIu64 " %" PRIu64, full ? "full" : "some", stall_us,
		     window_us);
	if (write(fd, text, (size_t)n + 1) < 0)
		return err_sys(e, "write \"%s\" to %s", text, files[what]);
	return TAKE_FD(fd);
}
