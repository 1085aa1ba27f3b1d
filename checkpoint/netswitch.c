/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The switches of a network stack, below /proc/sys/net. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/netstate_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define ROOT "/proc/sys/net"
#define VALUE_MAX 4096
#define DEPTH_MAX 8

/* What does something when it is written, or shows a count. */
static const char *const not_kept[] = {
	"ipv4/route/flush",
	"ipv6/route/flush",
	"netfilter/nf_conntrack_count",
	"core/netdev_rss_key",
};

struct walking {
	net_switch_fn fn;
	void *arg;
};

static int show(const struct walking *w, int dir, const char *name, const char *path)
{
	char value[VALUE_MAX];
	cleanup_close int fd = -EBADF;
	struct stat st;
	ssize_t n;

	if (fstatat(dir, name, &st, 0) < 0 || !(st.st_mode & 0200) || !(st.st_mode & 0444))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(not_kept); i++)
		if (STREQ(path, not_kept[i]))
			return 0;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, value, sizeof(value) - 1);
	if (n < 0)
		return 0; /* a secret that was never set cannot be read */
	value[n] = '\0';
	return w->fn(path, value, w->arg);
}

static int walk(const struct walking *w, int parent, const char *name, const char *at, int depth)
{
	cleanup_close int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *d = fd < 0 ? NULL : fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
	const struct dirent *de;
	int r = 0;

	if (!d)
		return depth ? 0 : -errno;
	while (r == 0 && (de = readdir(d))) {
		char path[512];

		if (de->d_name[0] == '.' ||
		    (size_t)snprintf(path, sizeof(path), "%s%s%s", at, at[0] ? "/" : "",
				     de->d_name) >= sizeof(path))
			continue;
		if (de->d_type == DT_DIR && depth < DEPTH_MAX)
			r = walk(w, fd, de->d_name, path, depth + 1);
		else if (de->d_type == DT_REG)
			r = show(w, fd, de->d_name, path);
	}
	return r;
}

int net_switches(net_switch_fn fn, void *arg, struct err *e)
{
	struct walking w = { fn, arg };
	int r = walk(&w, AT_FDCWD, ROOT, "", 0);

	return r < 0 ? err_code(e, r, "read " ROOT) : 0;
}

struct ckpt_netlook {
	struct look {
		char *path, *value;
	} *item;
	size_t count, room;
};

void ckpt_netlook_free(struct ckpt_netlook *l)
{
	for (size_t i = 0; l && i < l->count; i++) {
		free(l->item[i].path);
		free(l->item[i].value);
	}
	if (l)
		free(l->item);
	free(l);
}

static int note(const char *path, const char *value, void *arg)
{
	struct ckpt_netlook *l = arg;
	struct look *it;

	if (l->count == l->room) {
		it = reallocarray(l->item, l->room * 2 + 512, sizeof(*it));
		if (!it)
			return -ENOMEM;
		l->item = it;
		l->room = l->room * 2 + 512;
	}
	it = &l->item[l->count++];
	*it = (struct look){ strdup(path), strdup(value) };
	return it->path && it->value ? 0 : -ENOMEM;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct look *)a)->path, ((const struct look *)b)->path);
}

static int look_at_all(void *arg, struct err *e)
{
	return net_switches(note, arg, e);
}

struct ckpt_netlook *ckpt_netlook_new(int netns_fd, struct err *e)
{
	struct ckpt_netlook *l = calloc(1, sizeof(*l));

	if (!l) {
		err_code(e, -ENOMEM, "look at the VPS's network");
		return NULL;
	}
	if (ckpt_visit(CKPT_SPACE_NET, netns_fd, look_at_all, l, e) < 0) {
		ckpt_netlook_free(l);
		return NULL;
	}
	if (l->count)
		qsort(l->item, l->count, sizeof(*l->item), by_path);
	return l;
}

bool net_switch_is(const struct ckpt_netlook *l, const char *path, const char *value)
{
	const struct look key = { .path = (char *)(uintptr_t)path }; /* only read */
	const struct look *it = l && l->count ? bsearch(&key, l->item, l->count, sizeof(key), by_path) : NULL;

	return it && STREQ(it->value, value);
}

int net_switch_set(const char *path, const char *value, struct err *e)
{
	cleanup_close int root = open(ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd =
		root < 0 ? -EBADF : openat(root, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	char now[VALUE_MAX] = { 0 };
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open %s/%s", ROOT, path);
	n = read(fd, now, sizeof(now) - 1);
	if (n >= 0 && STREQ(now, value))
		return 0;
	if (pwrite(fd, value, strlen(value), 0) < 0)
		return err_sys(e, "set %s/%s", ROOT, path);
	return 1;
}
