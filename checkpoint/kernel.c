/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/kernel.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TYPES "/sys/kernel/btf/vmlinux"
#define TYPES_MAX MIB(64)
#define CPUS_MAX 8192u
#define LOAD_TRIES 20u
#define DEPTH 8     /* of structures without a name in others */
#define KNOWN 256u  /* members that were asked for, and from where */
#define BUCKETS 8192u /* of structures by their names, of which there are ten thousand */

/* What the program is asked for, and answers. */
enum question { READ, TASK, PER_CPU, BLOCK };
struct question_answer {
	uint64_t what, arg, answer;
	uint8_t block[CKPT_KERNEL_BLOCK];
};

struct ckpt_kernel {
	char *types;          /* BTF */
	size_t size;
	bool mapped;
	uint32_t *type;       /* by number: where it begins */
	uint32_t *next;       /* by number, of a structure: the next in its bucket; 0: none */
	uint32_t bucket[BUCKETS];
	uint32_t count;
	int program, map;
	uint64_t per_cpu;     /* as the kernel names the map's memory, which each processor has */
	uint64_t *cpu;        /* by processor, what is added to such a name */
	size_t cpu_count;
	bool cpus_known;
	uint64_t files;       /* the table of our open files */
	uint64_t memory_map;  /* kernel_pages.c */
	uint64_t seen_at;     /* ckpt_kernel_look(): where `seen` was read; 0: nowhere */
	uint8_t seen[CKPT_KERNEL_BLOCK];
	struct {
		const char *type, *member;
		uint32_t offset;
	} known[KNOWN];       /* constants of our callers */
	size_t known_count;
};

static int sys_bpf(int cmd, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

/* How long what follows a type of this kind is. */
static size_t tail_of(uint32_t info)
{
	size_t n = BTF_INFO_VLEN(info);

	switch (BTF_INFO_KIND(info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG: return 4;
	case BTF_KIND_ARRAY: return sizeof(struct btf_array);
	case BTF_KIND_ENUM: return n * sizeof(struct btf_enum);
	case BTF_KIND_FUNC_PROTO: return n * sizeof(struct btf_param);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_DATASEC:
	case BTF_KIND_ENUM64: return n * 12;
	default: return 0;
	}
}

static const struct btf_type *type_at(const struct ckpt_kernel *k, uint32_t number)
{
	return (const void *)(k->types + k->type[number]);
}

/* Mapped, which Linux 6.16 allows: it is 5 MB. */
static int open_types(struct ckpt_kernel *k)
{
	cleanup_close int fd = open(TYPES, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		return fd_read_file_at(AT_FDCWD, TYPES, TYPES_MAX, &k->types, &k->size);
	k->types = map;
	k->size = (size_t)st.st_size;
	k->mapped = true;
	return 0;
}

/* The last name ends in a NUL, as all do. */
static const char *name_at(const struct ckpt_kernel *k, uint32_t off)
{
	const struct btf_header *h = (const void *)k->types;

	return off < h->str_len ? k->types + h->hdr_len + h->str_off + off : "";
}

static uint32_t bucket_of(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (uint8_t)*name++;
	return hash % BUCKETS;
}

static void add_struct(struct ckpt_kernel *k, uint32_t number)
{
	uint32_t *bucket = &k->bucket[bucket_of(name_at(k, type_at(k, number)->name_off))];

	k->next[number] = *bucket;
	*bucket = number;
}

/* Where they begin and end. */
static int find_types(const struct ckpt_kernel *k, const uint8_t **ret_at, const uint8_t **ret_end)
{
	const struct btf_header *h = (const void *)k->types;

	if (k->size < sizeof(*h) || h->magic != BTF_MAGIC || h->hdr_len > k->size ||
	    h->type_off > k->size - h->hdr_len || h->type_len > k->size - h->hdr_len - h->type_off ||
	    h->str_off > k->size - h->hdr_len || h->str_len > k->size - h->hdr_len - h->str_off || !h->str_len ||
	    k->types[h->hdr_len + h->str_off + h->str_len - 1])
		return -EPROTO;
	*ret_at = (const uint8_t *)k->types + h->hdr_len + h->type_off;
	*ret_end = *ret_at + h->type_len;
	return 0;
}

/* NULL when there is none any more, which is before the end when they are damaged. */
static const struct btf_type *next_type(const uint8_t **at, const uint8_t *end)
{
	const struct btf_type *t = (const void *)*at;
	size_t left = (size_t)(end - *at);

	if (left < sizeof(*t) || sizeof(*t) + tail_of(t->info) > left)
		return NULL;
	*at += sizeof(*t) + tail_of(t->info);
	return t;
}

static int index_types(struct ckpt_kernel *k)
{
	const struct btf_type *t;
	const uint8_t *at, *end;
	size_t room;
	int r = find_types(k, &at, &end);

	if (r < 0)
		return r;
	room = (size_t)(end - at) / sizeof(*t) + 1;
	k->type = calloc(room, sizeof(*k->type));
	k->next = calloc(room, sizeof(*k->next));
	if (!k->type || !k->next)
		return -ENOMEM;
	for (k->count = 1; (t = next_type(&at, end)); k->count++) {
		k->type[k->count] = (uint32_t)((const char *)t - k->types);
		if (BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT)
			add_struct(k, k->count);
	}
	return (size_t)(end - at) < sizeof(*t) ? 0 : -EPROTO;
}

/* What follows the first of several names when it is this one; NULL when it is not. */
static const char *behind(const char *names, const char *first)
{
	size_t len = strlen(first);

	if (strncmp(names, first, len) != 0 || (names[len] && names[len] != '.'))
		return NULL;
	return names + len + (names[len] == '.');
}

/* Where a member is, and how many bits it has; 0: it is a list. */
struct bits {
	uint32_t first, count;
};

static uint32_t bits_of(const struct ckpt_kernel *k, uint32_t type)
{
	for (unsigned depth = 0; depth < DEPTH && type && type < k->count; depth++) {
		const struct btf_type *t = type_at(k, type);

		switch (BTF_INFO_KIND(t->info)) {
		case BTF_KIND_INT:
		case BTF_KIND_ENUM:
		case BTF_KIND_ENUM64:
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION: return 8 * t->size;
		case BTF_KIND_PTR: return 8 * sizeof(uint64_t);
		case BTF_KIND_TYPEDEF:
		case BTF_KIND_CONST:
		case BTF_KIND_VOLATILE:
		case BTF_KIND_TYPE_TAG: type = t->type; break;
		default: return 0;
		}
	}
	return 0;
}

static bool find_member(const struct ckpt_kernel *k, uint32_t type, const char *name, unsigned depth, struct bits *ret)
{
	const struct btf_type *t = type && type < k->count ? type_at(k, type) : NULL;
	const struct btf_member *m = t ? (const void *)(t + 1) : NULL;

	if (!t || depth == DEPTH ||
	    (BTF_INFO_KIND(t->info) != BTF_KIND_STRUCT && BTF_INFO_KIND(t->info) != BTF_KIND_UNION))
		return false;
	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info); i++) {
		bool few = BTF_INFO_KFLAG(t->info);
		uint32_t bits = few ? BTF_MEMBER_BIT_OFFSET(m[i].offset) : m[i].offset;
		struct bits in = { 0, few ? BTF_MEMBER_BITFIELD_SIZE(m[i].offset) : 0 };
		const char *own = name_at(k, m[i].name_off), *rest = own[0] ? behind(name, own) : name;

		if (rest && (!rest[0] || find_member(k, m[i].type, rest, depth + 1, &in))) {
			*ret = (struct bits){ bits + in.first, in.count ? in.count : bits_of(k, m[i].type) };
			return true;
		}
	}
	return false;
}

static int find_in(const struct ckpt_kernel *k, const char *type, const char *member, struct bits *ret, struct err *e)
{
	for (uint32_t i = k->bucket[bucket_of(type)]; i; i = k->next[i])
		if (STREQ(name_at(k, type_at(k, i)->name_off), type) && find_member(k, i, member, 0, ret))
			return 0;
	return err_set(e, ERR_UNSUPPORTED, "the kernel has no %s in its %s", member, type);
}

/* By the places of the names: who asks for thousands of the same does so from one. */
static bool is_known(const struct ckpt_kernel *k, const char *type, const char *member, uint32_t *ret)
{
	for (size_t i = 0; i < k->known_count; i++)
		if (k->known[i].member == member && k->known[i].type == type) {
			*ret = k->known[i].offset;
			return true;
		}
	return false;
}

/* Where a member is in a structure, in bytes. */
static int offset_of(struct ckpt_kernel *k, const char *type, const char *member, uint32_t *ret, struct err *e)
{
	struct bits bits;
	int r;

	if (is_known(k, type, member, ret))
		return 0;
	r = find_in(k, type, member, &bits, e);
	if (r < 0)
		return r;
	*ret = bits.first / 8;
	if (k->known_count < KNOWN) {
		k->known[k->known_count].type = type;
		k->known[k->known_count].member = member;
		k->known[k->known_count++].offset = *ret;
	}
	return 0;
}

#define INSN(c, d, s, o, i) { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }
#define ANSWER offsetof(struct question_answer, answer)
#define WORDS (CKPT_KERNEL_BLOCK / 8) /* of a block, which two instructions each hand over */
#define PROGRAM_LEN (31 + 2 * WORDS)

/* Its context, in register 1 and then 6, is a struct question_answer; it returns 0, or what a helper did. */
static int load(int map)
{
	struct bpf_insn insns[] = {
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 2, 6, offsetof(struct question_answer, what), 0),
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 3, 6, offsetof(struct question_answer, arg), 0),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 9, TASK),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 11, PER_CPU),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 20, BLOCK),
		/* bpf_probe_read_kernel(stack, 8, arg) */
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, -8),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 8),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel),
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 10, -8, 0),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 1, ANSWER, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		/* bpf_get_current_task() */
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_current_task),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 0, ANSWER, 0),
		INSN(BPF_JMP | BPF_JA, 0, 0, 8, 0),
		/* bpf_map_lookup_percpu_elem(map, &0, arg) */
		INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 0),
		INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -8),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, 195 /* BPF_FUNC_map_lookup_percpu_elem, Linux 5.19 */),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1, 0),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 0, ANSWER, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		/* bpf_probe_read_kernel(stack, CKPT_KERNEL_BLOCK, arg) */
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, -CKPT_KERNEL_BLOCK),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, CKPT_KERNEL_BLOCK),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel),
		[PROGRAM_LEN - 1] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SYSCALL,
		.prog_flags = BPF_F_SLEEPABLE,
		.insn_cnt = PROGRAM_LEN,
		.insns = (uintptr_t)insns,
		.license = (uintptr_t)"GPL",
		.prog_name = "vpskernel",
	};

	int fd;

	/* No helper writes to the context itself. */
	for (int16_t i = 0, at = PROGRAM_LEN - 1 - 2 * WORDS; i < WORDS; i++, at += 2) {
		insns[at] = (struct bpf_insn)INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 10, (int16_t)(8 * i - CKPT_KERNEL_BLOCK), 0);
		insns[at + 1] = (struct bpf_insn)INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 1,
						      (int16_t)(offsetof(struct question_answer, block) + 8 * i), 0);
	}
	/* A signal that comes while the kernel looks through it ends that (EAGAIN). */
	for (unsigned tries = 0; (fd = sys_bpf(BPF_PROG_LOAD, &attr)) == -EAGAIN && tries < LOAD_TRIES; tries++)
		;
	return fd;
}

static int run(const struct ckpt_kernel *k, struct question_answer *q, struct err *e)
{
	union bpf_attr attr = { .test = {
		.prog_fd = (uint32_t)k->program, .ctx_in = (uintptr_t)q, .ctx_size_in = sizeof(*q),
	} };
	int r = sys_bpf(BPF_PROG_TEST_RUN, &attr);

	if (r == 0 && attr.test.retval)
		r = -EFAULT;
	return r < 0 ? err_code(e, r, "read what the kernel knows") : 0;
}

static int ask(const struct ckpt_kernel *k, enum question what, uint64_t arg, uint64_t *ret, struct err *e)
{
	struct question_answer q = { .what = what, .arg = arg };
	int r = run(k, &q, e);

	*ret = q.answer;
	return r;
}

/* In whole blocks, which begin at multiples of their size: none is in two pages, of which one may not be there. */
int ckpt_kernel_bytes(struct ckpt_kernel *k, uint64_t at, void *buf, size_t len, struct err *e)
{
	struct question_answer q = { .what = BLOCK };
	int r = 0;

	for (size_t done = 0; r == 0 && done < len;) {
		size_t in = (at + done) % CKPT_KERNEL_BLOCK, n = CKPT_KERNEL_BLOCK - in;

		n = n < len - done ? n : len - done;
		q.arg = at + done - in;
		r = run(k, &q, e);
		if (r == 0)
			memcpy((uint8_t *)buf + done, q.block + in, n);
		done += n;
	}
	return r;
}

bool ckpt_kernel_has(struct ckpt_kernel *k, const char *type, const char *member)
{
	struct err ignored;
	uint32_t off;

	return offset_of(k, type, member, &off, &ignored) == 0;
}

int ckpt_kernel_read(struct ckpt_kernel *k, uint64_t at, uint64_t *ret, struct err *e)
{
	return ask(k, READ, at, ret, e);
}

uint64_t *ckpt_kernel_map(struct ckpt_kernel *k)
{
	return &k->memory_map;
}

int ckpt_kernel_place(struct ckpt_kernel *k, uint64_t at, const char *type, const char *member, uint64_t *ret,
		      struct err *e)
{
	uint32_t off = 0;
	int r = offset_of(k, type, member, &off, e);

	*ret = at + off;
	return r;
}

int ckpt_kernel_size(struct ckpt_kernel *k, const char *type, uint32_t *ret, struct err *e)
{
	for (uint32_t i = k->bucket[bucket_of(type)]; i; i = k->next[i])
		if (STREQ(name_at(k, type_at(k, i)->name_off), type)) {
			*ret = type_at(k, i)->size;
			return 0;
		}
	return err_set(e, ERR_UNSUPPORTED, "the kernel has no %s", type);
}

int ckpt_kernel_bits(const struct ckpt_kernel *k, const char *type, const char *member, uint32_t *ret_first,
		     uint32_t *ret_count, struct err *e)
{
	struct bits bits = { 0, 0 };
	int r = find_in(k, type, member, &bits, e);

	*ret_first = bits.first;
	*ret_count = bits.count;
	return r;
}

/* Without an index of them, which would take longer. */
int ckpt_kernel_function(const char *name, uint32_t *ret, struct err *e)
{
	struct ckpt_kernel *k = calloc(1, sizeof(*k));
	const struct btf_type *t = NULL;
	const uint8_t *at, *end;
	uint32_t number = 0;
	int r;

	if (!k)
		return err_code(e, -ENOMEM, "read what the kernel knows");
	k->program = k->map = -EBADF;
	r = open_types(k);
	if (r == 0)
		r = find_types(k, &at, &end);
	do
		number++;
	while (r == 0 && (t = next_type(&at, end)) &&
	       (BTF_INFO_KIND(t->info) != BTF_KIND_FUNC || !STREQ(name_at(k, t->name_off), name)));
	*ret = number;
	ckpt_kernel_close(k);
	return !t ? err_set(e, ERR_UNSUPPORTED, "the kernel has no %s() that programs may call", name) : 0;
}

void ckpt_kernel_look(struct ckpt_kernel *k, uint64_t at)
{
	struct question_answer q = { .what = BLOCK, .arg = at };
	struct err ignored;

	k->seen_at = at && run(k, &q, &ignored) == 0 ? at : 0;
	if (k->seen_at)
		memcpy(k->seen, q.block, sizeof(k->seen));
}

static bool is_seen(const struct ckpt_kernel *k, uint64_t at)
{
	return k->seen_at && at >= k->seen_at && at - k->seen_at <= CKPT_KERNEL_BLOCK - 8;
}

int ckpt_kernel_member(struct ckpt_kernel *k, uint64_t at, const char *type, const char *member, unsigned size,
		       uint64_t *ret, struct err *e)
{
	uint32_t off;
	int r = offset_of(k, type, member, &off, e);

	if (r == 0 && is_seen(k, at + off))
		memcpy(ret, k->seen + (at + off - k->seen_at), 8);
	else if (r == 0)
		r = ask(k, READ, at + off, ret, e);
	if (size < 8)
		*ret &= ((uint64_t)1 << 8 * size) - 1;
	return r;
}

int ckpt_kernel_open_file(struct ckpt_kernel *k, int fd, uint64_t *ret, struct err *e)
{
	uint64_t table, slots;
	int r = ckpt_kernel_member(k, k->files, "files_struct", "fdt", 8, &table, e);

	if (r == 0)
		r = ckpt_kernel_member(k, table, "fdtable", "fd", 8, &slots, e);
	return r < 0 ? r : ask(k, READ, slots + 8 * (uint64_t)fd, ret, e);
}

int ckpt_kernel_file(struct ckpt_kernel *k, int fd, uint64_t *ret, struct err *e)
{
	uint64_t file;
	int r = ckpt_kernel_open_file(k, fd, &file, e);

	return r < 0 ? r : ckpt_kernel_member(k, file, "file", "private_data", 8, ret, e);
}

/* By way of the inode's struct pid (PROC_I() in fs/proc/internal.h); a task hangs in its list by pid_links. */
int ckpt_kernel_task(struct ckpt_kernel *k, int fd, uint64_t *ret, struct err *e)
{
	uint64_t file, inode, pid, links = 0;
	uint32_t in_proc = 0, in_task = 0;
	int r = ckpt_kernel_open_file(k, fd, &file, e);

	if (r == 0)
		r = ckpt_kernel_member(k, file, "file", "f_inode", 8, &inode, e);
	if (r == 0)
		r = offset_of(k, "proc_inode", "vfs_inode", &in_proc, e);
	if (r == 0)
		r = ckpt_kernel_member(k, inode - in_proc, "proc_inode", "pid", 8, &pid, e);
	if (r == 0)
		r = ckpt_kernel_member(k, pid, "pid", "tasks", 8, &links, e);
	if (r == 0)
		r = offset_of(k, "task_struct", "pid_links", &in_task, e);
	*ret = links - in_task;
	return r == 0 && !links ? -ESRCH : r;
}

static int add_cpu(struct ckpt_kernel *k, unsigned cpu, struct err *e)
{
	void *bigger = reallocarray(k->cpu, k->cpu_count + 1, sizeof(*k->cpu));
	uint64_t here;
	int r = bigger ? ask(k, PER_CPU, cpu, &here, e) : err_code(e, -ENOMEM, "read what the kernel knows");

	k->cpu = bigger ? bigger : k->cpu;
	if (r == 0 && !here)
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell of processor %u", cpu);
	if (r == 0)
		k->cpu[k->cpu_count++] = here - k->per_cpu;
	return r;
}

/* The processors that there may be: "0-3,6". Once, as sums are asked for of each thread of a VPS that stands still. */
static int find_cpus(struct ckpt_kernel *k, struct err *e)
{
	cleanup_free char *text = NULL;
	int r = k->cpus_known ? 0 : fd_read_file_at(AT_FDCWD, "/sys/devices/system/cpu/possible", 4096, &text, NULL);

	if (r < 0)
		return err_code(e, r, "read which processors there may be");
	if (!k->cpus_known)
		k->cpu_count = 0;
	for (char *p = text; p && r == 0 && *p >= '0' && *p <= '9'; p += *p == ',') {
		unsigned long first = strtoul(p, &p, 10), last = *p == '-' ? strtoul(p + 1, &p, 10) : first;

		for (unsigned long c = first; r == 0 && c <= last && c < CPUS_MAX; c++)
			r = add_cpu(k, (unsigned)c, e);
	}
	k->cpus_known = r == 0;
	return r;
}

int ckpt_kernel_sum(struct ckpt_kernel *k, uint64_t at, const char *type, const char *member, uint64_t *ret,
		    struct err *e)
{
	uint32_t off = 0;
	uint64_t v = 0;
	int r = type ? offset_of(k, type, member, &off, e) : 0;

	*ret = 0;
	if (r == 0)
		r = find_cpus(k, e);
	for (size_t i = 0; r == 0 && i < k->cpu_count; i++) {
		r = ask(k, READ, k->cpu[i] + at + off, &v, e);
		*ret += (uint32_t)v;
	}
	return r;
}

/* Where we and the map are. */
static int orient(struct ckpt_kernel *k, struct err *e)
{
	uint64_t task, array;
	int r = ask(k, TASK, 0, &task, e);

	if (r == 0)
		r = ckpt_kernel_member(k, task, "task_struct", "files", 8, &k->files, e);
	if (r == 0)
		r = ckpt_kernel_file(k, k->map, &array, e);
	return r < 0 ? r : ckpt_kernel_member(k, array, "bpf_array", "pptrs", 8, &k->per_cpu, e);
}

static int open_program(struct ckpt_kernel *k)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_PERCPU_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1,
		.map_name = "vpskernel",
	};

	k->map = sys_bpf(BPF_MAP_CREATE, &attr);
	if (k->map < 0)
		return k->map;
	k->program = load(k->map);
	return k->program < 0 ? k->program : 0;
}

int ckpt_kernel_open(struct ckpt_kernel **ret, struct err *e)
{
	struct ckpt_kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return err_code(e, -ENOMEM, "read what the kernel knows");
	k->program = k->map = -EBADF;
	r = open_types(k);
	if (r == 0)
		r = index_types(k);
	if (r == 0)
		r = open_program(k);
	if (r < 0)
		r = err_set(e, ERR_UNSUPPORTED, "the kernel does not let its memory be read (bpf, btf: %s)",
			    strerror(-r));
	else
		r = orient(k, e);
	if (r < 0) {
		ckpt_kernel_close(k);
		return r;
	}
	*ret = k;
	return 0;
}

void ckpt_kernel_close(struct ckpt_kernel *k)
{
	if (!k)
		return;
	fd_close(&k->program);
	fd_close(&k->map);
	if (k->mapped)
		munmap(k->types, k->size);
	else
		free(k->types);
	free(k->cpu);
	free(k->type);
	free(k->next);
	free(k);
}
