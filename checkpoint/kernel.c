/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/kernel_internal.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define CPUS_MAX 8192u

struct ckpt_kernel {
	struct ckpt_types types;
	struct ckpt_kernel_program program;
	uint64_t per_cpu;     /* as the kernel names the map's memory, which each processor has */
	uint64_t *cpu;        /* by processor, what is added to such a name */
	size_t cpu_count;
	bool cpus_known;
	uint64_t files;       /* the table of our open files */
	uint64_t memory_map;  /* kernel_pages.c */
	uint64_t seen_at;     /* ckpt_kernel_look(): where `seen` was read; 0: nowhere */
	uint8_t seen[CKPT_KERNEL_BLOCK];
};

static int run(const struct ckpt_kernel *k, struct ckpt_question_answer *q, struct err *e)
{
	return ckpt_kernel_program_run(&k->program, q, e);
}

static int offset_of(struct ckpt_kernel *k, const char *type, const char *member, uint32_t *ret, struct err *e)
{
	return ckpt_types_offset(&k->types, type, member, ret, e);
}

static int ask(const struct ckpt_kernel *k, enum ckpt_question what, uint64_t arg, uint64_t *ret, struct err *e)
{
	struct ckpt_question_answer q = { .what = what, .arg = arg };
	int r = run(k, &q, e);

	*ret = q.answer;
	return r;
}

/* In whole blocks, which begin at multiples of their size: none is in two pages, of which one may not be there. */
int ckpt_kernel_bytes(struct ckpt_kernel *k, uint64_t at, void *buf, size_t len, struct err *e)
{
	struct ckpt_question_answer q = { .what = CKPT_ASK_BLOCK };
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
	return ask(k, CKPT_ASK_READ, at, ret, e);
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
	return ckpt_types_size(&k->types, type, ret, e);
}

int ckpt_kernel_bits(const struct ckpt_kernel *k, const char *type, const char *member, uint32_t *ret_first,
		     uint32_t *ret_count, struct err *e)
{
	struct ckpt_bits bits = { 0, 0 };
	int r = ckpt_types_bits(&k->types, type, member, &bits, e);

	*ret_first = bits.first;
	*ret_count = bits.count;
	return r;
}

void ckpt_kernel_look(struct ckpt_kernel *k, uint64_t at)
{
	struct ckpt_question_answer q = { .what = CKPT_ASK_BLOCK, .arg = at };
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
		r = ask(k, CKPT_ASK_READ, at + off, ret, e);
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
	return r < 0 ? r : ask(k, CKPT_ASK_READ, slots + 8 * (uint64_t)fd, ret, e);
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
	int r = bigger ? ask(k, CKPT_ASK_PER_CPU, cpu, &here, e) : err_code(e, -ENOMEM, "read what the kernel knows");

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
		r = ask(k, CKPT_ASK_READ, k->cpu[i] + at + off, &v, e);
		*ret += (uint32_t)v;
	}
	return r;
}

/* Where we and the map are. */
static int orient(struct ckpt_kernel *k, struct err *e)
{
	uint64_t task, array;
	int r = ask(k, CKPT_ASK_TASK, 0, &task, e);

	if (r == 0)
		r = ckpt_kernel_member(k, task, "task_struct", "files", 8, &k->files, e);
	if (r == 0)
		r = ckpt_kernel_file(k, k->program.map, &array, e);
	return r < 0 ? r : ckpt_kernel_member(k, array, "bpf_array", "pptrs", 8, &k->per_cpu, e);
}

int ckpt_kernel_open(struct ckpt_kernel **ret, struct err *e)
{
	struct ckpt_kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return err_code(e, -ENOMEM, "read what the kernel knows");
	k->program = (struct ckpt_kernel_program){ .fd = -EBADF, .map = -EBADF };
	r = ckpt_types_open(&k->types);
	if (r == 0)
		r = ckpt_kernel_program_open(&k->program);
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
	ckpt_kernel_program_done(&k->program);
	ckpt_types_done(&k->types);
	free(k->cpu);
	free(k);
}
