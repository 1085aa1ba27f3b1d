/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The stub's place in an address space: the unused end of the vdso, or what a restore gives it. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/batch_internal.h"
#include "checkpoint/compat.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <xxhash.h>

int ckpt_mem_read(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	struct iovec l = { buf, len }, r = { (void *)(uintptr_t)addr, len };
	ssize_t n = process_vm_readv(pid, &l, 1, &r, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EFAULT;
}

int ckpt_mem_write(pid_t pid, uint64_t addr, const void *buf, size_t len)
{
	struct iovec l = { (void *)(uintptr_t)buf, len }, r = { (void *)(uintptr_t)addr, len };
	ssize_t n = process_vm_writev(pid, &l, 1, &r, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EFAULT;
}

static int open_mem(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	return open(path, O_RDWR | O_CLOEXEC);
}

/*
 * Into the vdso, which is not writable: the kernel copies the page for this process, as it does for
 * a debugger's breakpoints. /proc/PID/mem takes it at once unless the kernel was built or started to
 * refuse that (CONFIG_PROC_MEM_NO_FORCE, Linux 6.12); PTRACE_POKEDATA always does.
 */
int batch_write_code(const struct ckpt_batch *b, pid_t tid, uint64_t addr, const void *buf, size_t len)
{
	cleanup_close int own = b->mem < 0 ? open_mem(b->pid) : -EBADF;
	ssize_t n = pwrite(b->mem < 0 ? own : b->mem, buf, len, (off_t)addr);

	if (n == (ssize_t)len)
		return 0;
	for (size_t i = 0; i < len; i += sizeof(long)) {
		uintptr_t word;

		memcpy(&word, (const char *)buf + i, sizeof(word));
		if (ptrace(PTRACE_POKEDATA, tid, (void *)(uintptr_t)(addr + i), (void *)word) < 0)
			return -errno;
	}
	return 0;
}

/* Our own vdso: where it is, how much of its last page is used. */
struct vdso {
	const uint8_t *image;
	size_t size, used;
};

static size_t used_of(const uint8_t *image, size_t size)
{
	while (size && !image[size - 1])
		size--;
	return size;
}

static int read_own_vdso(struct vdso *v)
{
	static struct vdso known;
	const Elf64_Ehdr *h = (const void *)getauxval(AT_SYSINFO_EHDR); /* NOLINT */
	unsigned long from, to;
	char line[512];

	if (known.image) {
		*v = known;
		return 0;
	}
	if (!h)
		return -ENOENT;
	cleanup_fclose FILE *f = fopen("/proc/self/maps", "re");

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &from, &to) != 2 || from != (uintptr_t)h)
			continue;
		v->image = (const uint8_t *)h;
		v->size = to - from;
		v->used = used_of(v->image, v->size);
		known = *v;
		return 0;
	}
	return -ENOENT;
}

static int read_compat_vdso(struct vdso *v)
{
	int r = ckpt_compat_vdso(&v->image, &v->size);

	v->used = r == 0 ? used_of(v->image, v->size) : 0;
	return r;
}

static void digest_of(const struct vdso *v, uint8_t ret[16])
{
	XXH128_canonical_t digest;

	XXH128_canonicalFromHash(&digest, XXH3_128bits(v->image, v->used));
	memcpy(ret, digest.digest, sizeof(digest.digest));
}

int ckpt_vdso_digest(uint8_t ret[16])
{
	struct vdso v;
	int r = read_own_vdso(&v);

	if (r == 0)
		digest_of(&v, ret);
	return r;
}

int ckpt_compat_digest(uint8_t ret[16])
{
	struct vdso v;
	int r = read_compat_vdso(&v);

	if (r == 0)
		digest_of(&v, ret);
	return r;
}

/* Whether it is at this address of a process. */
static bool is_at(pid_t pid, uint64_t at, const struct vdso *v)
{
	cleanup_free uint8_t *copy = malloc(v->size);

	return copy && ckpt_mem_read(pid, at, copy, v->size) == 0 && memcmp(copy, v->image, v->used) == 0;
}

/* The vdso of a process: where its auxiliary vector says, or, when it has been moved, by name. 1: it is that of 32-bit
 * programs, which is *v then. */
static int find_vdso(pid_t pid, uint64_t expected, struct vdso *v, uint64_t *ret)
{
	uint64_t aux[128];
	char path[64], line[512];
	cleanup_close int fd = -EBADF;
	ssize_t n;

	*ret = expected;
	if (expected && is_at(pid, expected, v))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/auxv", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, aux, sizeof(aux));
	for (ssize_t i = 0; i + 16 <= n; i += 16)
		if (aux[i / 8] == AT_SYSINFO_EHDR)
			*ret = aux[i / 8 + 1];
	if (*ret && is_at(pid, *ret, v))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	cleanup_fclose FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, " [vdso]\n") || sscanf(line, "%" SCNx64, ret) != 1)
			continue;
		if (is_at(pid, *ret, v))
			return 0;
		return read_compat_vdso(v) == 0 && is_at(pid, *ret, v) ? 1 : -ENOEXEC;
	}
	return -ENOENT;
}

static void find_tail(struct ckpt_batch *b, const struct vdso *own, uint64_t vdso)
{
	size_t first = (own->used + 15) & ~(size_t)15;

	b->tail = vdso + first;
	b->tail_size = own->size - first;
}

/*
 * The first slot that is all zero. Others were left behind by engines that died; a thread may still
 * have to come back to one, from a signal handler, so that the oldest is taken when all are used.
 */
static int pick_slot(struct ckpt_batch *b)
{
	size_t room = b->tail_size, best = 0;
	uint32_t oldest = UINT32_MAX, newest = 0;
	uint8_t tail[4096];
	int r;

	if (room > sizeof(tail))
		room = sizeof(tail);
	r = ckpt_mem_read(b->pid, b->tail, tail, room);
	if (r < 0)
		return r;
	b->used = true;
	for (size_t pos = 0; pos + stub_size() <= room; pos += stub_size()) {
		const struct ckpt_stub_data *d = (const void *)(tail + pos + stub_data_offset());
		uint32_t turn = 0;

		for (size_t i = 0; i < stub_size(); i++)
			turn |= tail[pos + i];
		b->used = b->used && turn;
		if (turn)
			memcpy(&turn, &d->turn, sizeof(turn));
		if (turn > newest)
			newest = turn;
		if (turn < oldest) {
			oldest = turn;
			best = pos;
		}
	}
	b->code = b->tail + best;
	b->turn = newest + 1;
	return 0;
}

static int open_place(struct ckpt_batch *b, pid_t pid, uint64_t vdso_end, const pid_t *tids, size_t n, struct err *e)
{
	struct vdso own = { 0 };
	uint64_t vdso = 0;
	int r = read_own_vdso(&own);

	if (r < 0)
		return err_set(e, ERR_UNSUPPORTED, "the engine has no vdso");
	r = find_vdso(pid, vdso_end > own.size ? vdso_end - own.size : 0, &own, &vdso);
	if (r == -ENOENT || r == -ENOEXEC)
		return err_set(e, ERR_UNSUPPORTED, "process %d has %s vdso", (int)pid, r == -ENOENT ? "no" : "another");
	b->compat = r == 1;
	if (r < 0)
		return err_code(e, r, "find the vdso of process %d", (int)pid);
	if (own.size - own.used < stub_size() + 16)
		return err_set(e, ERR_UNSUPPORTED, "this kernel's vdso has no room at its end");
	find_tail(b, &own, vdso);
	r = pick_slot(b);
	if (r < 0)
		return err_code(e, r, "read the vdso of process %d", (int)pid);
	for (size_t i = 0; i < n; i++) {
		r = batch_settle(b, tids[i]);
		if (r < 0)
			return err_code(e, r, "let thread %d finish what another engine began",
					(int)tids[i]);
	}
	b->mem = open_mem(pid);
	if (b->mem < 0)
		return err_sys(e, "open the memory of process %d", (int)pid);
	r = batch_write_code(b, pid, b->code, ckpt_stub_start, stub_size());
	return r < 0 ? err_code(e, r, "write into the vdso of process %d", (int)pid) : 0;
}

/* Nothing is to be taken out of there. */
static void forget_place(struct ckpt_batch *b)
{
	b->code = 0;
	fd_close(&b->mem);
}

int ckpt_batch_open_at(struct ckpt_batch *b, pid_t pid, uint64_t vdso_end, const pid_t *tids, size_t n, struct err *e)
{
	int r;

	*b = (struct ckpt_batch){ .mem = -EBADF, .pid = pid };
	r = open_place(b, pid, vdso_end, tids, n, e);
	if (r < 0)
		forget_place(b);
	return r;
}

int ckpt_batch_open(struct ckpt_batch *b, pid_t pid, const pid_t *tids, size_t n, struct err *e)
{
	return ckpt_batch_open_at(b, pid, 0, tids, n, e);
}

void ckpt_batch_close(struct ckpt_batch *b)
{
	uint8_t zero[1024] = { 0 };

	if (!b->code)
		return;
	batch_write_code(b, b->pid, b->code, zero, stub_size());
	b->code = 0;
	fd_close(&b->mem);
}

int ckpt_batch_open_beside(struct ckpt_batch *b, const struct ckpt_batch *first, struct err *e)
{
	int r;

	*b = (struct ckpt_batch){ .mem = -EBADF, .pid = first->pid, .tail = first->tail, .tail_size = first->tail_size,
				  .compat = first->compat };
	r = pick_slot(b);
	if (r < 0 || b->used) {
		forget_place(b);
		return r < 0 ? err_code(e, r, "read the vdso of process %d", (int)b->pid) : 1;
	}
	b->mem = open_mem(b->pid);
	r = b->mem < 0 ? -errno : batch_write_code(b, b->pid, b->code, ckpt_stub_start, stub_size());
	if (r < 0)
		forget_place(b);
	return r < 0 ? err_code(e, r, "write into the vdso of process %d", (int)b->pid) : 0;
}

int ckpt_batch_move(struct ckpt_batch *b, uint64_t code, uint64_t scratch, size_t size, struct err *e)
{
	int r = batch_write_code(b, b->pid, code, ckpt_stub_start, stub_size());

	b->code = code;
	b->scratch = scratch;
	b->size = size;
	return r < 0 ? err_code(e, r, "write into process %d", (int)b->pid) : 0;
}

void ckpt_batch_copy(struct ckpt_batch *b, const struct ckpt_batch *from, pid_t pid)
{
	*b = *from;
	b->pid = pid;
	b->mem = -EBADF;
}

int ckpt_batch_to_vdso(struct ckpt_batch *b, uint64_t vdso_end, bool compat, struct err *e)
{
	struct vdso own = { 0 };
	int r = compat ? read_compat_vdso(&own) : read_own_vdso(&own);

	if (r == 0) {
		find_tail(b, &own, vdso_end - own.size);
		r = pick_slot(b);
	}
	if (r == 0)
		r = batch_write_code(b, b->pid, b->code, ckpt_stub_start, stub_size());
	return r < 0 ? err_code(e, r, "write into the vdso of process %d", (int)b->pid) : 0;
}
