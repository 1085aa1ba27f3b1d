/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The switches of a network stack, below /proc/sys/net. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/netstate_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <xxhash.h>

#define ROOT "/proc/sys/net"
#define VALUE_MAX 4096
#define DEPTH_MAX 8
#define KEPT_MAX 4096
#define HIGH 1024 /* fds of those that are kept begin there, out of the way of others */
#define ROOM 1024 /* for so many of them there is room in the table of open files before a thread opens them */
#define UNMAPPED 65534 /* user_namespaces(7) */

/* What does something when it is written, or shows a count. */
static const char *const not_kept[] = {
	"ipv4/route/flush",
	"ipv6/route/flush",
	"netfilter/nf_conntrack_count",
	"core/netdev_rss_key",
};

/* What was open already: paths and fds of switches; directories, and which names were in them. */
struct net_switches {
	struct known_file {
		char *path;
		int fd;
	} *file;
	size_t count;
	struct known_dir {
		DIR *dir;
		uint64_t names;
	} *dir;
	size_t dir_count;
};

struct walking {
	net_switch_fn fn;
	void *arg;
	struct net_switches *keep; /* instead: the files are kept */
};

static bool is_kept(int dir, const char *name, const char *path)
{
	struct stat st;

	if (fstatat(dir, name, &st, 0) < 0 || !(st.st_mode & 0200) || !(st.st_mode & 0444))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(not_kept); i++)
		if (STREQ(path, not_kept[i]))
			return false;
	return true;
}

static int keep_file(struct net_switches *s, int fd_take, const char *path)
{
	cleanup_close int fd = fd_take, high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH);
	struct known_file *f = s->count < KEPT_MAX ? reallocarray(s->file, s->count + 1, sizeof(*f)) : NULL;

	if (!f || high < 0)
		return -ENOMEM;
	s->file = f;
	f[s->count].path = strdup(path);
	if (!f[s->count].path)
		return -ENOMEM;
	f[s->count++].fd = TAKE_FD(high);
	return 0;
}

static int show(const struct walking *w, int fd, const char *path)
{
	char value[VALUE_MAX];
	ssize_t n = pread(fd, value, sizeof(value) - 1, 0);

	if (n < 0)
		return 0; /* a secret that was never set cannot be read */
	value[n] = '\0';
	return w->fn(path, value, w->arg);
}

static int take_file(const struct walking *w, int dir, const char *name, const char *path)
{
	cleanup_close int fd = -EBADF;

	if (!is_kept(dir, name, path))
		return 0;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return w->keep ? -errno : 0;
	return w->keep ? keep_file(w->keep, TAKE_FD(fd), path) : show(w, fd, path);
}

/* Of the names in a directory, in their order. */
static uint64_t hash_names(DIR *d)
{
	uint64_t h = 0;
	const struct dirent *de;

	rewinddir(d);
	while ((de = readdir(d)))
		h = XXH3_64bits_withSeed(de->d_name, strlen(de->d_name), h);
	return h;
}

static int keep_dir(struct net_switches *s, DIR *d)
{
	struct known_dir *more = s->dir_count < KEPT_MAX ? reallocarray(s->dir, s->dir_count + 1, sizeof(*more)) : NULL;

	if (!more)
		return -ENOMEM;
	s->dir = more;
	more[s->dir_count++] = (struct known_dir){ d, hash_names(d) };
	return 0;
}

static int walk(const struct walking *w, int parent, const char *name, const char *at, int depth)
{
	cleanup_close int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *d = fd < 0 ? NULL : fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, w->keep ? HIGH : 0));
	const struct dirent *de;
	int r = 0;

	if (!d)
		return depth && !w->keep ? 0 : -errno;
	while (r == 0 && (de = readdir(d))) {
		char path[512];

		if (de->d_name[0] == '.' ||
		    (size_t)snprintf(path, sizeof(path), "%s%s%s", at, at[0] ? "/" : "",
				     de->d_name) >= sizeof(path))
			continue;
		if (de->d_type == DT_DIR && depth < DEPTH_MAX)
			r = walk(w, fd, de->d_name, path, depth + 1);
		else if (de->d_type == DT_REG)
			r = take_file(w, fd, de->d_name, path);
	}
	if (r < 0 || !w->keep)
		return r;
	r = keep_dir(w->keep, d);
	if (r == 0)
		d = NULL;
	return r;
}

void ckpt_netways_reserve(void)
{
	struct rlimit usual, most;

	if (getrlimit(RLIMIT_NOFILE, &usual) < 0)
		return;
	most = (struct rlimit){ usual.rlim_max, usual.rlim_max };
	setrlimit(RLIMIT_NOFILE, &most);
	fd_reserve(HIGH + ROOM);
	setrlimit(RLIMIT_NOFILE, &usual);
}

struct net_switches *net_switches_open(void)
{
	struct net_switches *s = calloc(1, sizeof(*s));
	struct walking w = { .keep = s };
	struct rlimit usual, most;
	int r;

	if (!s || getrlimit(RLIMIT_NOFILE, &usual) < 0) {
		free(s);
		return NULL;
	}
	/* Only for now, as who is started later inherits it. Fds that are open may lie above it. */
	most = (struct rlimit){ usual.rlim_max, usual.rlim_max };
	setrlimit(RLIMIT_NOFILE, &most);
	r = walk(&w, AT_FDCWD, ROOT, "", 0);
	setrlimit(RLIMIT_NOFILE, &usual);
	if (r == 0)
		return s;
	net_switches_close(s);
	return NULL;
}

void net_switches_close(struct net_switches *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++) {
		close(s->file[i].fd);
		free(s->file[i].path);
	}
	for (size_t i = 0; i < s->dir_count; i++)
		closedir(s->dir[i].dir);
	free(s->file);
	free(s->dir);
	free(s);
}

/* Still the same files. */
static bool is_current(const struct net_switches *s)
{
	for (size_t i = 0; i < s->dir_count; i++)
		if (hash_names(s->dir[i].dir) != s->dir[i].names)
			return false;
	return true;
}

int net_switches(const struct net_switches *known, net_switch_fn fn, void *arg, struct err *e)
{
	struct walking w = { .fn = fn, .arg = arg };
	int r = 0;

	if (!known || !is_current(known)) {
		r = walk(&w, AT_FDCWD, ROOT, "", 0);
		return r < 0 ? err_code(e, r, "read " ROOT) : 0;
	}
	for (size_t i = 0; r == 0 && i < known->count; i++)
		r = show(&w, known->file[i].fd, known->file[i].path);
	return r < 0 ? err_code(e, r, "read " ROOT) : 0;
}

/* Of groups, as whoever reads or writes it numbers them: who looks from inside sees the host's "1 0", which is nobody,
 * as two ids that are not mapped. */
#define PING_GROUPS "ipv4/ping_group_range"
#define NOBODY "1\t0\n"

bool net_switch_inside(const char *path, char *value, size_t size, uint32_t base, uint32_t count)
{
	unsigned low, high;

	if (!STREQ(path, PING_GROUPS) || STREQ(value, NOBODY))
		return true;
	if (sscanf(value, "%u %u", &low, &high) != 2 || low - base >= count || high - base >= count)
		return false;
	snprintf(value, size, "%u\t%u\n", low - base, high - base);
	return true;
}

static bool is_same(const char *path, const char *now, const char *value)
{
	unsigned low, high;

	if (STREQ(path, PING_GROUPS) && STREQ(value, NOBODY))
		return sscanf(now, "%u %u", &low, &high) == 2 && low == UNMAPPED && high == UNMAPPED;
	return STREQ(now, value);
}

int net_switch_set(int root, const char *path, const char *value, struct err *e)
{
	cleanup_close int fd = openat(root, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	char now[VALUE_MAX] = { 0 };
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open %s/%s", ROOT, path);
	n = read(fd, now, sizeof(now) - 1);
	if (n >= 0 && is_same(path, now, value))
		return 0;
	if (pwrite(fd, value, strlen(value), 0) < 0)
		return err_sys(e, "set %s/%s", ROOT, path);
	return 1;
}

int net_switches_root(struct err *e)
{
	int fd = open(ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open %s", ROOT) : fd;
}
