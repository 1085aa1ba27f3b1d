/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which namespaces there are, who owns them, and what each is by itself; mounts are in mounts.c. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

const struct ckpt_space_type ckpt_space_types[CKPT_SPACE_COUNT] = {
	[CKPT_SPACE_USER] = { "user", CLONE_NEWUSER, false },
	[CKPT_SPACE_MNT] = { "mnt", CLONE_NEWNS, false },
	[CKPT_SPACE_NET] = { "net", CLONE_NEWNET, true },
	[CKPT_SPACE_UTS] = { "uts", CLONE_NEWUTS, true },
	[CKPT_SPACE_IPC] = { "ipc", CLONE_NEWIPC, true },
	[CKPT_SPACE_CGROUP] = { "cgroup", CLONE_NEWCGROUP, true },
	[CKPT_SPACE_TIME] = { "time", CLONE_NEWTIME, false },
};

/* What a process of an ipc namespace finds in /proc/sys (ipc_namespaces(7)). */
const char *const ckpt_ipc_sysctls[] = {
	"kernel/shmmax", "kernel/shmall", "kernel/shmmni", "kernel/shm_rmid_forced", "kernel/msgmax",
	"kernel/msgmnb", "kernel/msgmni", "kernel/sem", "fs/mqueue/queues_max", "fs/mqueue/msg_max",
	"fs/mqueue/msgsize_max", "fs/mqueue/msg_default", "fs/mqueue/msgsize_default", NULL,
};

bool ckpt_is_ipc_sysctl(const char *name)
{
	for (size_t i = 0; ckpt_ipc_sysctls[i]; i++)
		if (STREQ(ckpt_ipc_sysctls[i], name))
			return true;
	return false;
}

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

	return fd_read_file_at(l->proc, path, KIB(64), &text, NULL) < 0
		? NULL : ckpt_strdup(&l->d->tree.arena, text);
}

/* The maps, read by a process inside, are as the parent's members wrote them (user_namespaces(7)). */
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
	return 0;
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
	return l->out->hostname && l->out->domainname ? 0 : err_code(e, -ENOMEM, "read a host name");
}

static int look_ipc(void *arg, struct err *e)
{
	struct looking *l = arg;
	struct ckpt_arena *a = &l->d->tree.arena;

	for (size_t i = 0; ckpt_ipc_sysctls[i]; i++) {
		cleanup_free char *text = NULL;
		Ckpt__Setting *s = ckpt_alloc(a, sizeof(*s));
		char path[64];
		size_t len;

		snprintf(path, sizeof(path), "sys/%s", ckpt_ipc_sysctls[i]);
		if (fd_read_file_at(l->proc, path, 4096, &text, &len) < 0)
			continue; /* a kernel without it */
		if (!s)
			return err_code(e, -ENOMEM, "read sysctls");
		ckpt__setting__init(s);
		s->name = ckpt_strdup(a, ckpt_ipc_sysctls[i]);
		s->value.data = ckpt_memdup(a, text, len);
		s->value.len = len;
		if (!s->name || !s->value.data ||
		    ckpt_push(a, &l->out->sysctls, &l->out->n_sysctls, s) < 0)
			return err_code(e, -ENOMEM, "read sysctls");
	}
	return 0;
}

static int look_loopback(Ckpt__Space *out, struct err *e)
{
	struct ifreq r = { .ifr_name = "lo" };
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		return err_sys(e, "look at the loopback of a network namespace");
	out->loopback = (r.ifr_flags & IFF_UP) != 0;
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
	if (fd_read_file_at(l->proc, path, KIB(64), &text, NULL) < 0 || !(inside = strstr(text, "0::/")))
		return err_sys(e, "read a control group");
	inside += 3;
	inside[strcspn(inside, "\n")] = '\0';
	if (STREQ(inside, "/"))
		inside[0] = '\0';
	n = strlen(l->group);
	m = strlen(inside);
	if (m > n || strcmp(l->group + n - m, inside) != 0)
		return err_set(e, ERR_UNSUPPORTED, "process %d is in a control group outside its cgroup namespace, "
			       "which cannot be saved yet", (int)l->seen->pid);
	l->group[n - m] = '\0';
	l->out->group = ckpt_strdup(&l->d->tree.arena, l->group);
	return l->out->group ? 0 : err_code(e, -ENOMEM, "read a control group");
}

/* What a new one has, the loopback and what the kernel puts into each by itself, can be made again. */
static int look_net(void *arg, struct err *e)
{
	static const char *const usual[] = { "lo", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0",
					     "ip6tnl0", "ip6gre0" };
	struct looking *l = arg;
	cleanup_free char *text = NULL;
	char *save = NULL, name[16];

	if (fd_read_file_at(l->proc, "self/net/dev", MIB(1), &text, NULL) < 0)
		return err_sys(e, "read the links of a network namespace");
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t i = 0;

		if (!strchr(line, ':') || sscanf(line, " %15[^:]", name) != 1)
			continue; /* headings */
		while (i < ARRAY_SIZE(usual) && !STREQ(usual[i], name))
			i++;
		if (i == ARRAY_SIZE(usual))
			return err_set(e, ERR_UNSUPPORTED, "a network namespace that the VPS made has the link %s, which "
				       "cannot be saved yet", name);
	}
	return look_loopback(l->out, e);
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
	pid_t pids[2] = { l->d->init, l->seen->pid };
	long long s[2][2], ns[2][2];
	char path[64], text[128];

	for (int i = 0; i < 2; i++) {
		cleanup_free char *offsets = NULL;

		snprintf(path, sizeof(path), "%d/timens_offsets", (int)pids[i]);
		if (fd_read_file_at(l->proc, path, 4096, &offsets, NULL) < 0 ||
		    sscanf(offsets, "monotonic %lld %lld boottime %lld %lld", &s[i][0], &ns[i][0], &s[i][1],
			   &ns[i][1]) != 4)
			return err_set(e, ERR_FAIL, "the offsets of a time namespace cannot be read");
	}
	snprintf(text, sizeof(text), "%lld %lld",
		 (s[1][0] - s[0][0]) * 1000000000 + ns[1][0] - ns[0][0],
		 (s[1][1] - s[0][1]) * 1000000000 + ns[1][1] - ns[0][1]);
	l->out->offsets = ckpt_strdup(&l->d->tree.arena, text);
	return l->out->offsets ? 0 : err_code(e, -ENOMEM, "read clocks");
}

/* A process is in it, or it is one that can be looked at without. */
static int need_member(const struct looking *l, struct err *e)
{
	return l->seen->pid ? 0
		: err_set(e, ERR_UNSUPPORTED, "a %s namespace in which there is no process cannot be saved yet",
			  ckpt_space_types[l->seen->kind].name);
}

static int look(struct looking *l, bool main, struct err *e)
{
	int r, parent = l->out->owner ? l->d->spaces.space[l->out->owner - 1].fd : -EBADF;

	l->fd = l->seen->fd;
	switch (l->seen->kind) {
	case CKPT_SPACE_USER:
		r = main ? 0 : ckpt_within(&l->fd, 1, look_user, l, e);
		return r == 0 && !main ? ckpt_within(&parent, 1, look_creator, l, e) : r;
	case CKPT_SPACE_MNT:
		return ckpt_within(&l->fd, 1, look_mnt, l, e);
	case CKPT_SPACE_NET:
		return main ? 0 : ckpt_within(&l->fd, 1, look_net, l, e);
	case CKPT_SPACE_UTS:
		return ckpt_within(&l->fd, 1, look_uts, l, e);
	case CKPT_SPACE_IPC:
		return ckpt_within(&l->fd, 1, look_ipc, l, e);
	case CKPT_SPACE_CGROUP:
		r = main ? 0 : need_member(l, e);
		if (r == 0 && !main)
			r = ckpt_group_path(l->d, l->seen->pid, l->group, sizeof(l->group), e);
		return r == 0 && !main ? ckpt_within(&l->fd, 1, look_cgroup, l, e) : r;
	case CKPT_SPACE_TIME:
		r = main ? 0 : need_member(l, e);
		return r == 0 && !main ? look_time(l, e) : r;
	default:
		return 0;
	}
}

/* The user namespace that a namespace belongs to; 0 for those that process 1 was started in. */
static int find_owner(struct ckpt_dump *d, enum ckpt_space_kind kind, int fd, struct err *e)
{
	cleanup_close int owner = -EBADF;

	if (d->spaces.main[kind] == 0)
		return 0;
	owner = ioctl(fd, kind == CKPT_SPACE_USER ? NS_GET_PARENT : NS_GET_USERNS);
	if (owner < 0)
		return err_sys(e, "ask for the owner of a %s namespace", ckpt_space_types[kind].name);
	return ckpt_spaces_add(d, CKPT_SPACE_USER, owner, 0, e);
}

int ckpt_spaces_add(struct ckpt_dump *d, enum ckpt_space_kind kind, int fd, pid_t pid, struct err *e)
{
	struct ckpt_spaces *s = &d->spaces;
	struct looking l = { .d = d, .proc = d->proc };
	struct ckpt_seen_space *grown;
	struct stat st;
	int owner, r;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at a namespace");
	for (size_t i = 0; i < s->count; i++)
		if (s->space[i].ino == st.st_ino)
			return (int)i + 1;
	owner = find_owner(d, kind, fd, e);
	if (owner < 0)
		return owner;
	if (s->count >= CKPT_SPACES_MAX)
		return err_set(e, ERR_UNSUPPORTED, "the VPS has more than %d namespaces", CKPT_SPACES_MAX);
	grown = reallocarray(s->space, s->count + 1, sizeof(*grown));
	l.out = ckpt_alloc(&d->tree.arena, sizeof(*l.out));
	if (!grown || !l.out)
		return err_code(e, -ENOMEM, "collect namespaces");
	s->space = grown;
	l.seen = &grown[s->count];
	*l.seen = (struct ckpt_seen_space){ kind, st.st_ino, fcntl(fd, F_DUPFD_CLOEXEC, 3), -EBADF, -EBADF, pid };
	ckpt__space__init(l.out);
	l.out->kind = kind;
	l.out->owner = (uint32_t)owner;
	if (l.seen->fd < 0 || ckpt_push(&d->tree.arena, &d->tree.spaces, &d->tree.space_count, l.out) < 0)
		return err_sys(e, "collect namespaces");
	s->count++;
	r = look(&l, d->spaces.main[kind] == 0, e);
	if (d->spaces.main[kind] == 0)
		d->spaces.main[kind] = (uint32_t)s->count;
	return r < 0 ? r : (int)s->count;
}

/* The id of the namespace that /proc/PID/ns/`name` stands for. A link is cheap to read, and mostly known. */
static int of_link(struct ckpt_dump *d, enum ckpt_space_kind kind, const char *name, pid_t tid, struct err *e)
{
	cleanup_close int fd = -EBADF;
	char path[64], text[64] = { 0 };
	unsigned long long ino;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)tid, name);
	if (readlink(path, text, sizeof(text) - 1) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "read %s", path); /* a kernel without it */
	if (sscanf(text, "%*[a-z]:[%llu]", &ino) == 1)
		for (size_t i = 0; i < d->spaces.count; i++)
			if (d->spaces.space[i].ino == ino) {
				/* Known by an fd or as an owner until now. */
				if (!d->spaces.space[i].pid)
					d->spaces.space[i].pid = tid;
				return (int)i + 1;
			}
	fd = ckpt_space_open((int)tid, name, e);
	return fd < 0 ? fd : ckpt_spaces_add(d, kind, fd, tid, e);
}

static int check_children(struct ckpt_dump *d, pid_t tid, int time, struct err *e)
{
	char path[64], mine[64] = { 0 }, its[64] = { 0 };
	int children;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)d->init);
	if (readlink(path, mine, sizeof(mine) - 1) < 0)
		return err_sys(e, "read %s", path);
	snprintf(path, sizeof(path), "/proc/%d/ns/pid_for_children", (int)tid);
	if (readlink(path, its, sizeof(its) - 1) < 0 && errno != ENOENT)
		return err_sys(e, "read %s", path);
	if (!STREQ(mine, its))
		return err_set(e, ERR_UNSUPPORTED, "process %d has a pid namespace of its own, which cannot be saved",
			       (int)tid);
	children = of_link(d, CKPT_SPACE_TIME, "time_for_children", tid, e);
	if (children >= 0 && children != time)
		return err_set(e, ERR_UNSUPPORTED, "process %d has a time namespace for its children alone, which "
			       "cannot be saved yet", (int)tid);
	return children < 0 ? children : 0;
}

int ckpt_spaces_of_thread(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t, struct err *e)
{
	t->spaces = ckpt_alloc(&d->tree.arena, CKPT_SPACE_COUNT * sizeof(*t->spaces));
	if (!t->spaces)
		return err_code(e, -ENOMEM, "collect namespaces");
	t->n_spaces = CKPT_SPACE_COUNT;
	for (int i = 0; i < CKPT_SPACE_COUNT; i++) {
		int id = of_link(d, (enum ckpt_space_kind)i, ckpt_space_types[i].name, tid, e);

		if (id < 0)
			return id;
		t->spaces[i] = (uint32_t)id;
	}
	return 0;
}

static int collect_thread(struct ckpt_dump *d, pid_t tid, struct err *e)
{
	int id = 0;

	for (int i = 0; id >= 0 && i < CKPT_SPACE_COUNT; i++)
		id = of_link(d, (enum ckpt_space_kind)i, ckpt_space_types[i].name, tid, e);
	return id < 0 ? id : check_children(d, tid, id, e);
}

/* Mounts may stand for further namespaces, these may be of mounts. */
static int collect_mounts(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->spaces.count; i++)
		if (d->spaces.space[i].kind == CKPT_SPACE_MNT)
			r = ckpt_mounts_collect(d, (uint32_t)i + 1, e);
	return r;
}

int ckpt_spaces_collect(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->frozen.count; i++)
		for (size_t k = 0; r == 0 && k < d->frozen.procs[i].count; k++)
			r = ckpt_note(d, collect_thread(d, d->frozen.procs[i].tids[k], e),
				      d->frozen.procs[i].pid, -1, e);
	return r == 0 ? collect_mounts(d, e) : r;
}

void ckpt_spaces_done(struct ckpt_dump *d)
{
	for (size_t i = 0; i < d->spaces.count; i++) {
		fd_close(&d->spaces.space[i].fd);
		fd_close(&d->spaces.space[i].root);
		fd_close(&d->spaces.space[i].diag);
	}
	free(d->spaces.space);
	free(d->spaces.mount);
	free(d->spaces.super);
	d->spaces = (struct ckpt_spaces){ 0 };
}

int ckpt_space_root(const struct ckpt_dump *d, uint32_t space)
{
	return d->spaces.space[(space ? space : d->spaces.main[CKPT_SPACE_MNT]) - 1].root;
}

uint32_t ckpt_process_space(struct ckpt_dump *d, pid_t pid)
{
	struct err ignored;
	int id = of_link(d, CKPT_SPACE_MNT, "mnt", pid, &ignored);

	return id <= 0 || (uint32_t)id == d->spaces.main[CKPT_SPACE_MNT] ? 0 : (uint32_t)id;
}

static int open_diag(void *arg, struct err *e)
{
	int *ret = arg;

	*ret = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	return *ret < 0 ? err_sys(e, "make a sock_diag socket") : 0;
}

int ckpt_dump_diag(struct ckpt_dump *d, uint32_t space, struct err *e)
{
	struct ckpt_seen_space *s = &d->spaces.space[(space ? space : d->spaces.main[CKPT_SPACE_NET]) - 1];
	int r = s->diag < 0 ? ckpt_within(&s->fd, 1, open_diag, &s->diag, e) : 0;

	return r < 0 ? r : s->diag;
}

int ckpt_socket_space(struct ckpt_dump *d, int fd, uint32_t *ret, struct err *e)
{
	cleanup_close int its = ioctl(fd, SIOCGSKNS);
	int id = its < 0 ? err_sys(e, "ask for the network namespace of a socket")
			 : ckpt_spaces_add(d, CKPT_SPACE_NET, its, 0, e);

	if (id < 0)
		return id;
	*ret = (uint32_t)id == d->spaces.main[CKPT_SPACE_NET] ? 0 : (uint32_t)id;
	return 0;
}
