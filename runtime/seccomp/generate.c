/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Runs while vps is built, and writes the seccomp filter as a C array: compiling it when a VPS
 * starts would cost more than all its namespaces. What depends on a feature that a VPS can have
 * returns an errno that stands for the feature (PLACE_*), to be replaced by runtime/seccomp.c. So
 * there is one filter, and it is one binary tree: when it is loaded the kernel runs it for each
 * call of each architecture (Linux 5.11), and parts in a row took half as long again.
 *
 * The base is "allow": a distribution's init, nested containers, sandboxes of browsers and of
 * systemd units need nearly all of the kernel's interface (mount, unshare, setns, ptrace, fanotify,
 * seccomp itself), and a user namespace confines them. Refused is what reaches past it, what is
 * only attack surface, and what could not be saved when the VPS is moved.
 */

#include "runtime/seccomp/places.h"

#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct bpf {
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};

struct rule {
	const char *name;
	int errnum;
};

/* clang-format off */
static const struct rule base[] = {
	/* The machine's own: a capability over the host is asked for anyway. */
	{ "kexec_load", EPERM }, { "kexec_file_load", EPERM },
	{ "init_module", EPERM }, { "finit_module", EPERM }, { "delete_module", EPERM },
	{ "swapon", EPERM }, { "swapoff", EPERM },
	{ "iopl", EPERM }, { "ioperm", EPERM },
	{ "acct", EPERM },
	{ "quotactl", EPERM }, { "quotactl_fd", EPERM },
	{ "clock_settime", EPERM }, { "clock_settime64", EPERM },
	{ "settimeofday", EPERM }, { "stime", EPERM },
	/* Large, and a frequent source of holes. EPERM is what an unprivileged process gets from
	 * them, so programs know it; systemd 252 runs on without its BPF. */
	{ "bpf", EPERM }, { "perf_event_open", EPERM },
	/* Opens files past every directory's permissions and past the root directory. */
	{ "open_by_handle_at", EPERM },
	/* The host's kernel log, where dmesg_restrict is off. */
	{ "syslog", EPERM },
	/* Keys are the host's, are counted by user, and cannot be saved. systemd and container
	 * runtimes take ENOSYS for a kernel without keys; EPERM would stop them. */
	{ "add_key", ENOSYS }, { "request_key", ENOSYS }, { "keyctl", ENOSYS },
	/* Memory that neither ptrace nor anything else can read. */
	{ "memfd_secret", ENOSYS },
	/* Nobody has called these for decades; newer kernels lack them. */
	{ "uselib", ENOSYS }, { "ustat", ENOSYS }, { "sysfs", ENOSYS },
	{ "lookup_dcookie", ENOSYS },
	{ "vm86", ENOSYS }, { "vm86old", ENOSYS },
	{ NULL },
};

/* Refused unless the VPS has the feature. */
static const struct rule features[] = {
	{ "io_uring_setup", PLACE_IO_URING }, { "io_uring_enter", PLACE_IO_URING },
	{ "io_uring_register", PLACE_IO_URING },
	{ "userfaultfd", PLACE_USERFAULTFD },
	/* The kernel does not tell which rules bind a process: restored, it would be free. */
	{ "landlock_create_ruleset", PLACE_LANDLOCK }, { "landlock_add_rule", PLACE_LANDLOCK },
	{ "landlock_restrict_self", PLACE_LANDLOCK },
	{ NULL },
};
/* clang-format on */

static void die(const char *what, int r)
{
	fprintf(stderr, "generate: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void add_rules(scmp_filter_ctx ctx, const struct rule *rules)
{
	for (; rules->name; rules++) {
		int nr = seccomp_syscall_resolve_name(rules->name);
		int r;

		if (nr == __NR_SCMP_ERROR)
			die(rules->name, -ENOSYS);
		/* Not the exact form: some exist on one of the architectures only. */
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint16_t)rules->errnum), nr, 0);
		if (r < 0)
			die(rules->name, r);
	}
}

/* Putting words into another terminal's input, and the console's selection. The kernel looks at 32
 * bits of the command; so must we. */
static void add_ioctls(scmp_filter_ctx ctx)
{
	static const uint32_t cmds[] = { 0x5412 /* TIOCSTI */, 0x541c /* TIOCLINUX */ };

	for (size_t i = 0; i < sizeof(cmds) / sizeof(*cmds); i++) {
		int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
					 SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffU, cmds[i]));

		if (r < 0)
			die("ioctl", r);
	}
}

/*
 * AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK and AF_PACKET are confined by the network
 * namespace or need not be. Of the others some are not (AF_VSOCK reaches the hypervisor that the
 * host runs on), and all are modules that a tenant could make the host load.
 *
 * socketcall(2) of 32-bit x86 has the family in memory, where no filter can look, and libseccomp
 * rightly refuses all sockets through it. That is how glibc makes them there, so a 32-bit
 * distribution has the feature `socketcall`; it opens the direct call of that architecture too,
 * because who may use socketcall needs no other way.
 */
static void add_sockets(scmp_filter_ctx ctx, uint32_t arch)
{
	static const char *const calls[] = { "socket", "socketpair" };
	static const struct scmp_arg_cmp refused[] = {
		{ 0, SCMP_CMP_EQ, 3, 0 },  { 0, SCMP_CMP_EQ, 4, 0 },  { 0, SCMP_CMP_EQ, 5, 0 },
		{ 0, SCMP_CMP_EQ, 6, 0 },  { 0, SCMP_CMP_EQ, 7, 0 },  { 0, SCMP_CMP_EQ, 8, 0 },
		{ 0, SCMP_CMP_EQ, 9, 0 },  { 0, SCMP_CMP_EQ, 11, 0 }, { 0, SCMP_CMP_EQ, 12, 0 },
		{ 0, SCMP_CMP_EQ, 13, 0 }, { 0, SCMP_CMP_EQ, 14, 0 }, { 0, SCMP_CMP_EQ, 15, 0 },
		/* Also every number with any of the upper 32 bits set, which the kernel drops. */
		{ 0, SCMP_CMP_GE, 18, 0 },
	};
	uint16_t errnum = arch == SCMP_ARCH_X86 ? PLACE_SOCKETCALL : EAFNOSUPPORT;

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused) * 2; i++) {
		int nr = seccomp_syscall_resolve_name(calls[i % 2]);
		int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(errnum), nr, 1, refused[i / 2]);

		if (r < 0)
			die("socket", r);
	}
}

static scmp_filter_ctx new_filter(uint32_t arch)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (!ctx)
		die("seccomp_init", -ENOMEM);
	if (arch != seccomp_arch_native()) {
		r = seccomp_arch_add(ctx, arch);
		if (r == 0)
			r = seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
		if (r < 0)
			die("architecture", r);
	}
	/* Such as x32, whose system calls nobody tests: what a kernel without it says. */
	r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
	/* A binary tree, so that the last call is not found after all others. */
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r < 0)
		die("attributes", r);
	add_rules(ctx, base);
	add_rules(ctx, features);
	add_ioctls(ctx);
	add_sockets(ctx, arch);
	return ctx;
}

/* The filter for a machine and what else it can run. */
static scmp_filter_ctx filter_for(const char *cpu)
{
	static const struct {
		const char *cpu;
		uint32_t arch[2];
	} table[] = {
		{ "x86_64", { SCMP_ARCH_X86_64, SCMP_ARCH_X86 } },
		{ "x86", { SCMP_ARCH_X86 } },
		{ "aarch64", { SCMP_ARCH_AARCH64, SCMP_ARCH_ARM } },
		{ "riscv64", { SCMP_ARCH_RISCV64 } },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		scmp_filter_ctx ctx;
		int r = 0;

		if (strcmp(table[i].cpu, cpu) != 0)
			continue;
		ctx = new_filter(table[i].arch[0]);
		if (table[i].arch[1]) /* it takes the second over */
			r = seccomp_merge(ctx, new_filter(table[i].arch[1]));
		if (r < 0)
			die("merge", r);
		return ctx;
	}
	return new_filter(seccomp_arch_native());
}

int main(int argc, char **argv)
{
	int fd = memfd_create("filter", MFD_CLOEXEC), r = fd < 0 ? -errno : 0;
	scmp_filter_ctx ctx;
	struct bpf insn;
	off_t at = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: generate CPU\n");
		return 2;
	}
	ctx = filter_for(argv[1]);
	if (r == 0)
		r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		die("export", r);
	seccomp_release(ctx); /* the sanitizers look at this program, too */
	printf("/* Written by runtime/seccomp/generate.c for %s. */\n", argv[1]);
	printf("static const struct sock_filter filter[] = {\n");
	for (; pread(fd, &insn, sizeof(insn), at) == sizeof(insn); at += (off_t)sizeof(insn))
		printf("\t{ 0x%02x, %u, %u, 0x%08x },\n", (unsigned)insn.code, (unsigned)insn.jt,
		       (unsigned)insn.jf, (unsigned)insn.k);
	printf("};\n");
	return 0;
}
