/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/devices.h"

#include "cgroup/internal.h"

#include "base/bpf.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

_Static_assert((int)CGROUP_DEVICE_MKNOD == (int)BPF_DEVCG_ACC_MKNOD &&
	       (int)CGROUP_DEVICE_READ == (int)BPF_DEVCG_ACC_READ &&
	       (int)CGROUP_DEVICE_WRITE == (int)BPF_DEVCG_ACC_WRITE, "the kernel's numbers");

#define RWM (CGROUP_DEVICE_READ | CGROUP_DEVICE_WRITE | CGROUP_DEVICE_MKNOD)
#define ANY CGROUP_DEVICE_ANY

/* admin-guide/devices.txt */
static const struct cgroup_device always[] = {
	{ 'c', ANY, ANY, CGROUP_DEVICE_MKNOD },
	{ 'b', ANY, ANY, CGROUP_DEVICE_MKNOD },
	{ 'c', 1, 3, RWM },   /* null */
	{ 'c', 1, 5, RWM },   /* zero */
	{ 'c', 1, 7, RWM },   /* full */
	{ 'c', 1, 8, RWM },   /* random */
	{ 'c', 1, 9, RWM },   /* urandom */
	{ 'c', 5, 0, RWM },   /* tty */
	{ 'c', 5, 1, RWM },   /* console */
	{ 'c', 5, 2, RWM },   /* ptmx */
	{ 'c', 136, ANY, RWM }, /* pseudo-terminals; with minors past 8 bits it stays one major */
};

/* A rule is seven instructions at most; four before the first, two after the last. */
#define INSNS_MAX (6 + 7 * (ARRAY_SIZE(always) + CGROUP_DEVICES_MAX))

struct program {
	struct bpf_insn insn[INSNS_MAX];
	size_t count;
};

static void emit(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	p->insn[p->count++] = (struct bpf_insn)BPF_INSN(code, dst, src, off, imm);
}

/*
 * The context is struct bpf_cgroup_dev_ctx: access_type (access << 16 | type), major, minor. Type
 * is kept in register 2, access in 3, major in 4, minor in 5.
 */
static void emit_head(struct program *p)
{
	emit(p, BPF_LDX | BPF_MEM | BPF_W, 2, 1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0);
	emit(p, BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
	emit(p, BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, 4, 1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, 5, 1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
}

/* Leaves with 1 when the rule fits, else goes on behind itself. */
static void emit_rule(struct program *p, const struct cgroup_device *d)
{
	int left = 3 + (d->major != ANY) + (d->minor != ANY); /* instructions after the first */
	int type = d->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;

	emit(p, BPF_JMP | BPF_JNE | BPF_K, 2, 0, (int16_t)left--, type);
	/* JSET jumps when an access is asked for that the rule does not give. */
	emit(p, BPF_JMP | BPF_JSET | BPF_K, 3, 0, (int16_t)left--, (int32_t)(RWM & ~d->access));
	if (d->major != ANY)
		emit(p, BPF_JMP | BPF_JNE | BPF_K, 4, 0, (int16_t)left--, (int32_t)d->major);
	if (d->minor != ANY)
		emit(p, BPF_JMP | BPF_JNE | BPF_K, 5, 0, (int16_t)left--, (int32_t)d->minor);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* Names a program by what it does (FNV-1a of its instructions), so that it is found again. */
static void name_of(const struct program *p, char name[BPF_OBJ_NAME_LEN])
{
	const unsigned char *byte = (const unsigned char *)p->insn;
	uint32_t hash = 2166136261U;

	for (size_t i = 0; i < p->count * sizeof(*p->insn); i++)
		hash = (hash ^ byte[i]) * 16777619U;
	snprintf(name, BPF_OBJ_NAME_LEN, "vpsdev_%08" PRIx32, hash);
}

static int load(const struct program *p)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insn_cnt = (uint32_t)p->count,
		.insns = (uintptr_t)p->insn,
		.license = (uintptr_t)"GPL",
	};

	name_of(p, attr.prog_name);
	return bpf_load(&attr);
}

/* The name of the program attached to this very group, "" when there is none. */
static int attached(int dir, char name[BPF_OBJ_NAME_LEN])
{
	uint32_t ids[1] = { 0 };
	union bpf_attr query = { .query = {
		.target_fd = (uint32_t)dir,
		.attach_type = BPF_CGROUP_DEVICE,
		.prog_ids = (uintptr_t)ids,
		.prog_cnt = ARRAY_SIZE(ids),
	} };
	union bpf_attr get = { 0 };
	struct bpf_prog_info prog = { 0 };
	union bpf_attr info = { .info = { .info_len = sizeof(prog), .info = (uintptr_t)&prog } };
	cleanup_close int fd = -EBADF;
	int r = bpf_call(BPF_PROG_QUERY, &query);

	name[0] = '\0';
	if (r < 0 || query.query.prog_cnt == 0)
		return r;
	get.prog_id = ids[0];
	fd = bpf_call(BPF_PROG_GET_FD_BY_ID, &get);
	if (fd < 0)
		return fd;
	info.info.bpf_fd = (uint32_t)fd;
	r = bpf_call(BPF_OBJ_GET_INFO_BY_FD, &info);
	if (r == 0)
		snprintf(name, BPF_OBJ_NAME_LEN, "%s", prog.name[0] ? prog.name : "?");
	return r;
}

/*
 * A group's program stands for those of the groups above it (ALLOW_OVERRIDE), and attaching another
 * swaps it without a moment in which nothing or everything is allowed.
 */
static int attach(int dir, const struct program *p)
{
	union bpf_attr attr = {
		.target_fd = (uint32_t)dir,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_OVERRIDE,
	};
	char have[BPF_OBJ_NAME_LEN], want[BPF_OBJ_NAME_LEN];
	cleanup_close int prog = -EBADF;
	int r = attached(dir, have);

	name_of(p, want);
	if (r < 0 || STREQ(have, want))
		return r;
	prog = load(p);
	if (prog < 0)
		return prog;
	attr.attach_bpf_fd = (uint32_t)prog;
	return bpf_call(BPF_PROG_ATTACH, &attr);
}

static int detach(int dir)
{
	union bpf_attr attr = { .target_fd = (uint32_t)dir, .attach_type = BPF_CGROUP_DEVICE };
	char have[BPF_OBJ_NAME_LEN];
	int r = attached(dir, have);

	return r < 0 || !have[0] ? r : bpf_call(BPF_PROG_DETACH, &attr);
}

static void build(struct program *p, const struct cgroup_device *extra, size_t count)
{
	p->count = 0;
	emit_head(p);
	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		emit_rule(p, &always[i]);
	for (size_t i = 0; i < count; i++)
		emit_rule(p, &extra[i]);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/*
 * Loading a program takes 0.4 ms, most of it spent to make code executable. The one that allows
 * nothing extra is therefore attached once, to the parent of all VPSs; those that have more get
 * their own.
 */
static int set_devices(const struct cgroup *c, const struct cgroup_device *extra, size_t count)
{
	cleanup_close int dir = cgroup_open_dir(c, CGROUP_V2), parent = -EBADF;
	cleanup_free struct program *p = malloc(sizeof(*p));
	int r;

	if (dir < 0)
		return dir;
	parent = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return -errno;
	if (!p)
		return -ENOMEM;
	if (count) {
		build(p, extra, count);
		return attach(dir, p);
	}
	build(p, NULL, 0);
	r = attach(parent, p);
	return r < 0 ? r : detach(dir);
}

int cgroup_devices_set(const struct cgroup *c, const struct cgroup_device *extra, size_t count,
		       struct err *e)
{
	int r = cgroup_check(c, e);

	if (r < 0)
		return r;
	if (count > CGROUP_DEVICES_MAX)
		return err_set(e, ERR_USAGE, "more than %d devices", CGROUP_DEVICES_MAX);
	r = set_devices(c, extra, count);
	if (r >= 0)
		return 0;
	if (r != -ENOSYS && r != -EPERM && r != -EINVAL)
		return err_code(e, r, "allow the devices of %s", c->name);
	err_set(e, ERR_UNSUPPORTED, "this kernel does not let vps control devices by BPF (%s)",
		r == -EPERM ? "not permitted" : "no CONFIG_CGROUP_BPF");
	return err_hint(e, "run vpsd with CAP_BPF or CAP_SYS_ADMIN on a kernel with cgroup BPF");
}

static int parse_access(const char *s, unsigned *ret)
{
	static const char letters[] = "mrw"; /* in the order of the bits */

	*ret = 0;
	for (; *s; s++) {
		const char *hit = strchr(letters, *s);

		if (!hit || *ret & 1U << (hit - letters))
			return -EINVAL;
		*ret |= 1U << (hit - letters);
	}
	return *ret ? 0 : -EINVAL;
}

int cgroup_device_parse(const char *text, struct cgroup_device *ret, struct err *e)
{
	const char *colon = strrchr(text, ':');
	struct cgroup_device d = { .access = CGROUP_DEVICE_READ | CGROUP_DEVICE_WRITE };
	char path[PATH_MAX];
	struct stat st;

	if (text[0] != '/' || strlen(text) >= sizeof(path) ||
	    (colon && !strchr(colon, '/') && parse_access(colon + 1, &d.access) < 0)) {
		err_set(e, ERR_USAGE, "\"%s\" is no device", text);
		return err_hint(e, "such as /dev/fuse or /dev/net/tun:rw");
	}
	if (!colon || strchr(colon, '/'))
		colon = text + strlen(text);
	snprintf(path, sizeof(path), "%.*s", (int)(colon - text), text);
	if (stat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ?
			       err_set(e, ERR_NOT_FOUND, "this host has no device %s", path) :
			       err_sys(e, "look at %s", path);
	if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, ERR_USAGE, "%s is no device", path);
	d.type = S_ISBLK(st.st_mode) ? 'b' : 'c';
	d.major = major(st.st_rdev);
	d.minor = minor(st.st_rdev);
	*ret = d;
	return 0;
}
