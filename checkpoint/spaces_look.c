/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What each namespace is by itself, as a process inside sees it. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/clocks.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>

struct looking {
	struct ckpt_dump *d;
	struct ckpt_seen_space *seen;
	Ckpt__Space *out;
	int proc; /* the host's /proc */
	int fd;
	char group[4096]; /* a member's, as the VPS sees it */
};

static char *keep_file(struct looking *l, const char *path)
{
	cleanup_free char *text = NULL;

	return fd_read_file_at(l->proc, path, KIB(64), &text, NULL) < 0 ?
		       NULL :
		       ckpt_strdup(&l->d->tree.arena, text);
}

static int keep_sysctl(struct looking *l, const char *name, const char *value, size_t len, struct err *e)
{
	struct ckpt_arena *a = &l->d->tree.arena;
	Ckpt__Setting *s = ckpt_alloc(a, sizeof(*s));

	if (!s)
		return err_code(e, -ENOMEM, "read sysctls");
	ckpt__setting__init(s);
	s->name = ckpt_strdup(a, name);
	s->value.data = ckpt_memdup(a, value, len);
	s->value.len = len;
	return s->name && s->value.data && ckpt_push(a, &l->out->sysctls, &l->out->n_sysctls, s) == 0 ?
		       0 :
		       err_code(e, -ENOMEM, "read sysctls");
}

/* Of a new one each is this: there is no limit but those of the namespaces around it (namespaces(7)). */
#define UNLIMITED "2147483647"

static int keep_limit(struct looking *l, size_t i, int fd, struct err *e)
{
	char text[32];
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return !text[0] || STREQ(text, UNLIMITED) ? 0 : keep_sysctl(l, ckpt_user_sysctls[i], text, strlen(text), e);
}

/* The files speak of the namespace of who has opened them. */
static int look_limits(void *arg, struct err *e)
{
	struct looking *l = arg;
	char path[64];
	int r = 0;

	for (size_t i = 0; r == 0 && i < CKPT_USER_SYSCTLS; i++) {
		cleanup_close int fd = -EBADF;

		snprintf(path, sizeof(path), "sys/%s", ckpt_user_sysctls[i]);
		fd = openat(l->proc, path, O_RDONLY | O_CLOEXEC);
		r = keep_limit(l, i, fd, e);
	}
	return r;
}

/* Its maps are the configuration's. */
static int look_main_user(struct looking *l, struct err *e)
{
	const struct ckpt_ahead_space *known = ckpt_ahead_space(&l->d->ahead, l->seen->ino);
	int r = 0;

	if (!known)
		return ckpt_within(&l->fd, 1, look_limits, l, e);
	for (size_t i = 0; r == 0 && i < CKPT_USER_SYSCTLS; i++)
		r = keep_limit(l, i, known->limits[i], e);
	return r;
}

/* The maps, read by a process inside, are as the parent's members wrote them
 * (user_namespaces(7)). */
static int look_user(void *arg, struct err *e)
{
	struct looking *l = arg;
	cleanup_free char *deny = NULL;

	l->out->uid_map = keep_file(l, "self/uid_map");
	l->out->gid_map = keep_file(l, "self/gid_map");
	if (!l->out->uid_map || !l->out->gid_map ||
	    fd_read_file_at(l->proc, "self/setgroups", 64, &deny, NULL) < 0)
		return err_sys(e, "read the maps of a user namespace");
	l->out->deny_setgroups = strncmp(deny, "deny", 4) == 0;
	return look_limits(l, e);
}

static int look_creator(void *arg, struct err *e)
{
	struct looking *l = arg;
	uid_t uid;

	if (ioctl(l->fd, NS_GET_OWNER_UID, &uid) < 0)
		return err_sys(e, "ask for the owner of a user namespace");
	l->out->creator = uid;
	return 0;
}

static int look_uts(void *arg, struct err *e)
{
	struct looking *l = arg;
	struct utsname u;

	if (uname(&u) < 0)
		return err_sys(e, "read a host name");
	l->out->hostname = ckpt_strdup(&l->d->tree.arena, u.nodename);
	l->out->domainname = ckpt_strdup(&l->d->tree.arena, u.domainname);
	return l->out->hostname && l->out->domainname ? 0 :
							err_code(e, -ENOMEM, "read a host name");
}

static int look_ipc(void *arg, struct err *e)
{
	struct looking *l = arg;
	int r = 0;

	for (size_t i = 0; r == 0 && ckpt_ipc_sysctls[i]; i++) {
		cleanup_free char *text = NULL;
		char path[64];
		size_t len;

		snprintf(path, sizeof(path), "sys/%s", ckpt_ipc_sysctls[i]);
		if (fd_read_file_at(l->proc, path, 4096, &text, &len) < 0)
			continue; /* a kernel without it */
		r = keep_sysctl(l, ckpt_ipc_sysctls[i], text, len, e);
	}
	return r;
}

/* All else is told by network.c. */
static int look_net(void *arg, struct err *e)
{
	struct looking *l = arg;
	struct ifreq r = { .ifr_name = "lo" };
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		return err_sys(e, "look at the loopback of a network namespace");
	l->out->loopback = (r.ifr_flags & IFF_UP) != 0;
	return 0;
}

/* A member's group as it is seen inside, against what it is in the VPS. */
static int look_cgroup(void *arg, struct err *e)
{
	struct looking *l = arg;
	cleanup_free char *text = NULL;
	char path[64], *inside;
	size_t n, m;

	snprintf(path, sizeof(path), "%d/cgroup", (int)l->seen->pid);
	if (fd_read_file_at(l->proc, path, KIB(64), &text, NULL) < 0 ||
	    !(inside = strstr(text, "0::/")))
		return err_sys(e, "read a control group");
	inside += 3;
	inside[strcspn(inside, "\n")] = '\0';
	if (STREQ(inside, "/"))
		inside[0] = '\0';
	n = strlen(l->group);
	m = strlen(inside);
	if (m > n || strcmp(l->group + n - m, inside) != 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "process %d is in a control group outside its cgroup namespace, "
			       "which cannot be saved yet",
			       (int)l->seen->pid);
	l->group[n - m] = '\0';
	l->out->group = ckpt_strdup(&l->d->tree.arena, l->group);
	return l->out->group ? 0 : err_code(e, -ENOMEM, "read a control group");
}

static int look_mnt(void *arg, struct err *e)
{
	struct looking *l = arg;

	l->seen->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return l->seen->root < 0 ? err_sys(e, "open the root of a mount namespace") : 0;
}

/* Relative to process 1's clocks, which go on where they were. */
static int look_time(struct looking *l, struct err *e)
{
	int64_t first[2], own[2];
	char text[64];
	int r = ckpt_clock_offsets(l->d->init, first, e);

	if (r == 0)
		r = ckpt_clock_offsets_in(l->fd, l->seen->pid, own, e);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%lld %lld", (long long)(own[0] - first[0]), (long long)(own[1] - first[1]));
	l->out->offsets = ckpt_strdup(&l->d->tree.arena, text);
	return l->out->offsets ? 0 : err_code(e, -ENOMEM, "read clocks");
}

static void read_pid_max(struct looking *l, int fd)
{
	char text[64];
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	l->out->pid_max = (uint32_t)strtoul(text, NULL, 10);
}

/* Of each namespace since Linux 6.14, of the host before. */
static int look_pid(void *arg, struct err *e)
{
	struct looking *l = arg;
	cleanup_close int fd = openat(l->proc, "sys/kernel/pid_max", O_RDONLY | O_CLOEXEC);

	(void)e;
	read_pid_max(l, fd);
	return 0;
}

static int look_at_pid(struct looking *l, struct err *e)
{
	const struct ckpt_ahead_space *known = ckpt_ahead_space(&l->d->ahead, l->seen->ino);

	if (!known)
		return ckpt_within(&l->fd, 1, look_pid, l, e);
	read_pid_max(l, known->pid_max);
	l->out->last_number = known->last_number;
	return 0;
}

/* A process is in it, or it is one that can be looked at without. */
static int need_member(const struct looking *l, struct err *e)
{
	return l->seen->pid ?
		       0 :
		       err_set(e, ERR_UNSUPPORTED,
			       "a %s namespace in which there is no process cannot be saved yet",
			       ckpt_space_types[l->seen->kind].name);
}

static int look(struct looking *l, bool main, struct err *e)
{
	const struct ckpt_ahead_space *known;
	int r, parent = l->out->owner ? l->d->spaces.space[l->out->owner - 1].fd : -EBADF;

	switch (l->seen->kind) {
	case CKPT_SPACE_USER:
		r = main ? look_main_user(l, e) : ckpt_within(&l->fd, 1, look_user, l, e);
		return r == 0 && !main ? ckpt_within(&parent, 1, look_creator, l, e) : r;
	case CKPT_SPACE_MNT:
		known = ckpt_ahead_space(&l->d->ahead, l->seen->ino);
		if (!known)
			return ckpt_within(&l->fd, 1, look_mnt, l, e);
		l->seen->root = fcntl(known->root, F_DUPFD_CLOEXEC, 3);
		return l->seen->root < 0 ? err_sys(e, "keep the root of a mount namespace") : 0;
	case CKPT_SPACE_NET:
		return main ? 0 : ckpt_visit(CKPT_SPACE_NET, l->fd, look_net, l, e);
	case CKPT_SPACE_UTS:
		return ckpt_visit(CKPT_SPACE_UTS, l->fd, look_uts, l, e);
	case CKPT_SPACE_IPC:
		return ckpt_visit(CKPT_SPACE_IPC, l->fd, look_ipc, l, e);
	case CKPT_SPACE_CGROUP:
		r = main ? 0 : need_member(l, e);
		if (r == 0 && !main)
			r = ckpt_group_path(l->d, l->seen->pid, l->group, sizeof(l->group), e);
		return r == 0 && !main ? ckpt_visit(CKPT_SPACE_CGROUP, l->fd, look_cgroup, l, e) : r;
	case CKPT_SPACE_TIME:
		return main ? 0 : look_time(l, e);
	case CKPT_SPACE_PID:
		r = main ? 0 : need_member(l, e);
		return r == 0 ? look_at_pid(l, e) : r;
	default:
		return 0;
	}
}

int ckpt_space_look(struct ckpt_dump *d, struct ckpt_seen_space *seen, Ckpt__Space *out,
		    struct err *e)
{
	struct looking l = { .d = d, .seen = seen, .out = out, .proc = d->proc, .fd = seen->fd };

	return look(&l, d->spaces.main[seen->kind] == 0, e);
}
