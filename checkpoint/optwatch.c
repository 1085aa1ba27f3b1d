/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/optwatch.h"

#include "base/bpf.h"
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "checkpoint/beside.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/sockets.h"
#include "checkpoint/tcp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#define FEW 32         /* connections: what is set up for more takes as long as they do */
#define MANY 65536
#define PATIENCE_S 10  /* what takes longer is left */

/* What hangs on a socket. */
struct mark {
	uint32_t number;  /* in `seen`, from 1 on */
	uint32_t changed; /* by the program */
};

struct ckpt_optwatch {
	int marks, program, link;
	struct ckpt_alike_list **seen;
	size_t count;
	struct ckpt_dump *d;
	const pid_t *pids;
	size_t pid_count;
};

/* Storage of sockets wants to know of which types it is: two numbers, of 4 bytes and of 8. */
static int load_types(void)
{
	static const struct {
		struct btf_header h;
		struct {
			struct btf_type t;
			uint32_t bits;
		} type[2];
		char names[8];
	} blob = {
		.h = { .magic = BTF_MAGIC,
		       .version = BTF_VERSION,
		       .hdr_len = sizeof(struct btf_header),
		       .type_len = 2 * (sizeof(struct btf_type) + 4),
		       .str_off = 2 * (sizeof(struct btf_type) + 4),
		       .str_len = 8 },
		.type = { { { .name_off = 1, .info = BTF_KIND_INT << 24, .size = 4 }, 32 },
			  { { .name_off = 5, .info = BTF_KIND_INT << 24, .size = 8 }, 64 } },
		.names = "\0int\0ll",
	};
	union bpf_attr attr = { .btf = (uintptr_t)&blob, .btf_size = offsetof(__typeof__(blob), names) + sizeof(blob.names) };

	return bpf_call(BPF_BTF_LOAD, &attr);
}

static int make_marks(void)
{
	cleanup_close int types = load_types();
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_SK_STORAGE, .key_size = sizeof(int), .value_size = sizeof(struct mark),
		.map_flags = BPF_F_NO_PREALLOC, .btf_fd = (uint32_t)types, .btf_key_type_id = 1, .btf_value_type_id = 2,
		.map_name = "vpsoptions",
	};

	return types < 0 ? types : bpf_call(BPF_MAP_CREATE, &attr);
}

/* A length of 0 says that the program had nothing to do with the value, and the kernel goes on with the caller's own. */
static int load(int marks)
{
	const struct bpf_insn insns[] = {
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 0),
		BPF_INSN(BPF_STX | BPF_MEM | BPF_W, 6, 1, offsetof(struct bpf_sockopt, optlen), 0),
		BPF_INSN(BPF_LDX | BPF_MEM | BPF_DW, 2, 6, offsetof(struct bpf_sockopt, sk), 0),
		/* bpf_sk_storage_get(marks, sk, NULL, 0) */
		BPF_INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, marks),
		BPF_INSN(0, 0, 0, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, 0),
		BPF_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_sk_storage_get),
		BPF_INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 1),
		BPF_INSN(BPF_STX | BPF_MEM | BPF_W, 0, 1, offsetof(struct mark, changed), 0),
		BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1),
		BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_SOCKOPT,
		.expected_attach_type = BPF_CGROUP_SETSOCKOPT,
		.insn_cnt = ARRAY_SIZE(insns),
		.insns = (uintptr_t)insns,
		.license = (uintptr_t)"GPL",
		.prog_name = "vpsoptions",
	};

	return bpf_load(&attr);
}

static int begin(struct ckpt_optwatch *w)
{
	struct err ignored;
	cleanup_close int group = cgroup_open(w->d->cgroup, &ignored);
	union bpf_attr attr = { .link_create = { .attach_type = BPF_CGROUP_SETSOCKOPT } };

	w->marks = group < 0 ? group : make_marks();
	w->program = w->marks < 0 ? w->marks : load(w->marks);
	if (w->program < 0)
		return w->program;
	attr.link_create.prog_fd = (uint32_t)w->program;
	attr.link_create.target_fd = (uint32_t)group;
	w->link = bpf_call(BPF_LINK_CREATE, &attr);
	return w->link < 0 ? w->link : 0;
}

static int set_mark(const struct ckpt_optwatch *w, int fd, struct mark m)
{
	union bpf_attr attr = { .map_fd = (uint32_t)w->marks, .key = (uintptr_t)&fd, .value = (uintptr_t)&m };

	return bpf_call(BPF_MAP_UPDATE_ELEM, &attr);
}

/* Number 0: it has none. */
static struct mark mark_of(const struct ckpt_optwatch *w, int fd)
{
	struct mark m = { 0, 0 };
	union bpf_attr attr = { .map_fd = (uint32_t)w->marks, .key = (uintptr_t)&fd, .value = (uintptr_t)&m };

	return bpf_call(BPF_MAP_LOOKUP_ELEM, &attr) < 0 ? (struct mark){ 0, 0 } : m;
}

/* Sockets are in the control group of who made them: whether the program hears of this one shows an option that there is
 * not. */
static bool is_heard_of(const struct ckpt_optwatch *w, int fd)
{
	int v = 0;

	return setsockopt(fd, INT_MAX, INT_MAX, &v, sizeof(v)) < 0 && mark_of(w, fd).changed;
}

static int number(int fd, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, name, &v, &len) < 0 ? -1 : v;
}

/* What is bound to an interface is told by that one's name, which may change. And whoever closes a socket that lingers waits,
 * as we would if the VPS did meanwhile. */
static bool is_plain(int fd, Ckpt__Socket *s)
{
	struct linger lin = { 0, 0 };
	socklen_t len = sizeof(lin), ulp_len;
	char ulp[16] = { 0 };

	s->family = (uint32_t)number(fd, SO_DOMAIN);
	s->type = (uint32_t)number(fd, SO_TYPE);
	s->protocol = (uint32_t)number(fd, SO_PROTOCOL);
	if (!ckpt_socket_is_tcp(s) || ckpt_socket_is_multipath(s) || ckpt_tcp_state(fd, NULL) != TCP_ESTABLISHED)
		return false;
	s->state = TCP_ESTABLISHED;
	ulp_len = sizeof(ulp);
	if (getsockopt(fd, SOL_TCP, TCP_ULP, ulp, &ulp_len) == 0 && ulp_len && ulp[0])
		return false; /* who collects it says why it cannot be saved */
	return getsockopt(fd, SOL_SOCKET, SO_LINGER, &lin, &len) == 0 && !lin.l_onoff;
}

/* Those that change with what is read, or with the interface. */
static bool is_lasting(const Ckpt__Socket *s)
{
	for (size_t i = 0; i < s->n_option; i++) {
		if (s->option[i]->level != SOL_SOCKET)
			continue;
		if (s->option[i]->name == SO_BINDTODEVICE || s->option[i]->name == 62 /* SO_BINDTOIFINDEX */ ||
		    (s->option[i]->name == SO_PEEK_OFF && ckpt_sockopt_number(s, SOL_SOCKET, SO_PEEK_OFF) >= 0))
			return false;
	}
	return true;
}

/* Marked: what is set from now on is noticed. NULL: nothing of it is kept. */
static struct ckpt_alike_list *look_marked(struct ckpt_optwatch *w, int fd, Ckpt__Socket *s, struct mark m)
{
	struct ckpt_arena scratch = { NULL, 0 };
	struct ckpt_alike_list *l;
	struct err ignored;

	if (!is_heard_of(w, fd) || set_mark(w, fd, m) < 0)
		return NULL;
	l = ckpt_sockopts_collect_rest(&scratch, fd, s, &ignored) == 0 && is_lasting(s) ?
		    ckpt_alike_find(&w->d->tree, &w->d->alike, s->option, s->n_option) :
		    NULL;
	ckpt_arena_done(&scratch);
	return l;
}

/* Each that is marked has a number of its own, also one of which nothing is kept. */
static void look_at(struct ckpt_optwatch *w, int fd)
{
	struct mark m = { (uint32_t)w->count + 1, 0 };
	struct ckpt_alike_list **grown;
	Ckpt__Socket s;

	ckpt__socket__init(&s);
	if (!is_plain(fd, &s) || mark_of(w, fd).number)
		return;
	grown = reallocarray(w->seen, w->count + 1, sizeof(struct ckpt_alike_list *));
	if (!grown)
		return;
	w->seen = grown;
	w->seen[w->count++] = NULL;
	if (set_mark(w, fd, m) == 0)
		w->seen[m.number - 1] = look_marked(w, fd, &s, m);
}

static void look_at_process(struct ckpt_optwatch *w, pid_t pid)
{
	cleanup_close int pidfd = pidfd_open_pid(pid);
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *de;
	char path[64], link[32];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && w->count < MANY && (de = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), de->d_name, link, sizeof(link) - 1);
		cleanup_close int fd = -EBADF;

		if (n < 0 || (link[n] = '\0', strncmp(link, "socket:", 7) != 0))
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, atoi(de->d_name), 0);
		if (fd >= 0)
			look_at(w, fd);
	}
}

static void *run(void *arg)
{
	struct ckpt_optwatch *w = arg;

	for (size_t i = 0; i < w->pid_count; i++)
		look_at_process(w, w->pids[i]);
	return NULL;
}

/* By a thread that can be ended: the VPS may make us wait for as long as it likes (is_plain()). */
static void look_by_thread(struct ckpt_optwatch *w)
{
	struct timespec end;
	pthread_t thread;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	if (!ckpt_beside(&thread, run, w))
		return;
	if (pthread_timedjoin_np(thread, NULL, &end) == 0)
		return;
	pthread_cancel(thread);
	pthread_join(thread, NULL);
}

void ckpt_optwatch_look(struct ckpt_dump *d, const pid_t *pids, size_t n)
{
	/* A look at each socket would be dearer. */
	struct ckpt_optwatch *w = ckpt_tcp_count(d->init) < FEW ? NULL : calloc(1, sizeof(*w));

	if (!w)
		return;
	*w = (struct ckpt_optwatch){ -EBADF, -EBADF, -EBADF, NULL, 0, d, pids, n };
	d->optwatch = w;
	if (begin(w) < 0)
		ckpt_optwatch_done(d);
	else
		look_by_thread(w);
}

struct ckpt_alike_list *ckpt_optwatch_get(const struct ckpt_dump *d, int fd)
{
	const struct ckpt_optwatch *w = d->optwatch;
	struct mark m = w ? mark_of(w, fd) : (struct mark){ 0, 0 };

	return m.number && m.number <= w->count && !m.changed ? w->seen[m.number - 1] : NULL;
}

void ckpt_optwatch_done(struct ckpt_dump *d)
{
	struct ckpt_optwatch *w = d->optwatch;

	if (!w)
		return;
	fd_close(&w->link);
	fd_close(&w->program);
	fd_close(&w->marks);
	free(w->seen);
	free(w);
	d->optwatch = NULL;
}
